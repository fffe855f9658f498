"""Which images are held out: a fold of cross-validation, or everything under one condition."""

from typing import TYPE_CHECKING

from alloyk.data.binning import conditions_in
from alloyk.data.splits import RATIOS, part_table, split_table
from alloyk.errors import AlloykError
from alloyk.files import few

if TYPE_CHECKING:
    import pandas as pd

# Not what images were taken under, but which they are.
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
        fold: Number, from 1, and how many there are.
        ratios: Of train, val and test; the first two divide what is not held out.
        group_by: As in `split_table`.
        seed: Seed of the draw; the same for all folds of one cross-validation.

    Returns:
        A series of `"train"`, `"val"` and `"test"` with the table's index.

    Raises:
        AlloykError: There are fewer groups than folds, or than train and val need of the rest.
    """
    number, count = fold
    names = [f"fold {k + 1}" for k in range(count)]
    folds = part_table(table, names, [1 / count] * count, group_by, seed)
    return _hold_out(table, (folds == names[number - 1]).to_numpy(), ratios, group_by, seed)


def condition_split(
    table: "pd.DataFrame",
    column: str,
    value: str,
    ratios: tuple[float, ...] = RATIOS,
    group_by: str | None = None,
    seed: int = 0,
) -> "pd.Series":
    """Hold all images under one condition out for testing; the rest as in `fold_split`.

    Raises:
        AlloykError: No such column or value; or the rest cannot be divided.
    """
    codes, values = condition_column(table, column)
    if value not in values:
        raise AlloykError(f"{column} has the values {few(values, 12)}; found {value!r}")
    held_out = codes == values.index(value)
    unlearnt = sorted(set(table["label"]) - set(table["label"][~held_out]))
    if unlearnt:
        raise AlloykError(
            f"without {column}={value} no image of class {unlearnt[0]!r} is left to learn from: "
            "leave another column out"
        )
    return _hold_out(table, held_out, ratios, group_by, seed)


def condition_column(table: "pd.DataFrame", column: str):
    """The conditions in a column of a data set, as `alloyk.data.binning.conditions_in`.

    Raises:
        AlloykError: There is no such column, or nothing varies in it.
    """
    columns = [name for name in table.columns if name not in NO_CONDITIONS]
    if column not in columns:
        raise AlloykError(
            f"leaving a condition out wants a column of manifest.csv among "
            f"{few(columns, 20) or '(there is none)'}; found {column!r}"
        )
    codes, values = conditions_in(table[column], column)
    if len(values) < 2:
        raise AlloykError(f"{column} is {values[0]} in all images: nothing can be left out")
    return codes, values


def _hold_out(table, held_out, ratios, group_by, seed) -> "pd.Series":
    train, val, _ = ratios
    rest = table[~held_out]
    split = split_table(rest, (train / (train + val), val / (train + val), 0.0), group_by, seed)
    return split.reindex(table.index, fill_value="test")
