"""Errors of estimated numbers against scikit-learn, their intervals, and their file."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from readable_figures import ALLOYS, assert_everything_is_readable, texts_in
from sklearn import metrics as sk

from alloyk import plots
from alloyk.errors import AlloykError
from alloyk.metrics import regression_metrics
from alloyk.metrics.regression import error_metrics
from alloyk.runs.predictions import Predictions, read_predictions, write_predictions
from alloyk.targets.estimates import Estimate

CLASSES = ("1050", "2017", "5083", "6082", "7075")


def predictions_of(true, predicted, y, plates=None):
    n = len(y)
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(n)]}, dtype=object)
    if plates is not None:
        table["plate_id"] = [str(plate) for plate in plates]
    y = np.asarray(y)
    probabilities = np.full((n, 5), 0.2)
    estimate = Estimate(np.asarray(true, float), np.asarray(predicted, float))
    return Predictions(table, CLASSES, y, y, probabilities, {"thickness_mm": estimate})


def metrics_of(*args, **kw):
    return regression_metrics(predictions_of(*args, **kw), resamples=200)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 1e3]))
def test_figures_equal_scikit_learn(n, seed, offset):
    rng = np.random.default_rng(seed)
    true = rng.choice([1.0, 2.0, 5.0], n) + rng.normal(0, 0.1, n) + offset
    predicted = true + rng.normal(0, rng.uniform(0, 3), n)
    y = rng.integers(0, 5, n)
    found, _, undefined = metrics_of(true, predicted, y)
    for part, rows in [(found["thickness_mm"], np.ones(n, bool))] + [
        (found["thickness_mm"]["per_class"][label], y == k) for k, label in enumerate(CLASSES)
    ]:
        assert part["n"] == rows.sum()
        if not rows.any():
            assert part["mae"] is part["rmse"] is part["r2"] is None
            continue
        a, b = true[rows], predicted[rows]
        assert part["mae"] == pytest.approx(sk.mean_absolute_error(a, b), rel=1e-9)
        assert part["rmse"] == pytest.approx(sk.root_mean_squared_error(a, b), rel=1e-9)
        if part["n"] > 1:
            assert part["r2"] == pytest.approx(sk.r2_score(a, b), rel=1e-6)
        else:
            assert part["r2"] is None
    empty = [label for k, label in enumerate(CLASSES) if not (y == k).any()]
    for label in empty:
        path = f"regression.thickness_mm.per_class.{label}"
        assert undefined[path] == "no image with a true value"


def test_images_without_a_truth_are_left_out():
    found, _, _ = metrics_of([1, np.nan, 3, 4], [1.5, 99, 3, 4], [0, 0, 1, 1])
    assert found["thickness_mm"]["n"] == 3
    assert found["thickness_mm"]["mae"] == pytest.approx(0.5 / 3)
    assert found["thickness_mm"]["per_class"]["1050"]["n"] == 1


def test_equal_truths_have_no_r2_and_say_so():
    found, _, undefined = metrics_of([2, 2, 2], [2.5, 1.5, 2], [0, 0, 1])
    assert found["thickness_mm"]["r2"] is None
    assert undefined["regression.thickness_mm.r2"] == "all true values are equal"
    # Equal but for rounding.
    assert error_metrics(np.array([0.1 + 0.2, 0.3]), np.array([1.0, 1.0]))["r2"] is None


def test_no_error_at_all_has_no_interval_and_says_so():
    found, intervals, undefined = metrics_of([1, 2, 3], [1, 2, 3], [0, 1, 2])
    assert found["thickness_mm"]["r2"] == 1
    assert not intervals
    path = "confidence_intervals.regression.thickness_mm.mae"
    assert undefined[path] == "no image has an error"


def test_what_few_plates_cannot_tell_has_no_interval_instead_of_infinity():
    # Resamples without the third image have next to nothing to explain.
    _, intervals, undefined = metrics_of([1.0, 1.0 + 1e-5, 5.0], [1.5, 0.5, 4.0], [0] * 3)
    assert np.isfinite(list(intervals.values())).all()
    path = "confidence_intervals.regression.thickness_mm.r2"
    assert undefined[path] == "too few images"


@pytest.mark.parametrize("figure", ["mae", "rmse", "r2"])
def test_intervals_over_plates_cover_the_truth(figure):
    """Plates share an error: resampled images would be far too sure of themselves."""
    rng = np.random.default_rng(7)

    def draw(plates):
        true = np.repeat(rng.choice([1.0, 2.0, 5.0], plates), 4)
        error = np.repeat(rng.normal(0, 0.5, plates), 4) + rng.normal(0, 0.1, 4 * plates)
        return true, error

    truth = error_metrics(*draw(200_000))[figure]
    covered = {True: 0, False: 0}
    for _ in range(200):
        true, error = draw(80)
        for known in covered:
            plates = np.repeat(np.arange(80), 4) if known else None
            predictions = predictions_of(true, true + error, np.zeros(320, int), plates)
            _, intervals, _ = regression_metrics(predictions, resamples=150)
            low, high = intervals[f"regression.thickness_mm.{figure}"]
            covered[known] += low <= truth <= high
    assert 0.90 <= covered[True] / 200 <= 0.99
    assert covered[False] / 200 < 0.80


def test_intervals_hold_their_figure():
    rng = np.random.default_rng(1)
    true = rng.uniform(1, 5, 60)
    found, intervals, _ = metrics_of(true, true + rng.normal(0, 2, 60), rng.integers(0, 5, 60))
    for path, (low, high) in intervals.items():
        *place, figure = path.removeprefix("regression.thickness_mm.").split(".")
        part = found["thickness_mm"]
        for step in place:
            part = part[step]
        assert low < part[figure] < high


def write(path, estimates, **columns):
    n = len(next(iter(estimates.values())))
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(n)], "label": ["A"] * n, **columns})
    write_predictions(path, table, np.full((n, 2), 0.5), ["A", "B"], estimates=estimates)
    return path


def test_estimates_come_back_to_the_last_bit_beside_their_truth(tmp_path):
    numbers = np.random.default_rng(0).normal(3, 1, 5)
    path = write(
        tmp_path / "predictions.csv", {"thickness_mm": numbers}, plate_id=list("abcde"),
        thickness_mm=[1.0, np.nan, 2, 3, 4], predicted_by=["me"] * 5,
    )  # fmt: skip
    assert path.read_text().splitlines()[0] == (
        "path,label,predicted,p_A,p_B,predicted_thickness_mm,plate_id,thickness_mm,"
        "manifest_predicted_by"
    )
    read = read_predictions(path)
    assert list(read.estimates) == ["thickness_mm"]
    np.testing.assert_array_equal(read.estimates["thickness_mm"].predicted, numbers)
    np.testing.assert_array_equal(read.estimates["thickness_mm"].true, [1, np.nan, 2, 3, 4])
    assert "predicted_thickness_mm" not in read.table
    some = read.select(np.array([2, 4])).estimates["thickness_mm"]
    np.testing.assert_array_equal(some.true, [2, 4])
    np.testing.assert_array_equal(some.predicted, numbers[[2, 4]])


def test_a_data_set_without_the_column_has_estimates_and_no_truth(tmp_path):
    read = read_predictions(write(tmp_path / "predictions.csv", {"kvp": np.array([40.0, 45.0])}))
    assert np.isnan(read.estimates["kvp"].true).all()
    found, _, undefined = regression_metrics(read)
    assert found["kvp"] == {
        "n": 0, "mae": None, "rmse": None, "r2": None,
        "per_class": {k: {"n": 0, "mae": None, "rmse": None, "r2": None} for k in "AB"},
    }  # fmt: skip
    assert undefined == {"regression.kvp": "no image with a true value"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("x.png,A,A,1,0,much,1\n", "line 2, column predicted_x: must be a number, got 'much'"),
        ("x.png,A,A,1,0,,1\n", "line 2, column predicted_x: must be a number, got ''"),
        (
            "x.png,A,A,1,0,1,\ny.png,A,A,1,0,1,thin\n",
            "line 3, column x: must be a number, got 'thin'",
        ),
        ("x.png,A,A,1,0,1,inf\n", "line 2, column x: must be a number, got 'inf'"),
    ],
)
def test_cells_that_are_no_numbers_are_named(tmp_path, rows, message):
    path = tmp_path / "predictions.csv"
    path.write_text("path,label,predicted,p_A,p_B,predicted_x,x\n" + rows)
    with pytest.raises(AlloykError, match=message):
        read_predictions(path)


def test_a_network_that_answers_nan_is_not_written(tmp_path):
    with pytest.raises(AlloykError, match=r"must be finite, got .* for 1\.png"):
        write(tmp_path / "predictions.csv", {"x": np.array([1.0, np.nan])})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n", [3, 2000])
def test_the_picture_is_readable_and_shows_the_numbers_of_the_table(n):
    rng = np.random.default_rng(0)
    true = rng.choice([1.0, 2.0, 5.0], n)
    true[0] = np.nan
    y = rng.integers(0, 4, n)  # no image of the last class
    predictions = predictions_of(true, np.nan_to_num(true) + rng.normal(0, 0.3, n), y)
    figures = regression_metrics(predictions, resamples=50)[0]["thickness_mm"]
    ax = plots.plot_estimates(
        predictions, "thickness_mm", figures, ALLOYS, subtitle="test split, simulated"
    )
    assert_everything_is_readable(ax)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert f"all: MAE {figures['mae']:.3g}" in legend[0]
    assert legend[-1] == "Al 7075\nno image"
    drawn = np.concatenate([line.get_xdata() for line in ax.get_lines()[1:]])
    assert len(drawn) == n - 1
    assert "Predicted against true: thickness_mm" in [text.get_text() for text in texts_in(ax)]
    assert ax.get_xlim() == ax.get_ylim()
