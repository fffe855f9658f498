"""Figures of a search: they show what they are given, and nothing in them is cut off or covered."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from readable_figures import assert_everything_is_readable, texts_in

from alloyk import plots

RNG = np.random.default_rng(0)
FORTY = tuple(f"architecture_{number}" for number in range(40))


def hyperparameters(n):
    absent = np.where(RNG.random(n) < 0.4, np.nan, RNG.uniform(0.5, 4, n))
    return [
        plots.Hyperparameter("optimizer.learning_rate", 10 ** RNG.uniform(-6, 0, n), (), 1e-6, 1,
                             log=True),
        plots.Hyperparameter("loss.gamma", absent, (), 0.5, 4, condition="loss.name = focal"),
        plots.Hyperparameter("model.arch", RNG.integers(0, 40, n).astype(float), FORTY),
        plots.Hyperparameter("model.width", RNG.integers(0, 3, n).astype(float),
                             ("8", "wide", "$x^2$")),
        plots.Hyperparameter("a.very_long_name_of_a_key_that_goes_on", np.full(n, 3.0), (), 3, 3),
    ]  # fmt: skip


def results(n, kind="spread"):
    found = {"spread": RNG.uniform(0.2, 1, n), "constant": np.full(n, 0.5),
             "decades": 10 ** RNG.uniform(-3, 3, n)}[kind]  # fmt: skip
    found[1::7] = np.nan
    return found


@pytest.mark.parametrize("kind", ["spread", "constant", "decades"])
@pytest.mark.parametrize("n", [1, 20, 1000])
@pytest.mark.parametrize("falling", [True, False])
def test_the_objective_is_readable(n, kind, falling):
    y = results(n, kind)
    done = np.isfinite(y)
    ax = plots.plot_objective(
        np.flatnonzero(done), y[done], monitor="val_loss", falling=falling, x_label="Trial",
        tied=np.arange(done.sum()) < 2, interval=(0.3, 0.4), whole=True,
        lost={"diverged": np.flatnonzero(~done), "unfinished": [n]},
    )  # fmt: skip
    assert_everything_is_readable(ax)
    assert ax.get_yscale() == ("log" if kind == "decades" and n > 1 else "linear")


def test_the_best_so_far_never_gets_worse_and_ends_at_the_last_trial():
    ax = plots.plot_objective(
        [0, 2, 3], [0.5, 0.7, 0.4], monitor="val_loss", falling=True, x_label="Trial",
        lost={"failed": [1, 4]},
    )  # fmt: skip
    (line,) = [line for line in ax.get_lines() if line.get_label() == "best so far"]
    assert list(line.get_xdata()) == [0, 2, 3, 4]
    assert list(line.get_ydata()) == [0.5, 0.5, 0.4, 0.4]
    (best,) = [line for line in ax.get_lines() if line.get_label() == "best"]
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (3, 0.4)
    (lost,) = [line for line in ax.get_lines() if line.get_label() == "failed, no result"]
    assert list(lost.get_xdata()) == [1, 4]


@pytest.mark.parametrize("kind", ["spread", "constant", "decades"])
@pytest.mark.parametrize("n", [1, 20, 1000])
def test_parallel_coordinates_are_readable(n, kind):
    ax = plots.plot_parallel_coordinates(
        hyperparameters(n), results(n, kind), monitor="val_loss", falling=True
    )
    assert_everything_is_readable(ax)
    drawn = sum(len(c.get_segments()) for c in ax.collections if isinstance(c, LineCollection))
    assert drawn == n  # none is dropped


def test_a_line_goes_through_the_values_of_its_trial():
    rate = plots.Hyperparameter("rate", np.array([1e-4, 1e-2]), (), 1e-4, 1.0, log=True)
    gamma = plots.Hyperparameter("gamma", np.array([np.nan, 3.0]), (), 1.0, 5.0)
    ax = plots.plot_parallel_coordinates([rate, gamma], [0.5, 0.1], monitor="m", falling=True)
    (lines,) = ax.collections
    worst, best = (segment[:, 0].tolist() for segment in lines.get_segments())
    assert best == pytest.approx([0.5, 0.5, 0.0])
    assert worst[0] == pytest.approx(0.0)
    assert worst[1] < 0  # absent
    assert "absent" in {text.get_text() for text in texts_in(ax)}


@pytest.mark.parametrize("kind", ["spread", "constant", "decades"])
@pytest.mark.parametrize("n", [1, 20, 1000])
def test_slices_are_readable(n, kind):
    y = results(n, kind)
    for one in hyperparameters(n):
        ax = plots.plot_slice(one, y, monitor="val_loss", falling=True, subtitle="20 trials")
        assert_everything_is_readable(ax)
    ax = plots.plot_slice(hyperparameters(n)[0], y, monitor="val_loss", falling=True)
    assert ax.get_xscale() == "log"


def test_a_slice_shows_the_median_of_each_choice():
    one = plots.Hyperparameter("loss", np.array([0.0, 0, 0, 1, np.nan]), ("a", "b"))
    ax = plots.plot_slice(one, [1.0, 2.0, 6.0, 4.0, 9.0], monitor="val_loss", falling=True)
    medians = [line.get_xdata()[0] for line in ax.get_lines() if line.get_color() == "black"]
    assert medians == [2.0, 4.0]


@pytest.mark.parametrize("count", [1, 15])
def test_the_importance_and_the_best_trials_are_readable(count):
    shares = {f"section.key_number_{number}": 0.5**number for number in range(count)}
    ax = plots.plot_importance(shares, subtitle="20 finished trials")
    assert_everything_is_readable(ax)
    assert [bar.get_width() for bar in ax.patches] == list(shares.values())
    values = np.linspace(0.2, 0.5, count)
    ax = plots.plot_best_trials(
        [f"{number:04d}" for number in range(count)], list(values),
        [(value - 0.1, value + 0.1) for value in values], [True] * count, metric="log loss",
    )  # fmt: skip
    assert_everything_is_readable(ax)
