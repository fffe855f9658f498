"""Breakdowns against pandas, and decisions per plate against a loop."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from alloyk.errors import AlloykError
from alloyk.metrics.breakdown import (
    METRICS,
    breakdown,
    breakdown_tables,
    informative_columns,
    plate_predictions,
    write_breakdowns,
)
from alloyk.metrics.intervals import accuracy_interval
from alloyk.plots import plot_breakdown, plot_breakdown_by_class
from alloyk.runs.predictions import Predictions

CLASSES = ("1050", "2017", "5083")


@pytest.fixture
def predictions():
    """120 plates of 3 images; thickness goes with the plate, the voltage with the image."""
    rng = np.random.default_rng(0)
    plate = np.repeat(np.arange(120), 3)
    y = rng.integers(0, 3, 120)[plate]
    p = rng.dirichlet([1, 1, 1], 360)
    p[np.arange(360), y] += 0.4
    p /= p.sum(axis=1, keepdims=True)
    table = {
        "path": [f"{i}.png" for i in range(360)],
        "label": [CLASSES[i] for i in y],
        "plate_id": [f"P{i:03}" for i in plate],
        "thickness_mm": [["1.0", "10.0", "2.0"][i] for i in rng.integers(0, 3, 120)[plate]],
        "tube_voltage_kvp": [f"{v:.4f}" for v in rng.normal(50, 0.1, 360)],
        "operator": [["", "Ann", "Bo"][i] for i in rng.integers(0, 3, 360)],
        "alloy": [CLASSES[i] for i in y],
        "detector": ["panel"] * 360,
        "seed": [str(i) for i in rng.integers(0, 5, 360)],
        "serial": [str(i) for i in range(360)],
        "file_date": [f"day {i}" for i in range(360)],
    }
    return Predictions(pd.DataFrame(table, dtype=object), CLASSES, y, p.argmax(axis=1), p)


def frame_of(predictions):
    table = predictions.table.copy()
    table["right"] = predictions.y_true == predictions.y_pred
    return table


def test_one_column_equals_pandas(predictions):
    found = breakdown(predictions, ["thickness_mm"], resamples=100)
    by_hand = frame_of(predictions).groupby("thickness_mm")
    values = list(found.conditions["thickness_mm"])
    assert values == ["1.0", "2.0", "10.0"]  # as numbers
    for value, row in zip(values, found.metrics.itertuples(), strict=True):
        group = by_hand.get_group(value)
        assert row.images == len(group)
        assert row.plates == group["plate_id"].nunique()
        assert row.accuracy == pytest.approx(group["right"].mean())
        expected = accuracy_interval(
            group["right"].to_numpy(), group["plate_id"].to_numpy(), resamples=100
        )
        assert row.low < row.accuracy < row.high
        np.testing.assert_allclose((row.low, row.high), expected, rtol=0.05)
    assert found.metrics["images"].sum() == 360


def test_alloy_by_thickness_equals_pandas(predictions):
    found = breakdown(predictions, ["label", "thickness_mm"], resamples=20)
    expected = (
        frame_of(predictions).groupby(["label", "thickness_mm"])["right"].agg(["size", "mean"])
    )
    assert len(found.metrics) == len(expected)
    conditions = found.conditions.itertuples(index=False)
    for key, row in zip(conditions, found.metrics.itertuples(), strict=True):
        size, mean = expected.loc[tuple(key)]
        assert (row.images, row.accuracy) == (size, pytest.approx(mean))


def test_a_drawn_voltage_is_broken_down_by_quarters(predictions):
    found = breakdown(predictions, ["tube_voltage_kvp"], resamples=20)
    assert list(found.metrics["images"]) == [90] * 4
    volts = predictions.table["tube_voltage_kvp"].astype(float)
    quarter = pd.qcut(volts, 4, labels=False)
    right = frame_of(predictions)["right"].groupby(quarter).mean()
    np.testing.assert_allclose(found.metrics["accuracy"], right)


@pytest.mark.parametrize("name", [*METRICS, "by", "value", "condition", "0", "columns"])
def test_a_column_may_have_any_name(predictions, tmp_path, name):
    """Its figures and file are those of a column with another name."""
    column = predictions.table["thickness_mm"]
    renamed = predictions.table.rename(columns={"thickness_mm": name})
    found, expected = (
        breakdown_tables(replace(predictions, table=table), resamples=20)
        for table in (renamed, renamed.drop(columns=name).assign(other=column))
    )
    by_name, by_other = (
        {tuple(one.columns): one for one in tables} for tables in (found, expected)
    )
    for wanted in (("other",), ("label", "other")):
        one, other = by_name[(*wanted[:-1], name)], by_other[wanted]
        pd.testing.assert_frame_equal(one.metrics, other.metrics)
        assert one.conditions[name].tolist() == other.conditions["other"].tolist()
    write_breakdowns(tmp_path / "breakdown.csv", found)
    rows = pd.read_csv(tmp_path / "breakdown.csv", dtype=str)
    assert rows.loc[rows["by"] == name, "value"].tolist() == ["1.0", "2.0", "10.0"]
    plot_breakdown([by_name[(name,)]], 0.5)
    plot_breakdown_by_class(by_name["label", name], {})


def test_classes_are_names_however_much_they_look_like_numbers():
    classes = ("01", "1", *(str(1000 + k) for k in range(13)), "not tested")
    y = np.repeat(np.arange(15), 4)
    p = np.eye(16)[np.where(y == 1, 0, y)]
    table = pd.DataFrame(
        {"path": np.arange(60).astype(str), "label": np.array(classes)[y]}, dtype=object
    )
    found = breakdown(Predictions(table, classes, y, p.argmax(axis=1), p), ["label"], resamples=2)
    assert found.conditions["label"].tolist() == list(classes[:15])
    assert found.metrics["accuracy"].tolist() == [1, 0, *[1] * 13]


def test_columns_that_tell_something_are_found(predictions):
    # Not the alloy, which is the label; nor what never varies, or names single images.
    wanted = ["thickness_mm", "tube_voltage_kvp", "operator", "serial"]
    assert informative_columns(predictions) == wanted


def test_a_missing_column_is_named_with_those_there(predictions):
    with pytest.raises(AlloykError, match=r"the column must be one of label, plate_id, .*, got "):
        breakdown(predictions, ["thickness"])


def test_a_plate_is_decided_by_the_mean_of_its_images(predictions):
    plates = plate_predictions(predictions)
    assert len(plates) == 120
    for i, name in enumerate(plates.table["path"]):
        rows = (predictions.table["plate_id"] == name).to_numpy()
        mean = predictions.probabilities[rows].mean(axis=0)
        np.testing.assert_allclose(plates.probabilities[i], mean)
        assert plates.y_pred[i] == mean.argmax()
        assert plates.y_true[i] == predictions.y_true[rows][0]
        assert plates.table["images"][i] == "3"
    assert list(plates.table["path"]) == list(dict.fromkeys(predictions.table["plate_id"]))


def test_a_tie_of_votes_goes_to_the_class_of_more_images(predictions):
    votes = np.tile([0.0, 0.5, 0.5], (360, 1))
    tied = replace(predictions, probabilities=votes, y_pred=np.tile([1, 2, 2], 120))
    assert set(plate_predictions(tied).y_pred) == {2}
    votes[::3] = [0.2, 0.5, 0.3]  # now class 1 has the higher average
    assert set(plate_predictions(tied).y_pred) == {1}


def test_an_image_without_a_plate_stands_for_itself(predictions):
    predictions.table.loc[[0, 1], "plate_id"] = ""
    plates = plate_predictions(predictions)
    assert list(plates.table["path"][:3]) == ["0.png", "1.png", "P000"]
    assert list(plates.table["images"][:3]) == ["1", "1", "1"]


def test_a_plate_of_two_alloys_is_refused(predictions):
    predictions.y_true[1] = (predictions.y_true[0] + 1) % 3
    with pytest.raises(AlloykError, match="must have one label, got two for plate P000"):
        plate_predictions(predictions)
