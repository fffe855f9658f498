"""Read back a table of predictions that `alloyk.inference.tables` has written."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alloyk.inference.results import Classification
from alloyk.inference.tables import ABSTAINED, ERROR
from alloyk.targets.estimates import ESTIMATE_PREFIX, UNLIKE


def read_table(path: Path, classes: tuple[str, ...], notes: tuple[str, ...]) -> Classification:
    """Return what a `.csv`, `.json` or `.jsonl` file says, with the seven digits that it holds.

    Args:
        path: A complete table with at least one image that could be classified.
        classes: Classes of the model that classified.
        notes: Sentences for the user about the images.
    """
    rows = list(_rows(path, classes))
    first = next(row for row in rows if ERROR not in row)
    errors = {number: row[ERROR] for number, row in enumerate(rows) if ERROR in row}
    nothing = dict.fromkeys((*classes, *first.get("estimates", ())), np.nan)

    def column(of: str, name: str) -> np.ndarray:
        return np.array([row.get(of, nothing)[name] for row in rows], np.float64)

    return Classification(
        paths=tuple(row["path"] for row in rows),
        labels=tuple(row.get("predicted") or "" for row in rows),
        probabilities=np.stack([column("probabilities", name) for name in classes], axis=1),
        classes=classes,
        estimates={name: column("estimates", name) for name in first.get("estimates", ())},
        errors=errors,
        notes=notes,
        unlike=np.array([row.get(UNLIKE, np.nan) for row in rows]) if UNLIKE in first else None,
        abstained=tuple(row.get(ABSTAINED) or "" for row in rows) if ABSTAINED in first else None,
    )


def _rows(path: Path, classes: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
    """The objects of `alloyk.inference.tables.objects`."""
    # A file name may be any bytes.
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        if path.suffix.lower() == ".jsonl":
            yield from map(json.loads, file)
        elif path.suffix.lower() == ".json":
            yield from json.load(file)
        else:
            for row in csv.DictReader(file):
                yield _as_object(row, classes)


def _as_object(row: dict[str, str], classes: tuple[str, ...]) -> dict[str, Any]:
    if row.get(ERROR):
        return {"path": row["path"], ERROR: row[ERROR]}
    one: dict[str, Any] = {
        "path": row["path"],
        "predicted": row["predicted"],
        "probabilities": {name: float(row["p_" + name]) for name in classes},
    }
    estimates = {
        name.removeprefix(ESTIMATE_PREFIX): float(cell)
        for name, cell in row.items()
        if name.startswith(ESTIMATE_PREFIX)
    }
    if estimates:
        one["estimates"] = estimates
    if UNLIKE in row:
        one[UNLIKE] = float(row[UNLIKE])
    if ABSTAINED in row:
        one[ABSTAINED] = row[ABSTAINED]
    return one
