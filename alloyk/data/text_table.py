"""Read and write tables as text: no cell is turned into a number, a date or a missing value.

A file is UTF-8, or UTF-8 or UTF-16 with a byte-order mark; cells are separated by commas,
semicolons or tabs. It is written as UTF-8 with commas, and reads back cell by cell.
"""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alloyk.csv_lines import csv_line
from alloyk.errors import DataError
from alloyk.messages import few, shown

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# Excel names the separator in a separate first line.
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
# Spreadsheets leave them above a table that does not start in the first row.
_BLANK_LINES = re.compile(r"(?:[ \t,;]*(?:\r\n|\r|\n))+")
_FEW_CELLS = 1000
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class TextColumns:
    """Columns of text that grow row by row.

    Equal cells of a column with few values, such as labels, are one string: a million rows of a
    manifest then take half the memory.

    Attributes:
        cells: A list for each column.
    """

    def __init__(self, count: int) -> None:
        self.cells: list[list[str]] = [[] for _ in range(count)]
        self._known: list[dict[str, str]] = [{} for _ in range(count)]

    def append(self, row: Sequence[str]) -> None:
        """Add a row that has a cell for each column."""
        for cells, known, cell in zip(self.cells, self._known, row, strict=True):
            cells.append(known.setdefault(cell, cell) if len(known) < _FEW_CELLS else cell)


def read_text_table(file: Path, has_key: Callable[[Sequence[str]], bool]) -> "pd.DataFrame":
    """Read a table with a header; every cell is a string, exactly as in the file.

    Args:
        file: The table.
        has_key: Whether a header is the expected one; it decides between the separators.

    Raises:
        DataError: The file is missing, is not text, or its rows and its header do not fit.
    """
    import pandas as pd

    text = _decoded(file)
    named = _SEPARATOR_LINE.match(text)
    text = text[named.end() :] if named else text
    blank = _BLANK_LINES.match(text)
    before = (1 if named else 0) + (len(blank.group().splitlines()) if blank else 0)
    text = text[blank.end() :] if blank else text
    separator = named.group(1) if named else _separator(text, has_key)
    header, columns = _parsed(file, text, separator, before)
    header, columns = _without_unnamed(header, columns)
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(
            f"the columns of {shown(file)} must have different names, got {few(map(repr, twice))} "
            "twice; rename one"
        )
    columns.reverse()
    data = {name: pd.Series(columns.pop(), dtype=object) for name in header}
    return pd.DataFrame(data, columns=pd.Index(header, dtype=object), dtype=object)


def parse_text_table(text: str) -> "pd.DataFrame":
    """The table in the text that `text_of_table` made.

    Raises:
        ValueError: A row is not as long as the header, or a quote is not closed.
    """
    import pandas as pd

    reader = csv.reader(_lines(text), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise ValueError("there is no header")
        columns = TextColumns(len(header))
        for number, row in enumerate(filter(None, reader), start=2):
            if len(row) != len(header):
                raise ValueError(f"row {number} must have {len(header)} cells, got {len(row)}")
            columns.append(row)
    except csv.Error as error:
        raise ValueError(str(error)) from None
    data = {number: pd.Series(cells, dtype=object) for number, cells in enumerate(columns.cells)}
    table = pd.DataFrame(data, dtype=object)
    return table.set_axis(pd.Index(header, dtype=object), axis=1)


def text_of_table(table: "pd.DataFrame") -> str:
    """A table as CSV text from which every cell reads back exactly; a missing value is empty."""
    return "".join(lines_of_table(table))


def lines_of_table(table: "pd.DataFrame") -> Iterator[str]:
    """The lines of `text_of_table`."""
    yield csv_line(map(str, table.columns))
    for cells in zip(*(table[name] for name in table.columns), strict=True):
        yield csv_line("" if cell is None or cell != cell else str(cell) for cell in cells)


def _decoded(file: Path) -> str:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"no manifest at {shown(file)}; check the path") from None
    except OSError as error:
        raise DataError(f"cannot read {shown(file)}: {error.strerror}") from error
    mark, encoding = next(
        ((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", "utf-8")
    )
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = content[len(mark) :][: error.start].count(b"\n") + 1
        found = content[len(mark) :][error.start : error.start + 1].hex()
        raise DataError(
            f"{shown(file)} must be text in UTF-8, got the byte 0x{found} in line {line}; save it "
            "as CSV in UTF-8 (spreadsheets call it 'CSV UTF-8')"
        ) from None
    if "\0" in text:
        raise DataError(
            f"{shown(file)} must be text in UTF-8, got zero bytes: it is a binary file, or UTF-16 "
            "without a byte-order mark; save it as CSV in UTF-8"
        )
    return text


def _separator(text: str, has_key: Callable[[Sequence[str]], bool]) -> str:
    """The separator that makes the first line the expected header, otherwise a comma."""
    for separator in SEPARATORS:
        try:
            header = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
        except csv.Error:
            continue
        if has_key(header):
            return separator
    return ","


def _parsed(
    file: Path, text: str, separator: str, lines_before: int
) -> tuple[list[str], list[list[str]]]:
    """Header and columns; every row must be as long as the header."""
    if len(separator) != 1 or separator in '"\r\n':
        raise DataError(f"{shown(file)} names an unusable separator, {separator!r}")
    reader = csv.reader(_lines(text), delimiter=separator, strict=True)
    try:
        header = next(reader, [])
        columns = TextColumns(len(header))
        for row in reader:
            if len(row) > 1 and not any(row):
                continue  # spreadsheets leave them below a table
            if len(row) == len(header):
                columns.append(row)
            elif row:
                kind = SEPARATORS.get(separator, "separators")
                few_cells = len(row) < len(header)
                remedy = f"add the {kind}" if few_cells else f"quote a cell that holds {kind}"
                raise DataError(
                    f"every row of {shown(file)} must have {len(header)} cells like its header, "
                    f"got {len(row)} in line {reader.line_num + lines_before}; {remedy}"
                )
    except csv.Error as error:
        raise DataError(
            f"{shown(file)} must be a CSV table, got line {reader.line_num + lines_before}: {error}"
        ) from None
    return header, columns.cells


def _lines(text: str) -> Iterator[str]:
    """The lines with their ends; `io.StringIO` would take four bytes for each character."""
    return (found.group() for found in _LINE.finditer(text))


def _without_unnamed(
    header: list[str], columns: list[list[str]]
) -> tuple[list[str], list[list[str]]]:
    """Drop columns at the end that have neither a name nor a cell, as spreadsheets add them."""
    width = len(header)
    while width > 1 and not header[width - 1] and not any(columns[width - 1]):
        width -= 1
    return header[:width], columns[:width]
