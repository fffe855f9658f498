"""Rows and columns of a predictions file, each checked as it is read.

Errors are a `ModelError` that names the file, the line (the header is line 1) and the column.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from alloyk.csv_lines import line_of_row
from alloyk.data.text_table import TextColumns
from alloyk.errors import ModelError
from alloyk.messages import shown
from alloyk.targets.estimates import UNLIKE, number_or_nan

Columns = Mapping[str, Sequence[str]]

KEY_COLUMNS = ("path", "label", "predicted")
PROBABILITY_PREFIX = "p_"
# Softmax in float32 misses 1 by 1e-7; a file rounded to four digits by hand by 1e-4.
SUM_TOLERANCE = 2e-4


def read_columns(path: Path, split: str = "test") -> tuple[list[str], list[list[str]]]:
    """Read header and columns as text; each row is as long as the header.

    Args:
        path: The file.
        split: The split that it is of, for the error.
    """
    try:
        # -sig: spreadsheets write a byte-order mark.
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            columns = TextColumns(len(header))
            for row in filter(None, reader):
                if len(row) != len(header):
                    raise ModelError(
                        f"{shown(path)}: line {reader.line_num} must have {len(header)} fields as "
                        f"the header, got {len(row)}"
                    )
                columns.append(row)
    except OSError as error:
        command = "alloyk evaluate RUN" + ("" if split == "test" else f" --split {split}")
        raise ModelError(
            f"cannot read predictions from {shown(path)}: {error.strerror}; predict the images "
            f"with `{command}`"
        ) from error
    except csv.Error as error:
        raise ModelError(
            f"{shown(path)}: line {reader.line_num} is not valid CSV: {error}"
        ) from error
    return header, columns.cells


def classes_of_header(path: Path, header: list[str]) -> tuple[str, ...]:
    """Return the classes that the header names."""
    for name in KEY_COLUMNS:
        if name not in header:
            found = ", ".join(header) if header else "an empty file"
            raise ModelError(f"{shown(path)} must have a column {name}, got {found}")
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise ModelError(
            f"{shown(path)} must have the column {twice[0]} once, got it twice; delete one"
        )
    prefix = PROBABILITY_PREFIX
    classes = tuple(name.removeprefix(prefix) for name in header if name.startswith(prefix))
    if len(classes) < 2:
        raise ModelError(
            f"{shown(path)} must have columns {prefix}<class> for two or more classes, got "
            f"{', '.join(prefix + name for name in classes) or 'none'}"
        )
    return classes


def class_indices(path: Path, columns: Columns, name: str, classes: tuple[str, ...]) -> np.ndarray:
    """Read a column of classes as their numbers, `(n,)` int."""
    index = {label: i for i, label in enumerate(classes)}
    try:
        return np.array([index[label] for label in columns[name]], dtype=np.int64)
    except KeyError:
        row, label = next((r, x) for r, x in enumerate(columns[name]) if x not in index)
        raise ModelError(
            f"{_place(path, row)}, column {name} must be one of {', '.join(classes)}, got {label!r}"
        ) from None


def unlike_scores(path: Path, columns: Columns) -> np.ndarray | None:
    """Read the scores of the column `unlike`; None where there is none."""
    if UNLIKE not in columns:
        return None
    scores = np.array([number_or_nan(text) for text in columns[UNLIKE]])
    bad = ~(scores >= 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ModelError(
            f"{_place(path, row)}, column {UNLIKE} must be a number >= 0, got "
            f"{columns[UNLIKE][row]!r}"
        )
    return scores


def probabilities_of(path: Path, columns: Columns, classes: tuple[str, ...]) -> np.ndarray:
    """Read the probabilities of all classes, `(n, k)` float64."""
    probabilities = np.empty((len(columns["path"]), len(classes)))
    for k, label in enumerate(classes):
        name = PROBABILITY_PREFIX + label
        try:
            # Through Python's float: exact, whereas pandas' own reader may miss the last bit.
            probabilities[:, k] = [float(text) for text in columns[name]]
        except ValueError:
            probabilities[:, k] = [number_or_nan(text) for text in columns[name]]
        bad = ~((probabilities[:, k] >= 0) & (probabilities[:, k] <= 1))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise ModelError(
                f"{_place(path, row)}, column {name} must be a number from 0 to 1, "
                f"got {columns[name][row]!r}"
            )
    sums = probabilities.sum(axis=1)
    wrong = np.abs(sums - 1) > SUM_TOLERANCE
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        names = f"{PROBABILITY_PREFIX}{classes[0]} to {PROBABILITY_PREFIX}{classes[-1]}"
        raise ModelError(f"{_place(path, row)}, columns {names} must sum to 1, got {sums[row]:.6g}")
    return probabilities


def _place(path: Path, row: int) -> str:
    return f"{shown(path)}: line {line_of_row(path, row)}"
