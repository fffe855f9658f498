"""An append-only table that survives a kill at any moment.

Each call appends complete rows with a single write and flushes them to disk. A row left incomplete
by a full disk or a power failure is removed when the file is next opened.
"""

import contextlib
import csv
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from alloyk.csv_lines import csv_line
from alloyk.errors import ConfigError, DataError, reason
from alloyk.files import sync_folder, writing
from alloyk.inference.tables import json_line
from alloyk.locks import locked_path
from alloyk.messages import shown

logger = logging.getLogger(__name__)

Row = Mapping[str, object]


class Journal:
    """An open table, `.csv` or `.jsonl`; no other process may write it meanwhile.

    Args:
        path: The file; it is created, or continued if it has the same columns.
        columns: Names of the columns of a `.csv` file, in order.
        check: Raises if a row of the file cannot be continued. The file is not changed before
            every row has passed.

    Attributes:
        rows: The rows that the file had when it was opened.

    Raises:
        ConfigError: The file has other columns.
        DataError: A row cannot be read.
        AlloykError: The file cannot be written, or another process writes it.
    """

    def __init__(
        self,
        path: str | Path,
        columns: Sequence[str],
        check: Callable[[dict[str, object]], object] = lambda row: None,
    ) -> None:
        self.path, self._columns = Path(path), list(columns)
        self._is_csv = self.path.suffix.lower() == ".csv"
        self.rows: list[dict[str, object]] = []
        with contextlib.ExitStack() as resources:
            resources.enter_context(locked_path(self.path))
            with writing(self.path):
                flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
                self._file = os.open(self.path, flags | getattr(os, "O_CLOEXEC", 0), 0o666)
                resources.callback(os.close, self._file)
                sync_folder(self.path.parent)
                content = self.path.read_bytes()
                records = list(self._records(content))
                self.rows = list(self._parsed(records))
                for row in self.rows:
                    check(row)
                self._size = sum(map(len, records))
                self._remove_rest(content[self._size :])
                if self._is_csv and self._size == 0:
                    self._append(csv_line(self._columns))
            self._resources = resources.pop_all()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._resources.close()

    def append(self, rows: Sequence[Row]) -> None:
        """Write rows to the disk, all or none.

        Raises:
            AlloykError: The file cannot be written, such as on a full disk.
        """
        if self._is_csv:
            text = "".join(csv_line(map(row.get, self._columns)) for row in rows)
        else:
            text = "".join(json_line(row) for row in rows)
        with writing(self.path):
            self._append(text)

    def _append(self, text: str) -> None:
        data = text.encode(errors="surrogateescape")  # a file name may be any bytes
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
            os.fsync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    def _remove_rest(self, rest: bytes) -> None:
        """Remove an incomplete last row; refuse a file that does not begin like such a table."""
        if not rest:
            return
        if self._is_csv:
            self._refuse_open_quote(rest)
        begin = csv_line(self._columns).encode() if self._is_csv else b'{"path": '
        if self._size == 0 and rest[: len(begin)] != begin[: len(rest)]:
            raise ConfigError(
                f"{shown(self.path)} must be a table of `alloyk predict --watch`, but does not "
                "begin like one; choose another --output"
            )
        logger.warning("removed an incomplete last row of %s", shown(self.path))
        os.ftruncate(self._file, self._size)
        os.fsync(self._file)

    def _refuse_open_quote(self, rest: bytes) -> None:
        """Raise if whole rows follow a quote that is not closed: they must not be removed."""
        first, *others = (line.decode(errors="surrogateescape") for line in _lines(rest))
        for line in others:
            if not line.endswith("\n") or line.count('"') % 2:
                continue
            with contextlib.suppress(csv.Error):
                (cells,) = csv.reader([line])
                if len(cells) == len(self._columns):
                    raise DataError(
                        f"{shown(self.path)} must be CSV, got a quote that is not closed in "
                        f"{first.strip()!r}; repair it or choose another --output"
                    )

    def _records(self, content: bytes) -> Iterator[bytes]:
        """Split into complete rows; in CSV, a quoted cell may span several lines."""
        record = b""
        for line in _lines(content):
            record += line
            if line.endswith(b"\n") and not (self._is_csv and record.count(b'"') % 2):
                yield record
                record = b""

    def _parsed(self, records: Sequence[bytes]) -> Iterator[dict[str, object]]:
        for number, record in enumerate(records):
            text = record.decode(errors="surrogateescape")
            if not self._is_csv:
                yield self._json_row(text, number)
                continue
            found = self._csv_cells(text, number)
            if number == 0:
                refuse_other_columns(self.path, found, self._columns)
                continue
            if len(found) != len(self._columns):
                raise DataError(
                    f"row {number} of {shown(self.path)} must have {len(self._columns)} cells, got "
                    f"{len(found)}; repair it or choose another --output"
                )
            yield dict(zip(self._columns, found, strict=True))

    def _csv_cells(self, text: str, number: int) -> list[str]:
        try:
            (cells,) = csv.reader([text])
        except csv.Error as error:
            raise DataError(
                f"row {number} of {shown(self.path)} must be CSV, got {reason(error)}; repair it "
                "or choose another --output"
            ) from error
        return cells

    def _json_row(self, text: str, number: int) -> dict[str, object]:
        try:
            row = json.loads(text)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise DataError(
                f"line {number + 1} of {shown(self.path)} must be a JSON object; repair it or "
                "choose another --output"
            )
        return row


def refuse_other_columns(path: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    """Require the columns of this model and these options.

    Raises:
        ConfigError: The file has others.
    """
    if list(found) != list(expected):
        raise ConfigError(
            f"{shown(path)} must have the columns {','.join(expected)} of this model and these "
            f"options, got {','.join(found)[:300]}; choose another --output"
        )


def _lines(content: bytes) -> Iterator[bytes]:
    """Lines that end in a line feed, and what follows the last one."""
    start = 0
    while start < len(content):
        end = content.find(b"\n", start) + 1 or len(content)
        yield content[start:end]
        start = end
