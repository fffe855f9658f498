"""Lines of CSV that read back cell by cell."""

import re
from collections.abc import Iterable

_QUOTED = re.compile(r'[,"\r\n]|^\s|\s$')


def csv_line(cells: Iterable[object]) -> str:
    r"""One line of a CSV file, quoted where a reader could mistake a cell; None is empty.

    Python's `csv` before 3.13 leaves a carriage return unquoted, which then ends the line.

    >>> csv_line(["000", "a, b", "x\ry", None, 0.5])
    '000,"a, b","x\ry",,0.5\n'
    """
    texts = ("" if cell is None else str(cell) for cell in cells)
    line = ",".join(
        '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text for text in texts
    )
    return (line or '""') + "\n"
