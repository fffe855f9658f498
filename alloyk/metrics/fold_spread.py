"""How far the folds of a cross-validation differ."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alloyk.files import whole_file
from alloyk.metrics.classification import classification_metrics
from alloyk.runs.predictions import Predictions

# Path of a figure in ``metrics.json`` → what people read.
FIGURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro.f1": "macro F1",
    "macro.average_precision": "macro AP",
    "macro.roc_auc": "macro AUC",
    "log_loss": "log loss",
}


def by_fold(predictions: Predictions, folds: Sequence[str]) -> dict[str, Predictions]:
    """The predictions of each fold, by the column ``fold``; a fold without images is left out."""
    column = predictions.table["fold"].to_numpy()
    parts = {name: predictions.select(column == name) for name in folds}
    return {name: part for name, part in parts.items() if len(part)}


def fold_spread(parts: dict[str, Predictions]) -> dict:
    """The figures of each fold, with their mean and standard deviation.

    Args:
        parts: Of `by_fold`.

    Returns:
        ``names``, ``images``, and ``figures``: name → ``values`` (None where undefined), ``mean``
        and ``sd`` over the folds in which it is defined.
    """
    found = {name: classification_metrics(part) for name, part in parts.items()}
    figures = {}
    for path in FIGURES:
        values = [figure_at(one, path) for one in found.values()]
        defined = [value for value in values if value is not None]
        figures[path] = {
            "values": values,
            "mean": float(np.mean(defined)) if defined else None,
            "sd": float(np.std(defined, ddof=1)) if len(defined) > 1 else None,
        }
    return {
        "names": list(parts),
        "images": [len(part) for part in parts.values()],
        "figures": figures,
    }


def figure_at(figures: dict, path: str) -> float | None:
    """The figure of one of `FIGURES` in ``metrics.json``; None where it is undefined."""
    first, _, second = path.partition(".")
    return figures[first][second] if second else figures[first]


def write_spread(path: Path, spread: dict, held_out: dict[str, str]) -> None:
    """One row per fold, then mean and standard deviation, as ``fold,held_out,images,<figure>…``."""
    with whole_file(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["fold", "held_out", "images", *FIGURES])
        for k, name in enumerate(spread["names"]):
            values = [spread["figures"][figure]["values"][k] for figure in FIGURES]
            writer.writerow([name, held_out.get(name, ""), spread["images"][k], *values])
        for name in ("mean", "sd"):
            writer.writerow([name, "", "", *(spread["figures"][f][name] for f in FIGURES)])
