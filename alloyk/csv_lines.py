"""Lines of CSV that read back cell by cell, and where a row of a file is."""

import csv
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

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


def line_of_row(file: Path, row: int) -> int:
    """Line of a CSV file where a row ends, counted as an editor does: from 1, blank lines too.

    Args:
        file: The file, with a header.
        row: Number of the row, from 0 for the first below the header.
    """
    with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:
        reader = csv.reader(lines)
        for _ in islice(filter(None, reader), row + 2):
            pass
        return reader.line_num
