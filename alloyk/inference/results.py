"""Predictions for images, and their table."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from alloyk.notebook import html_table
from alloyk.targets.estimates import ESTIMATE_PREFIX, UNLIKE


@dataclass(frozen=True, eq=False)
class Classification:
    """Predictions for images, in the given order.

    Attributes:
        paths: Each image's path or name as given; None for an array without a name.
        labels: The class of highest probability, the first of equals; `""` for an image that could
            not be classified.
        probabilities: `(n, k)` float64, columns in the order of `classes`; NaN for an image that
            could not be classified.
        classes: The k class labels.
        estimates: Column of numbers that the classifier estimates as well → `(n,)` float64, in the
            column's unit.
        errors: Number of an image → why it could not be classified.
        notes: Sentences for the user about the images.
        unlike: `(n,)` float64, distance from the training images, where 1 or more means *unlike*;
            NaN for an image that could not be classified. None if the model cannot tell.
    """

    paths: tuple[str | None, ...]
    labels: tuple[str, ...]
    probabilities: np.ndarray
    classes: tuple[str, ...]
    estimates: Mapping[str, np.ndarray] = field(default_factory=dict)
    errors: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unlike: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def _repr_html_(self) -> str:
        best = self.probabilities.max(axis=1, initial=0)
        rows = list(zip(self.paths, self.labels, best.tolist(), strict=True))
        return html_table(f"{len(self):,} images", ["image", "predicted", "probability"], rows)


def format_csv(classified: Classification) -> str:
    """Return a table with the columns of a run's predictions, without `label`.

    A column `unlike` is added if the model has a detector, and a column `error` if an image
    could not be classified; its other cells are empty.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["path", "predicted", *("p_" + label for label in classified.classes)]
    header += [ESTIMATE_PREFIX + name for name in classified.estimates]
    header += [UNLIKE] * (classified.unlike is not None)
    with_errors = bool(classified.errors)
    writer.writerow(header + ["error"] * with_errors)
    for number, (path, label, row, numbers) in enumerate(_rows(classified)):
        error = classified.errors.get(number)
        if error is not None:
            writer.writerow([path, *[""] * (len(header) - 1), error])
            continue
        cells = [path, label, *(_digits(value) for value in (*row, *numbers))]
        if classified.unlike is not None:
            cells.append(_digits(classified.unlike[number]))
        writer.writerow(cells + [""] * with_errors)
    return text.getvalue()


def format_json(classified: Classification) -> str:
    """Return a list with an object for each image: path, predicted, probabilities by class.

    A classifier that estimates numbers too adds `estimates`, by column, and one with a detector
    `unlike`. An image that could not be classified has path and `error`.
    """
    images: list[dict[str, object]] = []
    for number, (path, label, row, numbers) in enumerate(_rows(classified)):
        if number in classified.errors:
            images.append({"path": path, "error": classified.errors[number]})
            continue
        one: dict[str, object] = {
            "path": path, "predicted": label, "probabilities": _named(classified.classes, row)
        }  # fmt: skip
        if numbers:
            one["estimates"] = _named(tuple(classified.estimates), numbers)
        if classified.unlike is not None:
            one[UNLIKE] = float(_digits(classified.unlike[number]))
        images.append(one)
    return json.dumps(images, indent=1, ensure_ascii=False) + "\n"


FORMATS = {".csv": format_csv, ".json": format_json}


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
