"""Classify the radiographs that arrive in a folder, one row each, in a table that survives a kill.

An image is done once its row is written. It is classified first, so a kill in between repeats the
work and never the row.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from alloyk.errors import ConfigError
from alloyk.imaging import PageChoice, RawLayout
from alloyk.inference import Classification, Classifier
from alloyk.inference.tables import ERROR, cells, header, objects
from alloyk.serving.arrivals import PATIENCE_S, POLL_S, SETTLE_S, Arrival, Arrivals
from alloyk.serving.journal import Journal, refuse_other_columns
from alloyk.targets.estimates import ESTIMATE_PREFIX

logger = logging.getLogger(__name__)

# Behind `path`, what tells a file that was written again from one that is done.
SIZE, MODIFIED = "bytes", "modified"

# Of the columns of a .csv file, by what holds them in an object of a .jsonl file.
_PREFIXES = {"probabilities": "p_", "estimates": ESTIMATE_PREFIX}

ENDINGS = (".csv", ".jsonl")


class FolderWatch:
    """Classifies what arrives in a folder; call `step` again and again, or `run`.

    Args:
        classifier: The model.
        folder: The folder; it must exist.
        output: `.csv` or `.jsonl` file; if it exists, its images are done.
        abstain: As in `Classifier.predict`.
        page: Page of a file with several, or `mean`; by default as in training.
        raw: Layout of raw files without a sidecar; by default as in training.
        hdf5_path: Path of the array of images inside HDF5 files; by default as in training.
        settle_s: Seconds without a change after which a file is finished.
        patience_s: Seconds for which a finished file that cannot be read is tried again.

    Raises:
        AlloykError: The folder does not exist, or `output` cannot be continued.
    """

    def __init__(
        self,
        classifier: Classifier,
        folder: str | Path,
        output: str | Path,
        *,
        abstain: float | None = None,
        page: PageChoice | None = None,
        raw: RawLayout | None = None,
        hdf5_path: str | None = None,
        settle_s: float = SETTLE_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        if Path(output).suffix.lower() not in ENDINGS:
            raise ConfigError(f"the output must be a .csv or .jsonl file, got {output}")
        if (classifier.metadata.page if page is None else page) == "each":
            raise ConfigError(
                "a watched file must give one image, but page=each gives several; choose a page "
                "or mean"
            )
        self._classifier = classifier
        self._stream = partial(
            classifier.stream, page=page, raw=raw, hdf5_path=hdf5_path, abstain=abstain,
            keep_going=True,
        )  # fmt: skip
        self._arrivals = Arrivals(folder, settle_s, patience_s)
        empty = classifier.predict([], abstain=abstain)
        path, *others = header(empty, with_errors=True)
        columns = [path, SIZE, MODIFIED, *others]
        check = partial(_check, Path(output), columns)
        self._journal = Journal(output, columns, check=check)
        for row in self._journal.rows:
            self._arrivals.mark_processed(_arrival(row, self._journal.path))
        self.count = len(self._journal.rows)
        self._journal.rows = []

    def __enter__(self) -> "FolderWatch":
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.__exit__(None, None, None)

    def step(self) -> Iterator[Classification]:
        """Classify what has arrived; yield results once their rows are on the disk."""
        ready = self._arrivals.ready()
        paths = [str(self._arrivals.folder / one.name) for one in ready]
        names = [one.name for one in ready]
        start = 0
        stream = self._stream(paths, names=names)
        for part in stream:
            arrivals = ready[start : start + len(part)]
            start += len(part)
            kept = [
                n for n in range(len(part))
                if self._arrivals.is_final(arrivals[n], failed=n in part.errors)
            ]  # fmt: skip
            if kept:
                rows = list(self._rows(part, arrivals))
                self._journal.append([rows[n] for n in kept])
                for n in kept:
                    self._arrivals.mark_processed(arrivals[n])
                self.count += len(kept)
                yield part.select(kept)
        for note in stream.notes:
            logger.warning("%s", note)

    def run(self, found: Callable[[Classification], object], poll_s: float = POLL_S) -> None:
        """Watch until interrupted."""
        while True:
            for part in self.step():
                found(part)
            time.sleep(self._arrivals.pause_s(poll_s))

    def _rows(
        self, part: Classification, arrivals: Sequence[Arrival]
    ) -> Iterator[dict[str, object]]:
        """The row of each image, for either kind of file."""
        found: Iterator[dict[str, object]] = objects(part)
        if self._journal.path.suffix.lower() == ".csv":
            names = header(part, with_errors=True)
            found = (dict(zip(names, row, strict=True)) for row in cells(part, with_errors=True))
        for arrival, row in zip(arrivals, found, strict=True):
            row.pop("path")  # which may name a page
            place = {SIZE: arrival.size, MODIFIED: shown_time(arrival.modified_ns)}
            yield {"path": arrival.name, **place, **row}


def shown_time(nanoseconds: int) -> str:
    """Return a time in UTC.

    >>> shown_time(1_700_000_000_123_456_789)
    '2023-11-14T22:13:20.123456789Z'
    """
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def read_time(text: str) -> int:
    """Return the nanoseconds since 1970 of `shown_time`.

    >>> read_time("2023-11-14T22:13:20.123456789Z")
    1700000000123456789
    """
    seconds, rest = text.removesuffix("Z").split(".")
    moment = datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9 + int(rest.ljust(9, "0"))


def _check(file: Path, columns: Sequence[str], row: dict[str, object]) -> None:
    """Raise ConfigError if a row is not of this command, this model and these options."""
    _arrival(row, file)
    if file.suffix.lower() == ".csv" or ERROR in row:  # the header of a .csv file was compared
        return
    refuse_other_columns(file, _columns(row), [name for name in columns if name != ERROR])


def _columns(row: dict[str, object]) -> list[str]:
    """The columns that a `.csv` file has for an object of a `.jsonl` file."""
    names: list[str] = []
    for name, value in row.items():
        prefix = _PREFIXES.get(name)
        if prefix is not None and isinstance(value, dict):
            names += [prefix + one for one in value]
        else:
            names.append(name)
    return names


def _arrival(row: dict[str, object], file: Path) -> Arrival:
    """The state of an image that a row is of."""
    try:
        return Arrival(str(row["path"]), int(str(row[SIZE])), read_time(str(row[MODIFIED])))
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{file} must hold rows of `alloyk predict --watch`, got a row without path, {SIZE} or "
            f"{MODIFIED}; choose another --output"
        ) from error
