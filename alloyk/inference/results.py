"""Predictions for images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from alloyk.notebook import html_table

UNCERTAIN, UNLIKE = "uncertain", "unlike"
"""Why a classifier abstains."""


@dataclass(frozen=True, eq=False)
class Classification:
    """Predictions for images, in the given order.

    Attributes:
        paths: Each image's path or name as given; None for an array without a name.
        labels: The class of highest probability, the first of equals; `""` for an image that could
            not be classified, or where the classifier abstains.
        probabilities: `(n, k)` float64, columns in the order of `classes`; NaN for an image that
            could not be classified.
        classes: The k class labels.
        estimates: Column of numbers that the classifier estimates as well → `(n,)` float64, in the
            column's unit.
        errors: Number of an image → why it could not be classified.
        notes: Sentences for the user about the images.
        unlike: `(n,)` float64, distance from the training images, where 1 or more means *unlike*;
            NaN for an image that could not be classified. None if the model cannot tell.
        abstained: For each image `uncertain`, `unlike`, or `""` where the class is given; None if
            abstaining was not requested.
    """

    paths: tuple[str | None, ...]
    labels: tuple[str, ...]
    probabilities: np.ndarray
    classes: tuple[str, ...]
    estimates: Mapping[str, np.ndarray] = field(default_factory=dict)
    errors: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unlike: np.ndarray | None = None
    abstained: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, numbers: Sequence[int]) -> "Classification":
        """Return the images with these numbers, in this order, without notes."""
        rows = list(numbers)
        return Classification(
            paths=tuple(self.paths[n] for n in rows),
            labels=tuple(self.labels[n] for n in rows),
            probabilities=self.probabilities[rows],
            classes=self.classes,
            estimates={name: column[rows] for name, column in self.estimates.items()},
            errors={place: self.errors[n] for place, n in enumerate(rows) if n in self.errors},
            unlike=None if self.unlike is None else self.unlike[rows],
            abstained=None if self.abstained is None else tuple(self.abstained[n] for n in rows),
        )

    def _repr_html_(self) -> str:
        best = self.probabilities.max(axis=1, initial=0)
        rows = list(zip(self.paths, self.labels, best.tolist(), strict=True))
        return html_table(f"{len(self):,} images", ["image", "predicted", "probability"], rows)


def joined(parts: Sequence[Classification], notes: tuple[str, ...] = ()) -> Classification:
    """Join the parts of one stream, at least one; `notes` are those of the whole."""
    first = parts[0]
    starts = np.cumsum([0, *(len(part) for part in parts)]).tolist()
    columns = first.estimates
    return Classification(
        paths=tuple(path for part in parts for path in part.paths),
        labels=tuple(label for part in parts for label in part.labels),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        classes=first.classes,
        estimates={
            name: np.concatenate([part.estimates[name] for part in parts]) for name in columns
        },
        errors={
            start + number: error
            for start, part in zip(starts, parts, strict=False)
            for number, error in part.errors.items()
        },
        notes=notes,
        unlike=(
            None
            if first.unlike is None
            else np.concatenate([part.unlike for part in parts if part.unlike is not None])
        ),
        abstained=(
            None
            if first.abstained is None
            else tuple(reason for part in parts for reason in part.abstained or ())
        ),
    )
