"""Figures: they show the numbers they are given, and nothing in them is cut off or covered."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from readable_figures import (
    ALLOYS,
    assert_everything_is_readable,
    history_of,
    predictions_of,
    texts_in,
)
from sklearn import metrics as sk

from alloyk import plots
from alloyk.imaging.drawing import AGAINST, FOR
from alloyk.metrics import classification_metrics
from alloyk.metrics.breakdown import breakdown
from alloyk.metrics.calibration import reliability
from alloyk.metrics.selective import accuracy_over_coverage
from alloyk.plots.style import COLORS
from alloyk.runs.predictions import Predictions

LONG = ["aluminium 1050 annealed", "steel_with_a_very_long_name_that_goes_on_and_on_and_on_and_on",
        "$x_1$", "_hidden", "b" * 40, "c/d", "e", "f", "g", "h"]  # fmt: skip
FOURTEEN = [f"Al {2000 + number}" for number in range(14)]
MANY = [f"a rather long name of alloy number {number}, heat treated" for number in range(30)]


def test_maps_over_images_have_the_colours_of_curves():
    assert (to_hex(FOR).upper(), to_hex(AGAINST).upper()) == (COLORS[1], COLORS[0])


@pytest.mark.parametrize("names", [ALLOYS[:2], ALLOYS, LONG], ids=["2", "5", "10 long names"])
@pytest.mark.parametrize("normalize", [False, True])
def test_confusion_matrices_are_readable(names, normalize):
    matrix = np.random.default_rng(0).integers(0, 20, (len(names), len(names))) + 1500 * np.eye(
        len(names), dtype=int
    )
    ax = plots.plot_confusion_matrix(
        matrix, names, normalize=normalize, subtitle="test split, 12,345 images of 300 plates"
    )
    assert_everything_is_readable(ax)


@pytest.mark.parametrize(("classes", "scales"), [(30, 0), (31, 1)])
def test_a_confusion_matrix_without_numbers_has_a_colour_scale(classes, scales):
    names = [f"k{i}" for i in range(classes)]
    ax = plots.plot_confusion_matrix(np.eye(classes, dtype=int), names)
    assert len(ax.figure.axes) == 1 + scales
    assert_everything_is_readable(ax)


def test_a_confusion_matrix_of_a_thousand_classes_is_a_picture_of_a_metre():
    """Half an inch for each would be 75,000 pixels along each side."""
    k = 1000
    ax = plots.plot_confusion_matrix(np.eye(k, dtype=int), [f"k{i}" for i in range(k)])
    assert max(ax.figure.get_size_inches()) < 40
    labels = [text.get_text() for text in ax.get_xticklabels()]
    places = ax.get_xticks()
    assert len(labels) > 50
    assert labels == [f"k{int(at)}" for at in places]  # each under its own column
    assert_everything_is_readable(ax)


@pytest.mark.parametrize(
    "names", [ALLOYS[:2], ALLOYS, LONG, FOURTEEN, MANY],
    ids=["2", "5", "10 long names", "14", "30 long names"],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_curves_are_readable(names):
    predictions = predictions_of(names, never=1)
    figures = classification_metrics(predictions)
    for compute, draw in ((plots.precision_recall_curves, plots.plot_precision_recall),
                          (plots.roc_curves, plots.plot_roc)):  # fmt: skip
        ax = draw(compute(predictions), figures, names, subtitle="test split, 200 images")
        assert_everything_is_readable(ax)
        legend = ax.get_legend().get_window_extent()
        assert not legend.overlaps(ax.get_window_extent().shrunk(0.99, 0.99))


@pytest.mark.parametrize("epochs", [1, 2, 80])
@pytest.mark.parametrize("quantity", ["accuracy", "loss"])
def test_training_curves_are_readable(epochs, quantity):
    ax = plots.plot_history(history_of(epochs), quantity, best_epoch=epochs, subtitle="simulated")
    assert_everything_is_readable(ax)
    assert all(float(tick).is_integer() for tick in ax.get_xticks())
    assert "simulated" in [text.get_text() for text in texts_in(ax)]
    low, high = ax.get_ylim()
    for column in (quantity, f"val_{quantity}"):
        assert ((history_of(epochs)[column] >= low) & (history_of(epochs)[column] <= high)).all()


def conditions(values=("1.0", "2.0", "10.0"), n=120):
    rng = np.random.default_rng(3)
    predictions = predictions_of(["1050", "2017"], n=n)
    table = pd.DataFrame({"path": [str(i) for i in range(n)]}, dtype=object)
    table["label"] = [predictions.classes[i] for i in predictions.y_true]
    table["thickness_mm"] = rng.choice(values, n)
    table["tube_voltage_kvp"] = [str(v) for v in rng.normal(50, 1, n)]
    return replace(predictions, table=table)


def test_accuracies_by_condition_are_readable_near_1():
    predictions = conditions()
    tables = [
        breakdown(predictions, [c], resamples=50) for c in ("thickness_mm", "tube_voltage_kvp")
    ]
    for table in tables:
        table.metrics[["accuracy", "low", "high"]] = 0.9985, 0.9845, 0.9998
        rows = range(len(table.metrics))
        table.conditions[table.columns[0]] = [f"{i}0.01352 to {i}0.05592" for i in rows]
    for ax in plots.plot_breakdown(tables, 0.9989).figure.axes:
        assert_everything_is_readable(ax)


def test_a_panel_per_condition_shows_each_value_its_interval_and_the_whole():
    predictions = conditions()
    tables = [
        breakdown(predictions, [c], resamples=50) for c in ("thickness_mm", "tube_voltage_kvp")
    ]
    first = plots.plot_breakdown(tables, 0.75, subtitle="test split, simulated")
    assert_everything_is_readable(first)
    panels = first.figure.axes
    assert [ax.get_title(loc="left") for ax in panels] == ["thickness_mm", "tube_voltage_kvp"]
    for ax, table in zip(panels, tables, strict=True):
        dots, whole = ax.get_lines()
        np.testing.assert_allclose(dots.get_xdata(), table.metrics["accuracy"])
        assert list(whole.get_xdata()) == [0.75, 0.75]
        ends = [segment[:, 0] for segment in ax.collections[0].get_segments()]
        np.testing.assert_allclose(ends, table.metrics[["low", "high"]])
    assert [t.get_text().split()[0] for t in panels[0].get_yticklabels()] == ["1.0", "2.0", "10.0"]


def test_a_table_of_class_by_condition_shows_its_shares():
    table = breakdown(conditions(), ["label", "thickness_mm"], resamples=20)
    names = {"1050": "Al 1050", "2017": "Al 2017"}
    ax = plots.plot_breakdown_by_class(table, names, subtitle="simulated")
    assert_everything_is_readable(ax)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["Al 1050", "Al 2017"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1.0", "2.0", "10.0"]
    for row, text in zip(table.metrics.itertuples(), ax.texts, strict=False):
        assert text.get_text() == f"{100 * row.accuracy:.1f}\nn = {row.images}"


@pytest.mark.parametrize("count", [1, 3, 12])
def test_a_sheet_of_mistakes_is_readable(count):
    images = [np.full((300, 200 + i, 1 if i % 2 else 3), i, dtype=np.uint16) for i in range(count)]
    said = [
        ("Al 1050, taken for\nAl 2017 at 99.9 %", f"folder/{'x' * 10 * i}.png")
        for i in range(count)
    ]
    first = plots.plot_mistakes(images, said, subtitle="test split, simulated")
    assert_everything_is_readable(first)
    assert len(first.figure.axes) == count


def test_reliability_and_coverage_draw_what_was_computed():
    predictions = predictions_of(ALLOYS)
    found = reliability(predictions)
    ax = plots.plot_reliability(found, scaled=found, subtitle="test split")
    assert_everything_is_readable(ax)
    names = [t.get_text() for t in ax.get_legend().get_texts()]
    error = f"ECE {found.expected_calibration_error:.4f}"
    assert names == [f"as predicted\n{error}", f"temperature-scaled\n{error}"]
    some = found.count > 0
    np.testing.assert_allclose(
        ax.collections[0].get_offsets(), np.stack([found.confidence, found.accuracy], 1)[some]
    )
    curve = accuracy_over_coverage(predictions)
    ax = plots.plot_coverage(curve, subtitle="test split")
    assert_everything_is_readable(ax)
    x, y = ax.get_lines()[0].get_data()
    np.testing.assert_allclose(x, 100 * curve.coverage)
    np.testing.assert_allclose(y, 100 * (1 - curve.accuracy))
    np.testing.assert_allclose(ax.get_lines()[1].get_ydata(), 100 * curve.error_bound)


def test_confusion_matrix_shows_its_counts_and_rows_of_per_cent():
    matrix = np.array([[1998, 2], [0, 0]])
    cells = [t.get_text() for t in plots.plot_confusion_matrix(matrix, ["A", "B"]).texts]
    assert cells[:4] == ["1,998", "2", "0", "0"]
    ax = plots.plot_confusion_matrix(matrix, ["A", "B"], normalize=True)
    texts = [t.get_text() for t in ax.texts]
    assert texts[:2] == ["99.9", "0.1"]
    assert "no image" in texts
    assert [t.get_text() for t in ax.get_yticklabels()] == ["A\n(n = 2,000)", "B\n(n = 0)"]


def test_rounding_does_not_hide_an_error():
    ax = plots.plot_confusion_matrix(np.array([[49_999, 1], [0, 7]]), ["A", "B"], normalize=True)
    assert [t.get_text() for t in ax.texts][:4] == [">99.9", "<0.1", "0", "100"]


def test_curves_hold_the_area_that_their_legend_says():
    predictions = predictions_of(ALLOYS)
    figures = classification_metrics(predictions)
    ax = plots.plot_roc(plots.roc_curves(predictions), figures, ALLOYS)
    lines = {line.get_label(): line for line in ax.get_lines()}
    for label, name in zip(figures["classes"], ALLOYS, strict=True):
        value = figures["per_class"][label]["roc_auc"]
        line = lines[f"{name}\nAUC {value:.4f}"]
        assert sk.auc(*line.get_data()) == pytest.approx(value, abs=1e-12)
    ax = plots.plot_precision_recall(plots.precision_recall_curves(predictions), figures, ALLOYS)
    for line, label in zip(ax.get_lines(), figures["classes"], strict=True):
        recall, precision = line.get_data()
        area = -np.sum(np.diff(recall) * precision[:-1])
        # Points between two thresholds with equal hits are left out of the line, not of the area.
        assert area == pytest.approx(figures["per_class"][label]["average_precision"], abs=2e-3)


def test_a_class_without_images_is_named_as_undefined():
    likely = np.array([[0.5, 0.3, 0.2], [0.2, 0.6, 0.2]])
    table = pd.DataFrame({"path": ["x", "y"]})
    predictions = Predictions(table, ("A", "B", "C"), np.array([0, 1]), np.array([0, 1]), likely)
    figures = classification_metrics(predictions)
    ax = plots.plot_roc(plots.roc_curves(predictions), figures, ["A", "B", "C"])
    assert "C\nundefined" in [t.get_text() for t in ax.get_legend().get_texts()]


def test_every_class_is_in_the_legend_whatever_its_name():
    names = ["_hidden", "$x$", "plain"]
    predictions = predictions_of(names)
    ax = plots.plot_roc(plots.roc_curves(predictions), classification_metrics(predictions), names)
    shown = [t.get_text().split("\n")[0] for t in ax.get_legend().get_texts()]
    assert shown == ["_hidden", r"\$x\$", "plain"]


@pytest.mark.parametrize("name", [*LONG, "", "a" * 200, "with\nnewline"])
def test_names_are_wrapped_to_three_lines(name):
    (shown,) = plots.readable_names([name])
    lines = shown.replace(r"\$", "$").split("\n")
    assert len(lines) <= 3
    assert max(map(len, lines)) <= 18
    if len(name) <= 30 and "\n" not in name:
        assert "".join(lines).replace(" ", "") == name.replace(" ", "")


def test_long_names_that_become_alike_are_numbered():
    start, end = "a" * 40, "z" * 40
    shown = plots.readable_names([start + "1" + end, start + "2" + end])
    assert len(set(shown)) == 2


def test_smoothing_keeps_lines_straight_and_ends_where_they_are():
    line = np.arange(12.0)
    np.testing.assert_allclose(plots.smoothed(line), line)
    noise = np.random.default_rng(0).normal(size=50)
    assert plots.smoothed(noise)[10] == pytest.approx(noise[8:13].mean())
    assert plots.smoothed(noise)[-1] == noise[-1]


def test_the_best_epoch_is_marked():
    ax = plots.plot_history(history_of(20), "loss", best_epoch=7)
    marks = [line for line in ax.get_lines() if line.get_label() == "best epoch: 7"]
    assert marks[0].get_xdata()[0] == 7


def test_a_run_without_validation_shows_training_alone():
    history = {k: v for k, v in history_of(5).items() if not k.startswith("val_")}
    labels = [line.get_label() for line in plots.plot_history(history, "loss").get_lines()]
    assert labels == ["training, each epoch", "training, mean of 5"]


def test_a_loss_that_went_astray_once_does_not_flatten_the_rest():
    history = history_of(30)
    history["val_loss"][0] = 1e6
    assert plots.plot_history(history, "loss").get_yscale() == "log"
    assert plots.plot_history(history_of(30), "loss").get_yscale() == "linear"


def test_drawing_into_given_axes_makes_no_other_figure():
    ax = plots.new_axes(5, 5)
    assert plots.plot_history(history_of(5), "loss", ax=ax) is ax
    other = plots.new_axes(5, 5)
    assert plots.plot_confusion_matrix(np.eye(2, dtype=int), ["A", "B"], ax=other) is other


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for name in ("one.png", "two.png"):
        plots.save_figure(plots.plot_history(history_of(9), "loss"), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "two.png"]


def test_the_caller_s_matplotlib_is_left_alone():
    code = """
import matplotlib as m
before = dict(m.rcParams), m.rcParams._get_backend_or_none()
import numpy as np
from alloyk import plots
from alloyk.metrics.selective import accuracy_over_coverage
from alloyk.metrics.breakdown import breakdown
from alloyk.metrics.calibration import reliability
ax = plots.plot_confusion_matrix(np.eye(3, dtype=int), list("ABC"))
ax.figure.savefig("/dev/null", format="png")
import matplotlib.pyplot as plt
assert plt.get_fignums() == []
assert (dict(m.rcParams), m.rcParams._get_backend_or_none()) == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)
