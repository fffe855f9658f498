"""The conditions under which images were taken: a manifest column as a few named values."""

import numpy as np

from alloyk.data.splits import THICKNESS, nominal_thickness

# More distinct numbers than this are put into classes.
MOST_VALUES = 12
QUANTILES = 4
MISSING = "(none)"
DIGITS = range(4, 18)


def conditions_in(column, name: str = "") -> tuple[np.ndarray, list[str]]:
    """The value of each row as a number, and what the numbers stand for.

    Numbers are sorted as numbers. More than 12 distinct ones (a tube voltage that was drawn) are
    put into four classes of equally many images; a plate's thickness in millimetres into nominal
    ones, where those are few.

    Args:
        column: `(n,)` values, text or numbers; "" and NaN are missing.
        name: The column's name; ``thickness_mm`` is treated as thickness.

    Returns:
        `(n,)` int from 0, and the names in their natural order; ``(none)``, the last, stands for
        missing values.

    >>> codes, names = conditions_in(["10", "9.5", "", "10"])
    >>> codes.tolist(), names
    ([1, 0, 2, 1], ['9.5', '10', '(none)'])
    """
    names = np.array([_text(value) for value in column], dtype=object)
    number = np.array([_number(text) for text in names])
    given = names != MISSING
    if given.any() and np.isfinite(number[given]).all():
        if len(np.unique(number[given])) > MOST_VALUES:
            names, number = _classes(number, given, name)
        order: dict = {}
        for text, value in zip(names, number, strict=True):
            order[text] = min(order.get(text, value), value)
        values = sorted(set(names), key=lambda text: (text == MISSING, order[text], text))
    else:
        values = sorted(set(names), key=lambda text: (text == MISSING, text))
    index = {text: code for code, text in enumerate(values)}
    return np.array([index[text] for text in names]), values


def _classes(number: np.ndarray, given: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Names and sorting keys of many distinct numbers, put into classes."""
    names = np.full(len(number), MISSING, dtype=object)
    if name == THICKNESS:
        nominal = nominal_thickness(number)
        if len(np.unique(nominal[given])) <= MOST_VALUES:
            names[given] = [f"{mm:.3g}" for mm in nominal[given]]
            return names, nominal
    edges = np.unique(np.quantile(number[given], np.linspace(0, 1, QUANTILES + 1)))
    code = np.clip(np.searchsorted(edges, number, side="right") - 1, 0, len(edges) - 2)
    inside = [given & (code == k) for k in range(len(edges) - 1)]
    ends = [(number[rows].min(), number[rows].max()) for rows in inside if rows.any()]
    different = len(set(np.ravel(ends)))
    for digits in DIGITS:  # as few as tell the ends of all classes apart
        shown = [[f"{end:.{digits}g}" for end in pair] for pair in ends]
        if len({text for pair in shown for text in pair}) == different:
            break
    shown = [low if low == high else f"{low} to {high}" for low, high in shown]
    for rows, text in zip((rows for rows in inside if rows.any()), shown, strict=True):
        names[rows] = text
    return names, number


def _text(value) -> str:
    # NaN is the one value that differs from itself.
    return MISSING if value is None or value != value or value == "" else str(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
