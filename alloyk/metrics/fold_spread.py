"""The spread of metrics over the folds of a cross-validation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alloyk.files import write_csv
from alloyk.metrics.classification import classification_metrics
from alloyk.runs.predictions import Predictions

# Path of a metric in `metrics.json` → its name for readers.
SUMMARY_METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro.f1": "macro F1",
    "macro.average_precision": "macro AP",
    "macro.roc_auc": "macro AUC",
    "log_loss": "log loss",
}


def by_fold(predictions: Predictions, folds: Sequence[str]) -> dict[str, Predictions]:
    """Split predictions by the column `fold`; folds without images are left out."""
    column = predictions.table["fold"].to_numpy()
    parts = {name: predictions.select(column == name) for name in folds}
    return {name: part for name, part in parts.items() if len(part)}


def fold_spread(parts: dict[str, Predictions]) -> dict[str, Any]:
    """Compute the metrics of each fold, with their mean and standard deviation.

    Args:
        parts: Result of `by_fold`.

    Returns:
        `names`, `images`, and `figures`: name → `values` (None where undefined), `mean`
        and `sd` over the folds in which it is defined.
    """
    found = {name: classification_metrics(part) for name, part in parts.items()}
    spread = {}
    for path in SUMMARY_METRICS:
        values = [metric_at(one, path) for one in found.values()]
        defined = [value for value in values if value is not None]
        spread[path] = {
            "values": values,
            "mean": float(np.mean(defined)) if defined else None,
            "sd": float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
        }
    return {
        "names": list(parts),
        "images": [len(part) for part in parts.values()],
        "figures": spread,
    }


def metric_at(metrics: Mapping[str, Any], path: str) -> float | None:
    """Look up one of `SUMMARY_METRICS` in `metrics.json`; None where it is undefined."""
    first, _, second = path.partition(".")
    value: float | None = metrics[first][second] if second else metrics[first]
    return value


def write_spread(path: Path, spread: Mapping[str, Any], held_out: dict[str, str]) -> None:
    """Write a row per fold, then mean and sd, as `fold,held_out,images,<metric>…`."""
    figures = [spread["figures"][name] for name in SUMMARY_METRICS]
    rows: list[list[object]] = [["fold", "held_out", "images", *SUMMARY_METRICS]]
    for k, name in enumerate(spread["names"]):
        values = [figure["values"][k] for figure in figures]
        rows.append([name, held_out.get(name), spread["images"][k], *values])
    for name in ("mean", "sd"):
        rows.append([name, None, None, *(figure[name] for figure in figures)])
    write_csv(path, rows)
