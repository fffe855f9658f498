"""What is held out: every image once, no plate on both sides, one condition at a time."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from alloyk.config import resolve_config
from alloyk.data import load_dataset
from alloyk.data.folds import condition_column, condition_split, fold_split, validation_split
from alloyk.data.held_out import held_out_parts
from alloyk.data.source import open_dataset
from alloyk.errors import AlloykError, DataError


def table_of(plates=60, per_plate=3, seed=0):
    rng = np.random.default_rng(seed)
    plate = np.repeat(np.arange(plates), per_plate)
    n = plates * per_plate
    return pd.DataFrame(
        {
            "path": [f"{i:03}.png" for i in range(n)],
            "label": np.where(plate % 2, "1050", "2017"),
            "plate_id": [f"P{p}" for p in plate],
            "thickness_mm": np.array([1.0, 2.0, 5.0])[plate % 3],
            "tube_voltage_kvp": np.resize([45.0, 50.0, 55.0], n),
            "drawn": rng.normal(10, 1, n),
        }
    )


def folds_of(table, count, **options):
    return [fold_split(table, (k, count), **options) for k in range(1, count + 1)]


def test_each_image_is_tested_once():
    folds = folds_of(table_of(), 5)
    tested = np.stack([(fold == "test").to_numpy() for fold in folds])
    np.testing.assert_array_equal(tested.sum(axis=0), 1)
    assert tested.sum(axis=1).tolist() == [36] * 5


def test_no_plate_is_in_two_splits_and_every_stratum_in_each():
    table = table_of()
    for fold in folds_of(table, 5):
        assert (pd.DataFrame({"plate": table["plate_id"], "split": fold})
                .groupby("plate")["split"].nunique() == 1).all()  # fmt: skip
        strata = table.groupby(["label", "thickness_mm", fold]).size()
        assert len(strata) == 2 * 3 * 3
        counts = table["label"].groupby([fold, table["label"]]).size()
        assert counts["test"]["1050"] == counts["test"]["2017"] == 18
        # Train and val share the rest as 0.70 to 0.15.
        assert counts["val"].sum() / (counts["val"].sum() + counts["train"].sum()) == (
            pytest.approx(0.15 / 0.85, abs=0.1)
        )


def test_each_image_but_those_of_test_validates_once_with_its_plate():
    table = table_of()
    table["split"] = np.where(table["plate_id"].isin(["P0", "P1", "P2", "P3"]), "test", "train")
    splits = [validation_split(table, (k, 4)) for k in (1, 2, 3, 4)]
    validated = np.stack([(split == "val").to_numpy() for split in splits]).sum(axis=0)
    np.testing.assert_array_equal(validated, table["split"] != "test")
    for split in splits:
        assert ((split == "test") == (table["split"] == "test")).all()
        assert (split.groupby(table["plate_id"]).nunique() == 1).all()
        assert (split == "val").sum() == pytest.approx(168 / 4, abs=3)
    with pytest.raises(DataError, match="fold"):
        validation_split(table, (1, 40))


def test_folds_do_not_depend_on_the_order_of_the_rows_but_on_the_seed():
    table = table_of()
    shuffled = table.sample(frac=1, random_state=1)
    one = fold_split(table, (1, 4))
    pd.testing.assert_series_equal(fold_split(shuffled, (1, 4)).sort_index(), one)
    assert not fold_split(table, (1, 4), seed=1).equals(one)


def test_more_folds_than_plates_of_a_kind_are_refused():
    with pytest.raises(
        AlloykError,
        match=r"into 12 folds needs at least 12 groups of each class .*, but class",
    ):
        fold_split(table_of(), (1, 12))


def test_a_condition_is_held_out_whole():
    table = table_of()
    split = condition_split(table, "thickness_mm", "2.0")
    assert (table["thickness_mm"][split == "test"] == 2).all()
    assert (table["thickness_mm"][split != "test"] != 2).all()
    rest = pd.DataFrame({"plate": table["plate_id"], "split": split})
    assert (rest.groupby("plate")["split"].nunique() == 1).all()
    assert set(split) == {"train", "val", "test"}


def test_a_drawn_number_is_held_out_by_quarters():
    table = table_of()
    codes, values = condition_column(table, "drawn")
    for number, value in enumerate(values):
        split = condition_split(table, "drawn", value, group_by="none")
        np.testing.assert_array_equal((split == "test").to_numpy(), codes == number)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("thickness", r"\(thickness_mm, tube_voltage_kvp, drawn, same\), got 'thickness'"),
        ("label", "got 'label'"),
        ("same", "same must vary to be left out, got x for all images"),
    ],
)
def test_a_column_that_cannot_be_left_out_is_refused(column, message):
    with pytest.raises(AlloykError, match=message):
        condition_column(table_of().assign(same="x"), column)


def test_a_condition_that_is_the_class_is_refused():
    table = table_of()
    table["alloy"] = table["label"]
    with pytest.raises(AlloykError, match="all images of '1050' have alloy=1050; hold out"):
        condition_split(table, "alloy", "1050")


def test_an_unknown_value_is_refused_with_those_there():
    table = table_of().assign(detector=["A", "B"] * (len(table_of()) // 2))
    with pytest.raises(AlloykError, match="must be one of A, B, got 'C'"):
        condition_split(table, "detector", "C")
    with pytest.raises(AlloykError, match=r"must be one of 1\.0, 2\.0, 5\.0, got '3\.0'"):
        condition_split(table_of(), "thickness_mm", "3.0")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A data set with a manifest that gives a split."""
    root = tmp_path_factory.mktemp("data")
    table = table_of(plates=36, per_plate=2)
    table = table.assign(
        split=np.where(table["plate_id"] == "P0", "val", "train"),
        tube_voltage_kvp=np.tile([45.0, 55.0], 36),
    )
    table.loc[table["plate_id"] == "P1", "split"] = "test"
    for path in table["path"]:
        Image.new("L", (4, 4)).save(root / path)
    table.to_csv(root / "manifest.csv", index=False)
    return root


def test_a_fold_goes_before_the_split_that_the_data_set_gives(data):
    given = load_dataset(data)
    assert given.grouped_by == "manifest"
    assert len(given.split("test")) == 2
    fold = load_dataset(data, fold=(1, 3))
    assert fold.grouped_by == "plate_id"
    assert len(fold.split("test")) == 24
    assert fold.notes == ()


def test_the_configuration_names_a_fold_or_a_condition(data):
    def opened(**held_out):
        return open_dataset(
            resolve_config(None, {"data": {"path": str(data), **held_out}}).data_settings()
        )

    fold = opened(fold="2/3").split("test")
    assert len(fold) == 24
    assert not set(fold["path"]) & set(opened(fold="1/3").split("test")["path"])
    left_out = opened(leave_out="thickness_mm=5.0").split("test")
    assert set(left_out["thickness_mm"]) == {"5.0"}


def test_plates_on_both_sides_of_a_condition_are_noted(data):
    notes = " ".join(load_dataset(data, leave_out=("tube_voltage_kvp", "55.0")).notes)
    assert re.search(r"test shares \d+ of its 36 groups \(by plate_id\) with train", notes)


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        ({"fold": "0/3"}, "data.fold"),
        ({"fold": "4/3"}, "must be a fold out of two or more, such as 2/5"),
        ({"fold": "1/1"}, "must be a fold out of two or more"),
        ({"fold": "half"}, "data.fold"),
        ({"leave_out": "thickness_mm"}, "data.leave_out"),
        ({"fold": "1/3", "leave_out": "a=b"}, "data.fold and data.leave_out both choose"),
    ],
)
def test_a_wrong_fold_is_refused(held_out, message):
    with pytest.raises(AlloykError, match=message):
        resolve_config(None, {"data": held_out})


def test_conditions_are_those_of_all_images_where_unreadable_ones_are_left_out(tmp_path):
    """With many values they are ranges, which an image less would move."""
    rows = ["path,label,kv"]
    for number in range(60):
        name = f"{number:02}.png"
        Image.new("L", (8, 8), number).save(tmp_path / name)
        rows.append(f"{name},{('1050', '2017')[number % 2]},{40 + number / 4}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "00.png").write_bytes(b"damaged")
    data = {"path": str(tmp_path), "on_bad_image": "skip"}
    settings = resolve_config(None, {"data": data}).data_settings()
    parts = held_out_parts(settings, 5, leave_out="kv")
    tested = [len(open_dataset(replace(settings, **one)).split("test")) for one in parts.values()]
    assert sum(tested) == 59
