"""Read numbers from the text cells of a table.

Tables are kept as text, so that the user's cells never change. A column is parsed as numbers only
if numbers are needed: to stratify by thickness, to bin a column, or to train on it.
"""

import re
from collections.abc import Iterable

import numpy as np

# Spellings of a missing value by instruments, spreadsheets and NumPy.
MISSING_CELLS = frozenset({"", "nan", "na", "n/a", "null", "none", "-", "?"})
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)


def is_missing(cell: object) -> bool:
    """Whether a cell has no value: it is empty, NaN or a usual word for missing.

    >>> [is_missing(cell) for cell in ("", " NaN", "n/a", float("nan"), "0")]
    [True, True, True, True, False]
    """
    return cell is None or cell != cell or str(cell).strip().lower() in MISSING_CELLS


def number_in(cell: object) -> float:
    """The finite number in a cell, NaN if it is missing, or infinity if it is not a number.

    A decimal comma is read as a decimal point. A cell with two separators is not a number.

    >>> [number_in(cell) for cell in ("1.5", " 1,5 ", "1e2", 7, "", "1.000,5", "thin")]
    [1.5, 1.5, 100.0, 7.0, nan, inf, inf]
    """
    if isinstance(cell, bool | np.bool_):
        return np.inf
    if isinstance(cell, int | float | np.number):
        return float(cell)
    if is_missing(cell):
        return np.nan
    text = str(cell).strip()
    return float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else np.inf


def numbers_in(cells: Iterable[object]) -> np.ndarray:
    """`number_in` of every cell, `(n,)` float64."""
    cells = list(cells)
    known = {cell: number_in(cell) for cell in set(cells)}  # columns repeat a few values
    return np.array([known[cell] for cell in cells], dtype=np.float64)
