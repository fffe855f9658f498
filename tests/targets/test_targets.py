"""Which column a task is, and columns that nothing can be learnt from."""

import numpy as np
import pandas as pd
import pytest

from alloyk.errors import AlloykError
from alloyk.targets import (
    check_tasks,
    column_values,
    target_columns,
    target_of,
    task_notes,
    weights_of,
)

THICKNESS = ["alloy", "thickness"]


def table_of(**columns):
    n = len(next(iter(columns.values())))
    splits = ["train"] * (n - 2) + ["val", "test"]
    paths = [f"{i}.png" for i in range(n)]
    return pd.DataFrame({"path": paths, "label": ["1050"] * n, "split": splits, **columns})


def test_the_true_thickness_goes_before_the_ordered_one():
    both = table_of(thickness_mm=[1, 2, 1, 2], true_thickness_mm=[1.1, 1.9, 1.2, 2.1])
    assert target_columns(THICKNESS, both) == ("true_thickness_mm",)
    assert target_columns(["alloy", "thickness_mm"], both) == ("thickness_mm",)
    assert target_columns(THICKNESS, table_of(thickness_mm=[1, 2, 1, 2])) == ("thickness_mm",)
    assert target_columns(["alloy"], both) == ()
    assert task_notes(THICKNESS, both) == (
        "The task thickness is the column true_thickness_mm, not thickness_mm, which exists too.",
    )
    assert task_notes(["alloy", "thickness_mm"], both) == ()


def test_columns_keep_the_order_of_the_tasks():
    table = table_of(kvp=[40, 50, 45, 45], thickness_mm=[1.0, 2, 1, 2])
    assert target_columns(["kvp", "alloy", "thickness"], table) == ("kvp", "thickness_mm")


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (["alloy", "thicknes"], r"'thicknes' needs a column thicknes of numbers.*did you mean "
                                r"thickness\?.* it has thickness_mm, wedge"),
        (["alloy", "note"], "column note must be a number or empty, got 'thin' for 0.png"),
        (["alloy", "plate_id"], r"'plate_id' needs a column .* it has thickness_mm, wedge"),
        (["alloy", "thickness", "thickness_mm"], "each column once, got thickness_mm twice"),
        (["alloy", "flag"], "column flag must be a number or empty, got 'True'"),
        (["alloy", "logits"], "output names must differ, got 'logits'"),
        (["alloy", "features"], "output names must differ, got 'features'"),
        (["alloy", "a b", "a_b"], "output names must differ, got 'a_b'"),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_learnt_are_named(tasks, message):
    table = table_of(
        thickness_mm=[1.0, 2, 1, 2], wedge=[5, 6, 7, 8], note=["thin", "2", "3", "4"],
        plate_id=["1", "2", "3", "4"], flag=[True, False, True, True], logits=[1, 2, 3, 4],
        features=[1, 2, 3, 4],
    ).assign(**{"a b": [1, 2, 3, 4], "a_b": [1, 2, 3, 4]})  # fmt: skip
    if tasks[1] in ("thicknes", "plate_id"):
        table = table.drop(columns=["logits", "a b", "a_b"])
    with pytest.raises(AlloykError, match=message):
        check_tasks(tasks, table)


def test_a_data_set_without_a_manifest_has_no_numbers():
    table = table_of(plate_id=["1", "2", "3"])
    with pytest.raises(AlloykError, match=r"true_thickness_mm or thickness_mm .*; it has none"):
        target_columns(THICKNESS, table)


def test_cells_are_numbers_or_empty():
    table = table_of(mixed=["1", "", 2.5, "-3e-1"])
    np.testing.assert_array_equal(column_values(table, "mixed"), [1, np.nan, 2.5, -0.3])
    with pytest.raises(AlloykError, match=r"column far must be .* got 'inf' for 2.png"):
        column_values(table_of(far=[1.0, 2.0, np.inf]), "far")


def test_mean_and_spread_are_those_of_the_known_values():
    target = target_of("x", np.array([2.0, np.nan, 4.0, 9.0]))
    assert target.mean == pytest.approx(5)
    assert target.spread == pytest.approx(np.sqrt((9 + 1 + 16) / 3))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([np.nan, np.nan, 1, 1], "training images must have values in the column x, got none"),
        ([2.5, 2.5, 1, 2], r"column x must vary, got 2\.5 for every training image"),
        ([0, 0, 1, 2], "column x must vary, got 0 for every training image"),
        # float32 does not tell these apart.
        ([1e9, 1e9 + 1, 1, 2], "column x must vary, got 1e.09 for every training image"),
        ([1, 2, np.nan, 1], "validation images must have values in the column x, got none"),
    ],
)
def test_nothing_to_learn_is_an_error(values, message):
    with pytest.raises(AlloykError, match=message):
        check_tasks(["alloy", "x"], table_of(x=values))


def test_missing_values_are_counted_by_split():
    (note,) = task_notes(["alloy", "x"], table_of(x=[1, np.nan, 2, np.nan, 3, np.nan]))
    assert note.startswith("Images without x: 2 of 4 in train, 1 of 1 in test.")


def test_weights_follow_the_order_of_outputs_not_of_the_list():
    assert weights_of(["kvp", "alloy", "x"], {"x": 3, "alloy": 2}) == (2.0, 1.0, 3.0)
