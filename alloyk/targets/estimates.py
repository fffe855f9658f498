"""Read the numbers that a network estimated from a predictions file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alloyk.csv_lines import line_of_row
from alloyk.errors import DataError
from alloyk.targets.cells import numbers_in

ESTIMATE_PREFIX = "predicted_"

UNLIKE = "unlike"
"""Column with the score of how unlike the training images an image is; 1 or more is unlike."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """Estimates of a column of numbers.

    Attributes:
        true: `(n,)` float64, NaN if unknown.
        predicted: `(n,)` float64.
    """

    true: np.ndarray
    predicted: np.ndarray


def read_estimates(path: Path, columns: Mapping[str, Sequence[str]]) -> dict[str, Estimate]:
    """The estimates in each column `predicted_<name>`, with the truth in `<name>`, by name.

    Args:
        path: The file, for errors.
        columns: Columns of the file, name → `(n,)` text. An empty cell of `<name>` is unknown.

    Raises:
        DataError: A cell is not a finite number.
    """
    estimates = {}
    for name, cells in columns.items():
        column = name.removeprefix(ESTIMATE_PREFIX)
        if column == name:
            continue
        truth = columns.get(column, ("",) * len(cells))
        estimates[column] = Estimate(
            true=_finite(path, column, truth, may_be_empty=True),
            predicted=_finite(path, name, cells),
        )
    return estimates


def _finite(
    path: Path, name: str, cells: Sequence[str], *, may_be_empty: bool = False
) -> np.ndarray:
    values = numbers_in(cells) if may_be_empty else np.array([number_or_nan(c) for c in cells])
    wrong = np.isinf(values) if may_be_empty else ~np.isfinite(values)
    bad = np.flatnonzero(wrong)
    if len(bad):
        line = line_of_row(path, int(bad[0]))
        raise DataError(
            f"{path}: line {line}, column {name}: must be a number, got {cells[bad[0]]!r}"
        )
    return values


def number_or_nan(text: str) -> float:
    """Parse a number; NaN if the text is not a number.

    >>> number_or_nan("1e-3"), number_or_nan("much")
    (0.001, nan)
    """
    try:
        return float(text)
    except ValueError:
        return np.nan
