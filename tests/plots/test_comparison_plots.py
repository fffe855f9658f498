"""Figures of several runs: they show the numbers they are given, and nothing is cut off."""

import itertools

import numpy as np
import pytest
from readable_figures import (
    ALLOYS,
    assert_everything_is_readable,
    history_of,
    predictions_of,
    texts_in,
)

from alloyk import plots
from alloyk.metrics import classification_metrics
from alloyk.metrics.fold_spread import fold_spread

LABELS = ["1050", "2017", "5083", "6082", "7075"]
NAMES = ["resnet18", "vgg16-with-a-rather-long-name-of-its-run", "fnn", "soft"]


def rows(vote=True):
    found = []
    for i, name in enumerate(NAMES):
        accuracy = 0.7 + 0.08 * i
        found.append({
            "name": name, "accuracy": accuracy,
            "accuracy_interval": [accuracy - 0.04, accuracy + 0.03] if i else None,
            "loss": 0.2 * i if i < 3 else None, "val_loss": 0.3 * i if i < 3 else None,
            "average_precision": {label: 0.6 + 0.05 * k for k, label in enumerate(LABELS)}
            | ({"7075": None} if i == 2 else {}),
            "roc_auc": 0.9 + 0.02 * i, "vote": "soft" if name == "soft" and vote else None,
        })  # fmt: skip
    return found


def test_runs_show_accuracy_with_interval_and_both_losses():
    left = plots.plot_runs(rows(), subtitle="225 test images, simulated")
    assert_everything_is_readable(left)
    right = left.figure.axes[1]
    intervals = [line for line in left.get_lines() if len(line.get_xdata()) == 2]
    np.testing.assert_allclose(intervals[0].get_xdata(), [0.74, 0.81])
    assert [label.get_text() for label in right.get_yticklabels()] == [""] * 4
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first run on top
    end = right.get_xlim()[1]
    assert 1.03 * 0.6 < end < 1.1 * 0.6  # the mark of the largest loss is not cut by the axis' end
    training, validation = right.get_lines()
    np.testing.assert_allclose(training.get_xdata(), [0, 0.2, 0.4, np.nan])
    np.testing.assert_allclose(validation.get_xdata(), [0, 0.3, 0.6, np.nan])


def test_runs_without_a_history_are_drawn_without_losses():
    without = [row | {"loss": None, "val_loss": None} for row in rows()]
    left = plots.plot_runs(without, subtitle="225 test images, simulated")
    assert_everything_is_readable(left)
    assert left.figure.axes == [left]


def test_average_precision_has_a_mark_per_class_and_run():
    names = dict(zip(LABELS, ALLOYS, strict=True))
    ax = plots.plot_average_precision(rows(), names, subtitle="simulated")
    assert_everything_is_readable(ax)
    lines = {line.get_label(): line for line in ax.get_lines()}
    np.testing.assert_allclose(lines["AP Al 5083"].get_xdata(), [0.7] * 4)
    np.testing.assert_allclose(lines["AP Al 7075"].get_xdata(), [0.8, 0.8, np.nan, 0.8])
    np.testing.assert_allclose(lines["mean AUC"].get_xdata(), [0.9, 0.92, 0.94, 0.96])


@pytest.mark.parametrize("count", [1, 10])
def test_differences_name_both_runs_and_their_p(count):
    pairs = [
        {"first": "cnn", "second": f"vgg16-{i}", "difference": 0.01 * i - 0.03,
         "interval": [0.01 * i - 0.05, 0.01 * i] if i != 3 else None,
         "p_score_holm": [0.5, 0.0001, 0.04, None][i % 4]}
        for i in range(count)
    ]  # fmt: skip
    ax = plots.plot_differences(pairs, subtitle="simulated")
    assert_everything_is_readable(ax)
    assert ax.get_yticklabels()[0].get_text() == "vgg16-0 − cnn"
    shown = [text.get_text() for text in texts_in(ax)]
    assert "0.500" in shown
    assert ("<0.001" in shown) == (count > 1)


def test_long_names_in_differences_stay_different():
    names = [f"castings_resnet{depth}_{kind}_seed_0" for depth in (18, 50) for kind in ("a", "bb")]
    pairs = [
        {"first": one, "second": two, "difference": 0, "interval": None, "p_score_holm": 1}
        for one, two in itertools.combinations(names, 2)
    ]  # fmt: skip
    labels = [tick.get_text() for tick in plots.plot_differences(pairs).get_yticklabels()]
    assert len(set(labels)) == 6
    assert labels[0] == "…resnet18_bb_… − …resnet18_a_…"


@pytest.mark.parametrize("low", [0.0, 0.6])
def test_bars_of_votes_stand_out_and_a_cut_axis_says_so(low):
    given = rows()
    given[0]["accuracy"] = 0.3 + low
    ax = plots.plot_standalone_and_voting(given, subtitle="simulated")
    assert_everything_is_readable(ax)
    tops = [bar.get_y() + bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(tops, [row["accuracy"] for row in given])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["standalone", "voting"]
    assert len({tuple(bar.get_facecolor()) for bar in ax.patches}) == 2
    assert ("axis begins at" in ax.get_ylabel()) == bool(low)
    assert ax.get_ylim()[0] == (0 if not low else 0.65)


def test_seeds_show_each_value_and_their_mean():
    groups = [
        {"name": "cnn", "runs": ["a", "b", "c"], "accuracies": [0.9, 0.92, 0.94], "mean": 0.92,
         "sd": 0.02},
        {"name": "vgg16", "runs": ["d"], "accuracies": [0.8], "mean": 0.8, "sd": None},
    ]  # fmt: skip
    ax = plots.plot_seeds(groups, subtitle="simulated")
    assert_everything_is_readable(ax)
    drawn = [list(line.get_xdata()) for line in ax.get_lines()]
    assert [0.9, 0.92, 0.94] in drawn
    assert [0.92 - 0.02, 0.92 + 0.02] in drawn


def test_folds_show_each_value_and_their_spread():
    parts = {f"fold_{k}": predictions_of(ALLOYS[:3], seed=k) for k in range(4)}
    spread = fold_spread(parts)
    accuracies = [classification_metrics(part)["accuracy"] for part in parts.values()]
    names = {"accuracy": "accuracy", "macro.roc_auc": "macro AUC"}
    ax = plots.plot_folds(spread, names, subtitle="4-fold cross-validation")
    assert_everything_is_readable(ax)
    lines = ax.get_lines()
    np.testing.assert_allclose(lines[0].get_xdata(), accuracies)
    ends = np.mean(accuracies) + np.std(accuracies, ddof=1) * np.array([-1, 1])
    np.testing.assert_allclose(lines[1].get_xdata(), ends)


def test_curves_of_folds_lie_behind_that_of_all():
    parts = [predictions_of(ALLOYS[:2], seed=k) for k in range(3)]
    whole = predictions_of(ALLOYS[:2], n=600)
    figures = classification_metrics(whole)
    ax = plots.plot_precision_recall(
        plots.precision_recall_curves(whole), figures, ALLOYS[:2], subtitle="simulated"
    )
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    plots.add_fold_curves(ax, [plots.precision_recall_curves(part) for part in parts])
    assert_everything_is_readable(ax)
    assert len(ax.get_lines()) == 2 + 3 * 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == legend
    assert {line.get_drawstyle() for line in ax.get_lines()} == {"steps-post"}


def test_histories_of_folds_have_a_mean_as_far_as_all_go():
    histories = [history_of(5), history_of(8)]
    histories[1]["loss"] = histories[1]["loss"] + 0.2
    ax = plots.plot_fold_histories(histories, "loss", subtitle="simulated")
    assert_everything_is_readable(ax)
    (mean,) = [line for line in ax.get_lines() if line.get_label() == "training, mean of folds"]
    expected = (histories[0]["loss"] + histories[1]["loss"][:5]) / 2
    np.testing.assert_allclose(mean.get_ydata(), expected)
