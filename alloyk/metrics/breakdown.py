"""Accuracy by manifest column, and one prediction per plate."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alloyk.data import THICKNESS
from alloyk.data.binning import MAX_VALUES, conditions_in
from alloyk.errors import AlloykError
from alloyk.files import write_csv
from alloyk.metrics.bootstrap import RESAMPLES
from alloyk.metrics.intervals import accuracy_interval
from alloyk.runs.predictions import KEY_COLUMNS, Predictions

if TYPE_CHECKING:
    import pandas as pd

SAME = 1e-9
"""Averages of votes that differ by less are equal but for rounding."""

METRICS = ("images", "plates", "accuracy", "low", "high")


@dataclass(frozen=True, eq=False)
class Breakdown:
    """Accuracy under each condition, which is a value or combination of values of columns.

    Attributes:
        conditions: One row per condition that occurs; a categorical column for each manifest
            column, which may have any name.
        metrics: The same rows: `images`, `plates` (the number of images if plates are unknown),
            `accuracy`, and its 95 % interval `low`, `high`, NaN if there is none.
    """

    conditions: "pd.DataFrame"
    metrics: "pd.DataFrame"

    @property
    def columns(self) -> list[str]:
        """The manifest columns."""
        return [str(name) for name in self.conditions]


def breakdown(
    predictions: Predictions,
    columns: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Breakdown:
    """Compute the accuracy for each value, or combination of values, of manifest columns.

    `alloyk.data.binning` defines the values and their order; those of `label` are the classes.

    Args:
        predictions: The predictions.
        columns: Names of columns of the predictions file, which may include `label`.
        resamples: Bootstrap resamples for each interval.
        seed: Seed of the resampling.

    Raises:
        AlloykError: There is no such column.
    """
    import pandas as pd

    known = [str(name) for name in predictions.table if name not in ("path", "predicted")]
    for name in columns:
        if name not in known:
            raise AlloykError(f"the column must be one of {', '.join(known)}, got {name}")
    codes, values = zip(*(_values_of(predictions, name) for name in columns), strict=True)
    keys, condition = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)
    right = predictions.y_true == predictions.y_pred
    rows = []
    for number in range(len(keys)):
        found = np.flatnonzero(condition.ravel() == number)
        interval = accuracy_interval(
            right[found], predictions.groups[found], resamples=resamples, seed=seed
        )
        plates = len(np.unique(predictions.groups[found]))
        rows.append((len(found), plates, right[found].mean(), *(interval or (np.nan, np.nan))))
    conditions = {
        name: pd.Categorical.from_codes(key, pd.Index(names, dtype=object), ordered=True)
        for name, key, names in zip(columns, keys.T, values, strict=True)
    }
    return Breakdown(pd.DataFrame(conditions), pd.DataFrame(rows, columns=list(METRICS)))


def _values_of(predictions: Predictions, column: str) -> tuple[np.ndarray, list[str]]:
    """The values of a column as `conditions_in` returns them; classes are names, never numbers."""
    if column != "label":
        return conditions_in(predictions.table[column], column)
    present, codes = np.unique(predictions.y_true, return_inverse=True)
    return codes, [predictions.classes[k] for k in present]


def breakdown_tables(
    predictions: Predictions, *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Breakdown]:
    """Accuracy by each informative column, and by class and column where there are few values.

    Args:
        predictions: The predictions.
        resamples: Bootstrap resamples for each interval.
        seed: Seed of the resampling.
    """
    tables = []
    for column in informative_columns(predictions):
        by_column = breakdown(predictions, [column], resamples=resamples, seed=seed)
        tables.append(by_column)
        if predictions.table[column].nunique() <= MAX_VALUES or column == THICKNESS:
            both = ["label", column]
            tables.append(breakdown(predictions, both, resamples=resamples, seed=seed))
    return tables


def write_breakdowns(path: Path, tables: Sequence[Breakdown]) -> None:
    """Write the tables one after another as `by,value,images,plates,accuracy,low,high`."""
    rows: list[list[object]] = [["by", "value", *METRICS]]
    for table in tables:
        parts = (one.itertuples(index=False) for one in (table.conditions, table.metrics))
        for values, numbers in zip(*parts, strict=True):
            # NaN is the only value that differs from itself.
            cells = [None if x != x else round(x, 6) for x in numbers]
            rows.append([" × ".join(table.columns), " × ".join(values), *cells])
    write_csv(path, rows)


def informative_columns(predictions: Predictions) -> list[str]:
    """Manifest columns that are informative for a breakdown.

    These are numbers that vary and text with 2 to 12 values. Columns that follow from the label,
    that identify single plates or images, or that only a simulation knows (`true_…`) are left
    out.
    """
    columns = []
    plates = len(np.unique(predictions.groups))
    for name in map(str, predictions.table):
        if name in (*KEY_COLUMNS, "plate_id", "split", "fold") or name.endswith("seed"):
            continue
        if name.startswith("true_"):
            continue
        code, values = conditions_in(predictions.table[name], name)
        if not 2 <= len(values) <= min(MAX_VALUES, max(plates // 2, 1)):
            continue
        pairs = len(np.unique(code * len(predictions.classes) + predictions.y_true))
        if pairs > len(values):  # otherwise each value belongs to one label
            columns.append(name)
    return columns


def plate_predictions(predictions: Predictions) -> Predictions:
    """Average the probabilities of the images of each plate.

    Of classes with the same average, as hard votes give it, the one that more images were
    classified as is taken.

    Returns:
        A row per plate, in the order of first appearance: `path` is the `plate_id`, `images`
        their number. An image without a plate counts as its own plate.

    Raises:
        AlloykError: The file has no plates, or a plate has images of two labels.
    """
    import pandas as pd

    if not predictions.has_plates:
        raise AlloykError("predictions must have a plate_id to be averaged per plate, got none")
    groups = predictions.groups
    count = np.bincount(groups)
    first = np.unique(groups, return_index=True)[1]
    y_true = predictions.y_true[first]
    mixed = np.flatnonzero(predictions.y_true != y_true[groups])
    plates = predictions.table["plate_id"].to_numpy()
    if len(mixed):
        raise AlloykError(
            f"the images of a plate must have one label, got two for plate {plates[mixed[0]]}"
        )
    sums = [np.bincount(groups, column) for column in predictions.probabilities.T]
    probabilities = np.stack(sums, axis=1) / count[:, None]
    votes = np.zeros(probabilities.shape)
    np.add.at(votes, (groups, predictions.y_pred), 1)
    highest = probabilities.max(axis=1, keepdims=True)
    y_pred = np.where(probabilities > highest - SAME, votes, -1).argmax(axis=1)
    names = np.where(plates == "", predictions.table["path"].to_numpy(), plates)[first]
    classes = np.array(predictions.classes, dtype=object)
    table = {
        "path": names,
        "label": classes[y_true],
        "predicted": classes[y_pred],
        "images": count.astype(str).astype(object),
    }
    return Predictions(
        table=pd.DataFrame(table, dtype=object),
        classes=predictions.classes,
        y_true=y_true,
        y_pred=y_pred,
        probabilities=probabilities,
    )
