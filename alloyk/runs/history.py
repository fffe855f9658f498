"""What ``history.csv`` says about a training."""

import csv
from pathlib import Path

import numpy as np

from alloyk.errors import AlloykError


def read_history(path: Path) -> dict[str, np.ndarray] | None:
    """Columns of ``history.csv`` as `(epochs,)` float64, NaN where empty; None without the file.

    Raises:
        AlloykError: The file has no epoch, no column ``epoch`` or ``loss``, or a field that is
            not a number.
    """
    path = Path(path)
    if not path.exists():
        return None
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise AlloykError(f"{path} holds no epoch: training did not get through one")
    history = {}
    for column in rows[0]:
        values = np.full(len(rows), np.nan)
        for i, row in enumerate(rows):
            try:
                values[i] = float(row[column]) if row[column] else np.nan
            except (TypeError, ValueError):
                raise AlloykError(
                    f"{path}: line {i + 2}, column {column}: wanted a number, found {row[column]!r}"
                ) from None
        history[column] = values
    for column in ("epoch", "loss"):
        if column not in history or np.isnan(history[column]).any():
            raise AlloykError(f"{path}: wanted a column {column} with a number in each line")
    return history


def training_metrics(
    history: dict[str, np.ndarray],
    *,
    parameters: int | None = None,
    monitor: str = "val_loss",
) -> dict:
    """The ``train`` part of ``metrics.json``.

    ``final_`` figures are of the last epoch. ``best_epoch`` is the first epoch with the lowest
    `monitor` (highest, if an accuracy), as training chose it; the last one where it has no value.
    ``seconds`` is the sum over epochs.
    """
    best = len(history["epoch"]) - 1
    # Without a validation split there is no such column, or an empty one.
    for column in (monitor, "loss"):
        values = history.get(column, np.empty(0))
        if np.isfinite(values).any():
            choose = np.nanargmax if column.endswith("accuracy") else np.nanargmin
            best = int(choose(values))
            break
    seconds = history.get("seconds")
    return {
        "final_loss": _last(history, "loss"),
        "final_val_loss": _last(history, "val_loss"),
        "best_epoch": int(history["epoch"][best]),
        "seconds": None if seconds is None else round(float(np.nansum(seconds)), 3),
        "parameters": parameters,
    }


def _last(history, column) -> float | None:
    value = history[column][-1] if column in history else np.nan
    return float(value) if np.isfinite(value) else None
