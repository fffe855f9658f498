"""The columns of a predictions file in which a network estimates numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alloyk.errors import AlloykError

ESTIMATE_PREFIX = "predicted_"


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a network said about a column of numbers.

    Attributes:
        true: `(n,)` float64, NaN where the file does not say.
        predicted: `(n,)` float64.
    """

    true: np.ndarray
    predicted: np.ndarray


def read_estimates(path: Path, columns: Mapping[str, Sequence[str]]) -> dict[str, Estimate]:
    """Each column ``predicted_<name>`` of a file with the column ``<name>``, by that name.

    Args:
        path: The file, for errors.
        columns: Its columns, name → `(n,)` text. An empty cell of ``<name>`` is not known.

    Raises:
        AlloykError: A cell is not a finite number; the message names line and column.
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


def _finite(path, name, cells, *, may_be_empty=False) -> np.ndarray:
    values = np.array([number_or_nan(text) for text in cells])
    bad = [r for r in np.flatnonzero(~np.isfinite(values)) if cells[r] or not may_be_empty]
    if bad:
        raise AlloykError(
            f"{path}: line {bad[0] + 2}, column {name}: wanted a number, found {cells[bad[0]]!r}"
        )
    return values


def number_or_nan(text: str) -> float:
    """The number that a text says, NaN where it says none.

    >>> number_or_nan("1e-3"), number_or_nan("much")
    (0.001, nan)
    """
    try:
        return float(text)
    except ValueError:
        return np.nan
