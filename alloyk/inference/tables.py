"""Predictions as CSV, JSON or JSON Lines, whole or part by part."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from alloyk.csv_lines import csv_line
from alloyk.inference.results import Classification
from alloyk.targets.estimates import ESTIMATE_PREFIX, UNLIKE

ABSTAINED, ERROR = "abstained", "error"


class Table(Protocol):
    """A table that is written part by part."""

    def add(self, part: Classification) -> str:
        """Return the text of the next rows."""

    def end(self) -> str:
        """Return the text after the last row."""


class CSVTable:
    """Rows with the columns of a run's predictions, without `label`.

    Args:
        with_errors: Whether there is a column `error`.
        started: Whether the header and earlier rows are written elsewhere.
    """

    def __init__(self, with_errors: bool, started: bool = False) -> None:
        self._with_errors, self._started = with_errors, started

    def add(self, part: Classification) -> str:
        """Return the next rows, below the header if they are the first."""
        head = "" if self._started else csv_line(header(part, self._with_errors))
        self._started = True
        return head + "".join(csv_line(row) for row in cells(part, self._with_errors))

    def end(self) -> str:
        """Return nothing."""
        return ""


class JSONTable:
    """A list with an object for each image, see `objects`."""

    def __init__(self, with_errors: bool, started: bool = False) -> None:
        self._separator = ",\n" if started else "[\n"

    def add(self, part: Classification) -> str:
        """Return the next objects."""
        text = ""
        for one in objects(part):
            text += self._separator + json.dumps([one], indent=1, ensure_ascii=False)[2:-2]
            self._separator = ",\n"
        return text

    def end(self) -> str:
        """Close the list."""
        return "[]\n" if self._separator == "[\n" else "\n]\n"


class JSONLinesTable:
    """A line with an object for each image, see `objects`."""

    def __init__(self, with_errors: bool, started: bool = False) -> None:
        """Do nothing: an object has its error, or none."""

    def add(self, part: Classification) -> str:
        """Return the next lines."""
        return "".join(json_line(one) for one in objects(part))

    def end(self) -> str:
        """Return nothing."""
        return ""


TABLES: dict[str, type[CSVTable] | type[JSONTable] | type[JSONLinesTable]] = {
    ".csv": CSVTable,
    ".json": JSONTable,
    ".jsonl": JSONLinesTable,
}
"""Ending of a file → its table."""

# How a table begins, by the ending of its file.
_BEGINNINGS = {
    ".csv": b"path,predicted,p_",
    ".json": b'[\n {\n  "path": ',
    ".jsonl": b'{"path": ',
}


def refuse_other_file(path: Path) -> None:
    """Require a file that is absent, empty or a table that `predict` has written.

    Raises:
        ConfigError: It is something else, such as a manifest.
    """
    from alloyk.runs.destination import refuse_other_content  # not to load pydantic otherwise

    beginning = _BEGINNINGS[path.suffix.lower()]
    refuse_other_content(
        path, lambda head: head.startswith(beginning), "an earlier table of predictions", "--output"
    )


def format_csv(classified: Classification) -> str:
    """Return a table, with a column `error` if an image could not be classified."""
    return CSVTable(bool(classified.errors)).add(classified)


def format_json(classified: Classification) -> str:
    """Return a list with an object for each image."""
    table = JSONTable(bool(classified.errors))
    return table.add(classified) + table.end()


def json_line(one: Mapping[str, object]) -> str:
    r"""Return an object as one line.

    >>> json_line({"path": "a.png"})
    '{"path": "a.png"}\n'
    """
    return json.dumps(one, ensure_ascii=False) + "\n"


def header(classified: Classification, with_errors: bool) -> list[str]:
    """Return the names of the columns of `cells`.

    `unlike` is there if the model has a detector, `abstained` if abstaining was requested.
    """
    names = ["path", "predicted", *("p_" + label for label in classified.classes)]
    names += [ESTIMATE_PREFIX + name for name in classified.estimates]
    names += [UNLIKE] * (classified.unlike is not None)
    names += [ABSTAINED] * (classified.abstained is not None)
    return names + [ERROR] * with_errors


def cells(classified: Classification, with_errors: bool) -> Iterator[list[str | None]]:
    """Yield the cells of each image; only path and error of one that could not be classified."""
    width = len(header(classified, with_errors=False))
    for number, (path, label, row, numbers) in enumerate(_rows(classified)):
        error = classified.errors.get(number)
        if error is not None:
            yield [path, *[""] * (width - 1), *[error] * with_errors]
            continue
        line: list[str | None] = [path, label, *(_digits(value) for value in (*row, *numbers))]
        if classified.unlike is not None:
            line.append(_digits(classified.unlike[number]))
        if classified.abstained is not None:
            line.append(classified.abstained[number])
        yield line + [""] * with_errors


def objects(classified: Classification) -> Iterator[dict[str, object]]:
    """Yield an object for each image: path, predicted, probabilities by class.

    A classifier that estimates numbers too adds `estimates`, by column, and one with a detector
    `unlike`; where it abstains, `predicted` is null and `abstained` says why. An image that could
    not be classified has path and `error`.
    """
    for number, (path, label, row, numbers) in enumerate(_rows(classified)):
        if number in classified.errors:
            yield {"path": path, ERROR: classified.errors[number]}
            continue
        one: dict[str, object] = {
            "path": path,
            "predicted": label or None,
            "probabilities": _named(classified.classes, row),
        }
        if numbers:
            one["estimates"] = _named(tuple(classified.estimates), numbers)
        if classified.unlike is not None:
            one[UNLIKE] = float(_digits(classified.unlike[number]))
        if classified.abstained is not None:
            one[ABSTAINED] = classified.abstained[number] or None
        yield one


def _rows(
    classified: Classification,
) -> Iterator[tuple[str | None, str, list[float], list[float]]]:
    """Path, class, probabilities and estimates of each image."""
    numbers = [
        [float(column[i]) for column in classified.estimates.values()]
        for i in range(len(classified))
    ]
    rows = classified.probabilities.tolist()
    return zip(classified.paths, classified.labels, rows, numbers, strict=True)


def _named(names: Sequence[str], numbers: Sequence[float]) -> dict[str, float]:
    return {name: float(_digits(x)) for name, x in zip(names, numbers, strict=True)}


def _digits(number: float) -> str:
    return f"{number:.7g}"  # what float32 holds
