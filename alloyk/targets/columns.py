"""The numbers in manifest columns that a network learns in addition to the alloy.

A task is `alloy`, which every network learns, or the name of a numeric column. `thickness` is
short for the thickness of the plate, the true one where the data set knows it.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alloyk.errors import DataError
from alloyk.targets.cells import numbers_in

if TYPE_CHECKING:
    import pandas as pd

ALLOY = "alloy"
# The output of a network of several tasks that tells the alloy.
LOGITS = "logits"
# Task → the columns that can hold it, the best first: what is goes before what was ordered.
SHORTHANDS = {"thickness": ("true_thickness_mm", "thickness_mm", "thickness")}
# Text, whatever stands in them: plate 007 is not 7.
NAMES = ("path", "label", "split", "plate_id", ALLOY)
# A network answers in float32, which tells 1 + 1e-7 from 1, and no less.
SMALLEST_SPREAD = 1e-5


@dataclass(frozen=True)
class Target:
    """A column of numbers that a network learns to estimate.

    Attributes:
        column: Its name in the manifest.
        mean: Over the training images, in the column's unit.
        spread: Standard deviation over the training images, in the column's unit.
    """

    column: str
    mean: float
    spread: float


def target_columns(tasks: Sequence[str], table: "pd.DataFrame") -> tuple[str, ...]:
    """The columns that hold the tasks beside the alloy, in the order of `tasks`.

    Raises:
        DataError: No such column, two tasks are one column, or a name is taken.
    """
    columns = [_column_of(task, table) for task in tasks if task != ALLOY]
    twice = [column for column in columns if columns.count(column) > 1]
    if twice:
        raise DataError(f"model.tasks names the column {twice[0]} twice: remove one of them")
    names = [LOGITS, "probabilities"]
    for column in columns:
        if plain_name(column) in names:
            raise DataError(
                f"model.tasks: {column!r} is too similar to the name of another output; rename "
                "that column of the manifest"
            )
        names.append(plain_name(column))
    return tuple(columns)


def shared_columns(estimated: Sequence[Sequence[str]]) -> list[str]:
    """Columns that every one of several networks estimates, in the order of the first.

    >>> shared_columns([["kvp", "thickness_mm"], ["thickness_mm"]])
    ['thickness_mm']
    """
    return [name for name in estimated[0] if all(name in others for others in estimated[1:])]


def plain_name(column: str) -> str:
    """The column's name in characters that layer and file names may have.

    >>> plain_name("Dicke (mm)")
    'Dicke__mm_'
    """
    return re.sub(r"\W", "_", column, flags=re.ASCII)


def _column_of(task: str, table: "pd.DataFrame") -> str:
    wanted = SHORTHANDS.get(task, (task,))
    found = [name for name in wanted if name in table.columns and name not in NAMES]
    if found:
        return found[0]
    numeric = [
        str(name) for name in table.columns if name not in NAMES and _holds_numbers(table[name])
    ]
    close = difflib.get_close_matches(task, [*SHORTHANDS, *numeric], n=1)
    hint = f"did you mean {close[0]}? " if close and close[0] != task else ""
    there = f"it has {', '.join(numeric)}" if numeric else "it has none"
    raise DataError(
        f"model.tasks: {task!r} needs a column {' or '.join(wanted)} of numbers in the data set's "
        f"manifest.csv; {hint}{there}"
    )


def _holds_numbers(cells: "pd.Series") -> bool:
    values = numbers_in(cells)
    return bool(np.isfinite(values).any() and not np.isinf(values).any())


def column_values(table: "pd.DataFrame", column: str) -> np.ndarray:
    """Numbers of a column, `(n,)` float64, NaN where a cell is empty.

    Raises:
        DataError: A cell holds something else than a finite number; the message names it.
    """
    cells = table[column]
    values = numbers_in(cells)
    wrong = np.flatnonzero(np.isinf(values))
    if len(wrong):
        raise DataError(
            f"model.tasks: every cell of the column {column} must be a number or empty, got "
            f"{str(cells.iloc[wrong[0]])!r} for {table['path'].iloc[wrong[0]]}"
        )
    return values


def target_of(column: str, values: np.ndarray) -> Target:
    """The target in a column, with the mean and spread that the network scales by.

    Args:
        column: Its name.
        values: `(n,)` of the training images, NaN where not known.

    Raises:
        DataError: The column is empty or constant.

    Example:
        >>> target_of("thickness_mm", np.array([1.0, 5.0, np.nan]))
        Target(column='thickness_mm', mean=3.0, spread=2.0)
    """
    known = values[np.isfinite(values)]
    if not len(known):
        raise DataError(
            f"model.tasks: no training image has a value in the column {column}: fill it in, or "
            "remove the task"
        )
    mean, spread = float(known.mean()), float(known.std())
    if spread <= SMALLEST_SPREAD * abs(mean):
        raise DataError(
            f"model.tasks: the column {column} must vary, got {known[0]:g} for every training "
            "image; remove the task"
        )
    return Target(column, mean, spread)


def check_tasks(tasks: Sequence[str], table: "pd.DataFrame") -> None:
    """Check that the tasks can be learned.

    Args:
        tasks: As in the configuration.
        table: Of an `ImageDataset`.

    Raises:
        DataError: A column is missing, is not numeric, is constant or empty in training, or is
            empty in validation.
    """
    split = table["split"].to_numpy()
    for column in target_columns(tasks, table):
        values = column_values(table, column)
        target_of(column, values[split == "train"])
        if np.isnan(values[split == "val"]).all():
            raise DataError(
                f"model.tasks: no validation image has a value in the column {column}: fill it "
                "in, or remove the task"
            )


def task_notes(tasks: Sequence[str], table: "pd.DataFrame") -> tuple[str, ...]:
    """Return a sentence for each column that a short name stands for, and for each with gaps.

    Args:
        tasks: As in the configuration.
        table: Of an `ImageDataset`.

    Raises:
        DataError: A column is missing or is not numeric.
    """
    notes = []
    columns = target_columns(tasks, table)
    for task, column in zip([task for task in tasks if task != ALLOY], columns, strict=True):
        others = [name for name in SHORTHANDS.get(task, ())[1:] if name in table.columns]
        if task != column:
            beside = f", not {others[0]}, which is there too" if column not in others else ""
            notes.append(f"The task {task} is the column {column}{beside if others else ''}.")
        values, split = column_values(table, column), table["split"].to_numpy()
        missing = {name: np.isnan(values[split == name]) for name in ("train", "val", "test")}
        some = [f"{gone.sum()} of {len(gone)} in {name}" for name, gone in missing.items()
                if gone.any()]  # fmt: skip
        if some:
            notes.append(
                f"Images without {column}: {', '.join(some)}. They train and test "
                "only the other tasks."
            )
    return tuple(notes)


def weights_of(tasks: Sequence[str], weights: Mapping[str, float]) -> tuple[float, ...]:
    """The weight of each task, the alloy's first; 1 where none is given.

    Example:
        >>> weights_of(["alloy", "thickness"], {"thickness": 0.5})
        (1.0, 0.5)
    """
    others = [task for task in tasks if task != ALLOY]
    return tuple(float(weights.get(task, 1.0)) for task in (ALLOY, *others))
