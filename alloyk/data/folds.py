"""Which images are held out: a fold of cross-validation, or everything under one condition."""

import math
from typing import TYPE_CHECKING

import numpy as np

from alloyk.data.binning import conditions_in
from alloyk.data.names import column_called
from alloyk.data.splits import part_table, split_table
from alloyk.errors import DataError
from alloyk.messages import few
from alloyk.settings.data import RATIOS
from alloyk.targets.cells import number_in

if TYPE_CHECKING:
    import pandas as pd

# These identify an image or its class; they are not conditions.
NO_CONDITIONS = ("path", "label", "split", "plate_id")


def parse_fold(text: str) -> tuple[int, int]:
    """Number of a fold, from 1, and how many there are.

    >>> parse_fold("2/5")
    (2, 5)
    """
    number, _, count = text.partition("/")
    return int(number), int(count)


def parse_condition(text: str) -> tuple[str, str]:
    """Column and value of a condition.

    >>> parse_condition("thickness_mm=5.0")
    ('thickness_mm', '5.0')
    """
    column, _, value = text.partition("=")
    return column, value


def fold_split(
    table: "pd.DataFrame",
    fold: tuple[int, int],
    ratios: tuple[float, ...] = RATIOS,
    group_by: str | None = None,
    seed: int = 0,
) -> "pd.Series":
    """Hold one fold out for testing, and divide the rest into training and validation.

    Folds are stratified and grouped like any split; over all folds each image is tested once.

    Args:
        table: As in `alloyk.data.split_table`.
        fold: 1-based index, and the number of folds.
        ratios: Shares of train, val and test; the first two divide what is not held out.
        group_by: As in `split_table`.
        seed: Seed of the draw; the same for all folds of one cross-validation.

    Returns:
        A series of `"train"`, `"val"` and `"test"` with the table's index.

    Raises:
        DataError: A class has fewer groups than there are folds, or the rest too few for train and
            val.
    """
    number, count = fold
    names = [f"fold {k + 1}" for k in range(count)]
    folds = part_table(table, names, [1 / count] * count, group_by, seed)
    return _hold_out(table, (folds == names[number - 1]).to_numpy(), ratios, group_by, seed)


def validation_split(
    table: "pd.DataFrame", fold: tuple[int, int], group_by: str | None = None, seed: int = 0
) -> "pd.Series":
    """Hold one fold of the training and validation images out for validation; test stays test.

    Folds are stratified and grouped like any split; over all folds each of these images is in
    validation once.

    Args:
        table: As in `alloyk.data.split_table`, with `split`.
        fold: 1-based index, and the number of folds.
        group_by: As in `split_table`.
        seed: Seed of the draw; the same for all folds.

    Returns:
        A series of `"train"`, `"val"` and `"test"` with the table's index.

    Raises:
        DataError: A class has fewer groups than there are folds.
    """
    number, count = fold
    rest = table[table["split"] != "test"]
    names = [f"fold {k + 1}" for k in range(count)]
    folds = part_table(rest, names, [1 / count] * count, group_by, seed)
    split = folds.map(lambda name: "val" if name == names[number - 1] else "train")
    return split.reindex(table.index, fill_value="test")


def condition_split(
    table: "pd.DataFrame",
    column: str,
    value: str,
    ratios: tuple[float, ...] = RATIOS,
    group_by: str | None = None,
    seed: int = 0,
) -> "pd.Series":
    """Hold all images under one condition out for testing; the rest as in `fold_split`.

    Args:
        table: As in `alloyk.data.split_table`.
        column: Name of the column, in any case.
        value: The condition, as the column has it; a number may be written in another way.
        ratios: Shares of train, val and test; the first two divide what is not held out.
        group_by: As in `split_table`.
        seed: Seed of the draw.

    Returns:
        A series of `"train"`, `"val"` and `"test"` with the table's index.

    Raises:
        DataError: No such column or value; or the rest cannot be divided.
    """
    codes, values = condition_column(table, column)
    number = number_in(value)
    equal = [name for name in values if math.isfinite(number) and number_in(name) == number]
    if value not in values and equal:
        value = equal[0]  # 5 for a column that says 5.0
    if value not in values:
        raise DataError(f"{column} must be one of {few(values, 12)}, got {value!r}")
    held_out = codes == values.index(value)
    unlearnt = sorted(set(table["label"]) - set(table["label"][~held_out]))
    if unlearnt:
        raise DataError(
            f"training must have every class, but all images of {unlearnt[0]!r} have "
            f"{column}={value}; hold out another value or column"
        )
    return _hold_out(table, held_out, ratios, group_by, seed)


def condition_column(table: "pd.DataFrame", column: str) -> tuple[np.ndarray, list[str]]:
    """The conditions in a column of a data set, as returned by `alloyk.data.binning.conditions_in`.

    Raises:
        DataError: There is no such column, or nothing varies in it.
    """
    columns = [name for name in table.columns if name not in NO_CONDITIONS]
    column = column_called(columns, column) or column
    if column not in columns:
        raise DataError(
            "the column to leave out must be one of the data set's "
            f"({few(columns, 20) or 'it has none'}), got {column!r}"
        )
    codes, values = conditions_in(table[column], column)
    if len(values) < 2:
        raise DataError(
            f"{column} must vary to be left out, got {values[0]} for all images; choose another "
            "column"
        )
    return codes, values


def _hold_out(
    table: "pd.DataFrame",
    held_out: np.ndarray,
    ratios: tuple[float, ...],
    group_by: str | None,
    seed: int,
) -> "pd.Series":
    train, val, _ = ratios
    rest = table[~held_out]
    split = split_table(rest, (train / (train + val), val / (train + val), 0.0), group_by, seed)
    return split.reindex(table.index, fill_value="test")
