"""Numeric manifest columns that a network estimates in addition to the alloy.

A task is `alloy`, which every network has, or the name of a numeric column. `thickness` stands for
the column of the plate's thickness, the true one if the data set has it.
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
# Name of the alloy's output in a network with several tasks.
LOGITS = "logits"
FEATURES = "features"
"""Name of the model output that holds the pooled features, then the coarse image."""
# Other outputs of a network or of an exported file.
RESERVED = (LOGITS, "probabilities", FEATURES)
# Task → its possible columns, in order of preference: true before nominal thickness.
SHORTHANDS = {"thickness": ("true_thickness_mm", "thickness_mm", "thickness")}
# Always text: plate 007 is not 7.
NAMES = ("path", "label", "split", "plate_id", ALLOY)
# Smallest relative spread that a float32 output can resolve.
MIN_SPREAD = 1e-5


@dataclass(frozen=True)
class Target:
    """A column of numbers that a network estimates.

    Attributes:
        column: Name in the manifest.
        mean: Mean over the training images, in the column's unit.
        spread: Standard deviation over the training images, in the column's unit.
    """

    column: str
    mean: float
    spread: float


def target_columns(tasks: Sequence[str], table: "pd.DataFrame") -> tuple[str, ...]:
    """The columns of the tasks other than the alloy, in the order of `tasks`.

    Raises:
        DataError: A column does not exist, two tasks use the same column, or a name is taken.
    """
    columns = [_column_of(task, table) for task in tasks if task != ALLOY]
    twice = [column for column in columns if columns.count(column) > 1]
    if twice:
        raise DataError(
            f"model.tasks must have each column once, got {twice[0]} twice; remove one task"
        )
    names = [*RESERVED]
    for column in columns:
        if plain_name(column) in names:
            raise DataError(
                f"model.tasks: output names must differ, got {column!r}, which is too similar to "
                f"another one or to {', '.join(RESERVED)}; rename the column in the manifest"
            )
        names.append(plain_name(column))
    return tuple(columns)


def shared_columns(estimated: Sequence[Sequence[str]]) -> list[str]:
    """Columns that all networks estimate, in the order of the first network.

    >>> shared_columns([["kvp", "thickness_mm"], ["thickness_mm"]])
    ['thickness_mm']
    """
    return [name for name in estimated[0] if all(name in others for others in estimated[1:])]


def plain_name(column: str) -> str:
    """The column's name, restricted to characters of layer and file names.

    >>> plain_name("Dicke (mm)")
    'Dicke__mm_'
    """
    return re.sub(r"\W", "_", column, flags=re.ASCII)


def _column_of(task: str, table: "pd.DataFrame") -> str:
    columns = SHORTHANDS.get(task, (task,))
    found = [name for name in columns if name in table.columns and name not in NAMES]
    if found:
        return found[0]
    numeric = [
        str(name) for name in table.columns if name not in NAMES and _holds_numbers(table[name])
    ]
    close = difflib.get_close_matches(task, [*SHORTHANDS, *numeric], n=1)
    hint = f"did you mean {close[0]}? " if close and close[0] != task else ""
    there = f"it has {', '.join(numeric)}" if numeric else "it has none"
    raise DataError(
        f"model.tasks: {task!r} needs a column {' or '.join(columns)} of numbers in the data set's "
        f"manifest.csv; {hint}{there}"
    )


def _holds_numbers(cells: "pd.Series") -> bool:
    values = numbers_in(cells)
    return bool(np.isfinite(values).any() and not np.isinf(values).any())


def column_values(table: "pd.DataFrame", column: str) -> np.ndarray:
    """Numbers of a column, `(n,)` float64, NaN for an empty cell.

    Raises:
        DataError: A cell is not a finite number.
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
    """Make the target of a column, with the mean and spread for the network's scaling.

    Args:
        column: Name in the manifest.
        values: `(n,)` values of the training images, NaN if unknown.

    Raises:
        DataError: The column is empty or constant.

    Example:
        >>> target_of("thickness_mm", np.array([1.0, 5.0, np.nan]))
        Target(column='thickness_mm', mean=3.0, spread=2.0)
    """
    known = values[np.isfinite(values)]
    if not len(known):
        raise DataError(
            f"model.tasks: training images must have values in the column {column}, got none; "
            "fill it in, or remove the task"
        )
    mean, spread = float(known.mean()), float(known.std())
    if spread <= MIN_SPREAD * abs(mean):
        raise DataError(
            f"model.tasks: the column {column} must vary, got {known[0]:g} for every training "
            "image; remove the task"
        )
    return Target(column, mean, spread)


def check_tasks(tasks: Sequence[str], table: "pd.DataFrame") -> None:
    """Check that the tasks can be learned.

    Args:
        tasks: As in the configuration.
        table: Table of an `ImageDataset`.

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
                f"model.tasks: validation images must have values in the column {column}, got "
                "none; fill it in, or remove the task"
            )


def task_notes(tasks: Sequence[str], table: "pd.DataFrame") -> tuple[str, ...]:
    """Return a sentence for each column that a short name stands for, and for each with gaps.

    Args:
        tasks: As in the configuration.
        table: Table of an `ImageDataset`.

    Raises:
        DataError: A column is missing or is not numeric.
    """
    notes = []
    columns = target_columns(tasks, table)
    for task, column in zip([task for task in tasks if task != ALLOY], columns, strict=True):
        others = [name for name in SHORTHANDS.get(task, ())[1:] if name in table.columns]
        if task != column:
            beside = f", not {others[0]}, which exists too" if column not in others else ""
            notes.append(f"The task {task} is the column {column}{beside if others else ''}.")
        values, split = column_values(table, column), table["split"].to_numpy()
        missing = {name: np.isnan(values[split == name]) for name in ("train", "val", "test")}
        some = [f"{gone.sum()} of {len(gone)} in {name}" for name, gone in missing.items()
                if gone.any()]  # fmt: skip
        if some:
            notes.append(
                f"Images without {column}: {', '.join(some)}. They are used for the "
                "other tasks only."
            )
    return tuple(notes)


def weights_of(tasks: Sequence[str], weights: Mapping[str, float]) -> tuple[float, ...]:
    """The weight of each task, the alloy's first; 1 by default.

    Example:
        >>> weights_of(["alloy", "thickness"], {"thickness": 0.5})
        (1.0, 0.5)
    """
    others = [task for task in tasks if task != ALLOY]
    return tuple(float(weights.get(task, 1.0)) for task in (ALLOY, *others))
