"""The predictions of a split: the one file that all classification metrics come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alloyk.csv_lines import line_of_row
from alloyk.data.names import PLATE
from alloyk.errors import DataError, ModelError
from alloyk.files import write_csv
from alloyk.messages import shown
from alloyk.notebook import html_table
from alloyk.runs.prediction_columns import KEY_COLUMNS as KEY_COLUMNS
from alloyk.runs.prediction_columns import (
    PROBABILITY_PREFIX,
    class_indices,
    classes_of_header,
    probabilities_of,
    read_columns,
    unlike_scores,
)
from alloyk.targets.estimates import ESTIMATE_PREFIX, UNLIKE, Estimate, read_estimates

if TYPE_CHECKING:
    import pandas as pd

RENAMED_PREFIX = "manifest_"
FOLD = "fold"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions for each image of a split, in the order of the file.

    Attributes:
        table: One row per image: `path`, `label`, `predicted` and every further manifest
            column, all of them text as the file has it; a missing value is "".
        classes: The k class names, in the order of the `p_` columns.
        y_true: `(n,)` int, the index of `label` in `classes`.
        y_pred: `(n,)` int, the index of `predicted` in `classes`.
        probabilities: `(n, k)` float64; each row sums to 1.
        estimates: Column that the network estimates beside the class → `Estimate`.
        unlike: `(n,)` float64, how unlike the training images each image is, 1 or more is
            *unlike*; None where the run cannot tell.
    """

    table: "pd.DataFrame"
    classes: tuple[str, ...]
    y_true: np.ndarray
    y_pred: np.ndarray
    probabilities: np.ndarray
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    unlike: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y_true)

    def _repr_html_(self) -> str:
        columns = ["path", "label", "predicted"]
        paths, labels, predicted = (self.table[name] for name in columns)
        rows = list(zip(paths, labels, predicted, self.confidence.tolist(), strict=True))
        return html_table(f"{len(self):,} predictions", [*columns, "probability"], rows)

    @cached_property
    def one_hot(self) -> np.ndarray:
        """`(n, k)` bool: whether the image is of the class."""
        return np.asarray(self.y_true[:, None] == np.arange(len(self.classes)))

    @cached_property
    def confidence(self) -> np.ndarray:
        """`(n,)` float64: the probability given to the class in `predicted`."""
        return np.asarray(self.probabilities[np.arange(len(self)), self.y_pred])

    @cached_property
    def flagged(self) -> np.ndarray:
        """`(n,)` bool: whether the image is unlike those of training; False where not known."""
        if self.unlike is None:
            return np.zeros(len(self), bool)
        return np.asarray(self.unlike >= 1)

    @cached_property
    def has_plates(self) -> bool:
        """Whether at least one image has a `plate_id`."""
        return PLATE in self.table and bool((self.table[PLATE] != "").any())

    @cached_property
    def groups(self) -> np.ndarray:
        """`(n,)` int from 0: the plate of each image; without plates, each image by itself.

        An image without `plate_id` is a separate group.
        """
        if not self.has_plates:
            return np.arange(len(self))
        plates = self.table[PLATE]
        keys = [(plate, "" if plate else row) for row, plate in enumerate(plates)]
        seen: dict[tuple[str, int | str], int] = {}
        return np.array([seen.setdefault(key, len(seen)) for key in keys])

    def select(self, rows: np.ndarray) -> "Predictions":
        """Return the predictions of some rows, a mask or indices; all classes stay."""
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
        return Predictions(
            table=self.table.iloc[rows].reset_index(drop=True),
            classes=self.classes,
            y_true=self.y_true[rows],
            y_pred=self.y_pred[rows],
            probabilities=self.probabilities[rows],
            estimates={
                column: Estimate(estimate.true[rows], estimate.predicted[rows])
                for column, estimate in self.estimates.items()
            },
            unlike=None if self.unlike is None else self.unlike[rows],
        )


def write_predictions(
    path: Path,
    table: "pd.DataFrame",
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    predicted: Sequence[str] | None = None,
    estimates: Mapping[str, np.ndarray] | None = None,
    unlike: np.ndarray | None = None,
) -> None:
    """Write a predictions file: `path,label,predicted,p_<class>…` and every further column.

    Rows are scaled in float64 to sum to 1, and read back as the same numbers. A manifest column
    named like one of ours (`predicted`, `p_…`, `predicted_…`, `unlike`) is written as
    `manifest_<name>`.

    Args:
        path: The file; it is written whole or not at all.
        table: One row per image, with `path`, `label` and any further columns.
        probabilities: `(n, k)`, not negative.
        classes: The k class names, in the order of the columns of `probabilities`.
        predicted: The predicted class of each image; by default that of highest probability, the
            first of equals.
        estimates: Column of the manifest that the network estimates → `(n,)`, written as
            `predicted_<column>` after the probabilities.
        unlike: `(n,)`, how unlike the training images each image is, written as `unlike`.

    Raises:
        AlloykError: A probability or an estimate is not a number, or a label is not one of
            `classes`.
        ValueError: Shapes do not fit.
    """
    classes = [str(name) for name in classes]
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.shape != (len(table), len(classes)):
        raise ValueError(
            f"`probabilities` must have the shape (images, classes) = "
            f"{(len(table), len(classes))}, got {probabilities.shape}"
        )
    estimates = {name: np.asarray(x, np.float64) for name, x in (estimates or {}).items()}
    numbers = np.column_stack([probabilities, *estimates.values()])
    if not np.isfinite(numbers).all():
        row = np.flatnonzero(~np.isfinite(numbers).all(axis=1))[0]
        raise ModelError(
            f"predictions must be finite, got {numbers[row].tolist()} for "
            f"{table['path'].iloc[row]}; the image or the network's weights hold NaN or infinity"
        )
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    if predicted is None:
        predicted = [classes[index] for index in probabilities.argmax(axis=1)]
    unknown = set(table["label"]) - set(classes)
    if unknown:
        raise DataError(
            f"labels must be classes of the classifier ({', '.join(classes)}), got "
            f"{sorted(unknown)[0]!r}; remove its images"
        )

    further = [name for name in table.columns if name not in ("path", "label")]
    columns = [table["path"], table["label"], predicted]
    columns += list(probabilities.T.tolist())
    columns += [numbers.tolist() for numbers in estimates.values()]
    columns += [] if unlike is None else [np.asarray(unlike, np.float64).tolist()]
    columns += [_without_missing(table[name]) for name in further]
    header = [*KEY_COLUMNS, *(PROBABILITY_PREFIX + name for name in classes)]
    header += [ESTIMATE_PREFIX + name for name in estimates]
    header += [] if unlike is None else [UNLIKE]
    header += _renamed(further, header)
    write_csv(path, chain([header], zip(*columns, strict=True)))


def _renamed(names: Sequence[str], ours: Sequence[str]) -> list[str]:
    """Names of manifest columns that no reader takes for a column of ours, each once."""
    found: list[str] = []
    for name in map(str, names):
        reserved = name in (*KEY_COLUMNS, UNLIKE) or name.startswith(
            (PROBABILITY_PREFIX, ESTIMATE_PREFIX)
        )
        while reserved or name in ours or name in found:
            name, reserved = RENAMED_PREFIX + name, False
        found.append(name)
    return found


def with_fold(table: "pd.DataFrame", fold: str) -> "pd.DataFrame":
    """A table of predictions with the column `fold`; one of the manifest gets another name."""
    (renamed,) = _renamed([FOLD], [FOLD, *map(str, table.columns)])
    return table.rename(columns={FOLD: renamed}).assign(**{FOLD: fold})


def _without_missing(column: "pd.Series[Any]") -> list[Any]:
    return ["" if gone else value for value, gone in zip(column, column.isna(), strict=True)]


def read_predictions(path: Path, split: str = "test") -> Predictions:
    """Read a predictions file, and refuse one that would give wrong metrics.

    Args:
        path: The file.
        split: The split that it is of, for the error if it is missing.

    Raises:
        AlloykError: The file is missing or empty, a column is missing or duplicated, a path is
            duplicated, a label has no `p_` column, probabilities are not numbers from 0 to 1
            that sum to 1, or an estimate or its true value is not a number. The message names the
            line (the header is line 1) and the column.
    """
    header, cells = read_columns(Path(path), split)
    classes = classes_of_header(path, header)
    if not cells[0]:
        raise ModelError(
            f"{shown(path)} must have a prediction, got none; evaluate a split that has images"
        )
    columns = dict(zip(header, cells, strict=True))
    if len(set(columns["path"])) < len(columns["path"]):
        first: dict[str, int] = {}
        for row, image in enumerate(columns["path"]):
            if image in first:
                line, earlier = (line_of_row(path, number) for number in (row, first[image]))
                raise ModelError(
                    f"{shown(path)}: line {line}, column path: each image must be there once, but "
                    f"{image} is in line {earlier} too; delete one of the two"
                )
            first[image] = row

    import pandas as pd

    ours = (PROBABILITY_PREFIX, ESTIMATE_PREFIX)
    own = [name for name in header if not name.startswith(ours) and name != UNLIKE]
    table = pd.DataFrame({name: columns[name] for name in own}, dtype=object)
    if PLATE in table:
        table[PLATE] = table[PLATE].str.strip()
    return Predictions(
        table=table,
        classes=classes,
        y_true=class_indices(path, columns, "label", classes),
        y_pred=class_indices(path, columns, "predicted", classes),
        probabilities=probabilities_of(path, columns, classes),
        estimates=read_estimates(path, columns),
        unlike=unlike_scores(path, columns),
    )
