"""Accuracy by manifest column, and one prediction per plate."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alloyk.data import THICKNESS
from alloyk.data.binning import MAX_VALUES, conditions_in
from alloyk.errors import AlloykError
from alloyk.files import whole_file
from alloyk.metrics.bootstrap import RESAMPLES
from alloyk.metrics.intervals import accuracy_interval
from alloyk.runs.predictions import KEY_COLUMNS, Predictions

if TYPE_CHECKING:
    import pandas as pd


def breakdown(
    predictions: Predictions,
    columns: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> "pd.DataFrame":
    """Compute the accuracy for each value, or combination of values, of manifest columns.

    `alloyk.data.binning` defines the values and their order.

    Args:
        predictions: The predictions.
        columns: Names of columns of the predictions file, which may include `label`.
        resamples: Bootstrap resamples for each interval.
        seed: Seed of the resampling.

    Returns:
        One row per combination that occurs: `columns`, `images`, `plates` (the number of images
        if plates are unknown), `accuracy`, and its 95 % interval `low`, `high`, NaN if there
        is none.

    Raises:
        AlloykError: There is no such column.
    """
    import pandas as pd

    known = [str(name) for name in predictions.table if name not in ("path", "predicted")]
    for name in columns:
        if name not in known:
            raise AlloykError(f"the column must be one of {', '.join(known)}, got {name}")
    codes: dict[str, np.ndarray] = {}
    values: dict[str, list[str]] = {}
    for name in columns:
        codes[name], values[name] = conditions_in(predictions.table[name], name)
    right = predictions.y_true == predictions.y_pred
    rows = []
    for key, found in pd.DataFrame(codes).groupby(list(columns), sort=True).indices.items():
        interval = accuracy_interval(
            right[found], predictions.groups[found], resamples=resamples, seed=seed
        )
        low, high = interval or (np.nan, np.nan)
        plates = len(np.unique(predictions.groups[found]))
        metrics = {"accuracy": right[found].mean(), "low": low, "high": high}
        key = key if isinstance(key, tuple) else (key,)
        rows.append({**dict(zip(columns, key, strict=True)),
                     "images": len(found), "plates": plates, **metrics})  # fmt: skip
    table = pd.DataFrame(rows)
    for name in columns:
        codes_of = table[name].to_numpy(dtype=int)
        table[name] = pd.Categorical.from_codes(codes_of, pd.Index(values[name]), ordered=True)
    return table


def breakdown_tables(
    predictions: Predictions, *, resamples: int = RESAMPLES, seed: int = 0
) -> "list[pd.DataFrame]":
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


def conditions_of(table: "pd.DataFrame") -> list[str]:
    """The columns that a table of `breakdown` is grouped by."""
    return list(table.columns[: list(table.columns).index("images")])


def write_breakdowns(path: Path, tables: "list[pd.DataFrame]") -> None:
    """Write the tables one after another as `by,value,images,plates,accuracy,low,high`."""
    with (
        whole_file(path) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["by", "value", "images", "plates", "accuracy", "low", "high"])
        for table in tables:
            columns = conditions_of(table)
            for row in table.itertuples(index=False):
                values, numbers = row[: len(columns)], row[len(columns) :]
                # NaN is the only value that differs from itself.
                cells = ["" if x != x else round(x, 6) for x in numbers]
                writer.writerow([" × ".join(columns), " × ".join(values), *cells])


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
    y_pred = probabilities.argmax(axis=1)
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
