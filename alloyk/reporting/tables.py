"""The tables of a run: by class, condition, fold and estimated number, and mistakes."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alloyk.alloys import display_name
from alloyk.metrics.fold_spread import SUMMARY_METRICS
from alloyk.reporting.page import Block, Cell, Table, Text, count, in_unit, number, with_interval
from alloyk.runs.metrics import ClassMetric, ClassMetrics, Interval, Metrics
from alloyk.runs.predictions import Predictions

PER_CLASS: dict[ClassMetric, str] = {
    "precision": "precision", "recall": "recall", "specificity": "specificity", "f1": "F1",
    "average_precision": "AP", "roc_auc": "AUC",
}  # fmt: skip
ERRORS = {"mae": "MAE", "rmse": "RMSE", "r2": "R²"}
MAX_MISTAKES = 20
# With more tables by condition, each is shown on demand: the figure has them all.
MAX_OPEN = 4
BETWEEN = " × "


def class_table(metrics: Metrics) -> Table:
    """Tabulate all metrics of each class, macro and micro below."""
    intervals = metrics["confidence_intervals"]

    def row(name: str, path: str, found: ClassMetrics) -> list[Cell | str]:
        cells = [
            with_interval(found[metric], intervals.get(f"{path}.{metric}")) for metric in PER_CLASS
        ]
        return [name, *cells, count(found["support"])]

    return Table(
        f"Each class against the rest, with 95 % intervals over {metrics['resampling']['over']}",
        ("class", *PER_CLASS.values(), "images"),
        [
            row(display_name(label), f"per_class.{label}", of_class)
            for label, of_class in metrics["per_class"].items()
        ],
        footer=[row(name, name, metrics[name]) for name in ("macro", "micro")],
    )


def breakdown_tables(file: Path) -> list[Block]:
    """Return a table for each `by` of `breakdown.csv`, a column for each of its parts."""
    if not file.is_file():
        return []
    tables: dict[tuple[str, ...], list[list[Cell]]] = {}
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        for row in csv.DictReader(lines):
            by, values = row["by"].split(BETWEEN), row["value"].split(BETWEEN)
            if len(by) != len(values):  # a value that contains this sign
                by, values = [row["by"]], [row["value"]]
            interval = [float(row[end]) for end in ("low", "high") if row[end]]
            cells = [_value(column, value) for column, value in zip(by, values, strict=True)]
            cells.append(with_interval(float(row["accuracy"]), interval))
            cells += [count(int(float(row[name]))) for name in ("images", "plates")]
            tables.setdefault(tuple(by), []).append(cells)
    columns = ("accuracy", "images", "plates")
    folded = len(tables) > MAX_OPEN
    return [
        Table(f"Accuracy by {BETWEEN.join(by)}", (*by, *columns), rows, closed=folded)
        for by, rows in tables.items()
    ]


def _value(column: str, text: str) -> Cell:
    """A value of a manifest column, sorted as a number where all of it is one."""
    if column == "label":
        return Cell(display_name(text))
    try:
        return Cell(text, float(text))
    except ValueError:
        return Cell(text)


def mistakes(predictions: Predictions) -> list[Block]:
    """Tabulate the most confident misclassifications."""
    wrong = np.flatnonzero(predictions.y_true != predictions.y_pred)
    if not len(wrong):
        return [Text(["No image was misclassified."])]
    worst = wrong[np.argsort(-predictions.confidence[wrong], kind="stable")][:MAX_MISTAKES]
    table = predictions.table
    rows = [
        [
            table["path"].iloc[row],
            display_name(table["label"].iloc[row]),
            display_name(table["predicted"].iloc[row]),
            number(predictions.confidence[row]),
        ]
        for row in worst
    ]
    caption = f"The most confident of {len(wrong):,} mistakes"
    return [Table(caption, ("image", "true class", "predicted class", "confidence"), rows)]


def fold_tables(metrics: Metrics, held_out: Mapping[str, str]) -> list[Block]:
    """Tabulate the metrics of each fold of a cross-validation, with mean and standard deviation.

    Args:
        metrics: The metrics.
        held_out: Fold → what it held out.
    """
    folds = metrics.get("folds")
    if not folds:
        return []
    spread = [folds["figures"][name] for name in SUMMARY_METRICS]
    rows = [
        [
            name,
            held_out.get(name, "–"),
            count(images),
            *(number(one["values"][k]) for one in spread),
        ]
        for k, (name, images) in enumerate(zip(folds["names"], folds["images"], strict=True))
    ]
    footer: list[list[Cell | str]] = [
        [title, "", count(None), *(number(one[name]) for one in spread)]
        for name, title in (("mean", "mean"), ("sd", "standard deviation"))
    ]
    columns = ("fold", "held out", "images", *SUMMARY_METRICS.values())
    return [Table("Each fold by itself", columns, rows, footer=footer)]


def estimate_tables(metrics: Metrics) -> list[Block]:
    """Tabulate the errors of each number that is estimated beside the class, in its unit."""
    tables: list[Block] = []
    intervals = metrics["confidence_intervals"]
    for column, errors in (metrics.get("regression") or {}).items():
        path = f"regression.{column}"
        rows = [
            _estimate_row(display_name(label), f"{path}.per_class.{label}", of_class, intervals)
            for label, of_class in errors["per_class"].items()
        ]
        footer = [_estimate_row("all", path, errors, intervals)]
        caption = f"{column}, estimated: errors with 95 % intervals"
        tables.append(Table(caption, ("class", *ERRORS.values(), "images"), rows, footer=footer))
    return tables


def _estimate_row(
    title: str, path: str, errors: Mapping[str, Any], intervals: Mapping[str, Interval]
) -> list[Cell | str]:
    cells = [in_unit(errors[name], intervals.get(f"{path}.{name}")) for name in ERRORS]
    return [title, *cells, count(errors["n"])]
