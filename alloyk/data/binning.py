"""The conditions under which images were taken: a manifest column as a few named values."""

from collections.abc import Iterable

import numpy as np

from alloyk.data.names import THICKNESS
from alloyk.data.splits import nominal_thickness
from alloyk.targets.cells import is_missing, numbers_in

# More distinct numbers than this are put into classes.
MAX_VALUES = 12
QUANTILES = 4
MISSING = "(none)"
# Significant digits of the ends of a range: three, or more where ranges would look the same.
DIGITS = range(3, 18)


def conditions_in(column: Iterable[object], name: str = "") -> tuple[np.ndarray, list[str]]:
    """Number the values of a column, and return the name of each number.

    Numbers are sorted as numbers. More than 12 distinct ones (a tube voltage that was drawn) are
    put into four classes of equally many images; a plate's thickness in millimetres into nominal
    ones, where those are few.

    Args:
        column: `(n,)` values, text or numbers; "" and NaN are missing, and among numbers the words
            for it, such as "NaN" and "n/a".
        name: The column's name; `thickness_mm` is treated as thickness.

    Returns:
        `(n,)` int from 0, and the names in their natural order; `(none)`, the last, stands for
        missing values.

    >>> codes, names = conditions_in(["10", "9.5", "", "10"])
    >>> codes.tolist(), names
    ([1, 0, 2, 1], ['9.5', '10', '(none)'])
    """
    names = np.array([_text(value) for value in column], dtype=object)
    number = numbers_in(names)
    given = names != MISSING
    unknown = ~given | np.array([is_missing(text) for text in names], dtype=bool)
    if np.isfinite(number[~unknown]).any() and np.isfinite(number[~unknown]).all():
        names[unknown], given = MISSING, ~unknown  # NaN is a number, not a word, among numbers
    if given.any() and np.isfinite(number[given]).all():
        names = _one_spelling(names, number, given)
        if len(np.unique(number[given])) > MAX_VALUES:
            names, number = _classes(number, given, name)
        order: dict[str, float] = {}
        for text, value in zip(names, number, strict=True):
            order[text] = min(order.get(text, value), value)
        values = sorted(set(names), key=lambda text: (text == MISSING, order[text], text))
    else:
        values = sorted(set(names), key=lambda text: (text == MISSING, text))
    index = {text: code for code, text in enumerate(values)}
    return np.array([index[text] for text in names]), values


def _one_spelling(names: np.ndarray, number: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The first spelling of each number for all of its spellings: 5, 5.0 and 5,0 are one value."""
    first: dict[float, str] = {}
    for text, value in zip(names[given], number[given], strict=True):
        first.setdefault(float(value), str(text))
    names = names.copy()
    names[given] = [first[float(value)] for value in number[given]]
    return names


def _classes(number: np.ndarray, given: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Names and sorting keys of many distinct numbers, put into classes."""
    names = np.full(len(number), MISSING, dtype=object)
    if name == THICKNESS:
        nominal = nominal_thickness(number)
        if len(np.unique(nominal[given])) <= MAX_VALUES:
            names[given] = [f"{mm:.3g}" for mm in nominal[given]]
            return names, nominal
    edges = np.unique(np.quantile(number[given], np.linspace(0, 1, QUANTILES + 1)))
    code = np.clip(np.searchsorted(edges, number, side="right") - 1, 0, len(edges) - 2)
    inside = [given & (code == k) for k in range(len(edges) - 1)]
    ends = [(number[rows].min(), number[rows].max()) for rows in inside if rows.any()]
    for digits in DIGITS:
        shown = [_range(low, high, digits) for low, high in ends]
        if len(set(shown)) == len(shown) and None not in shown:
            break
    for rows, text in zip((rows for rows in inside if rows.any()), shown, strict=True):
        names[rows] = text
    return names, number


def _range(low: float, high: float, digits: int) -> str | None:
    """A range with its ends at so many significant digits; None if they look equal but differ."""
    rounded = [float(f"{end:.{digits}g}") for end in (low, high)]
    plain = all(end == 0 or 1e-4 <= abs(end) < 1e6 for end in rounded)
    ends = [np.format_float_positional(end, trim="-") if plain else repr(end) for end in rounded]
    if low == high:
        return ends[0]
    return " to ".join(ends) if ends[0] != ends[1] else None


def _text(value: object) -> str:
    # NaN is the one value that differs from itself.
    return MISSING if value is None or value != value or value == "" else str(value)
