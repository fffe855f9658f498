"""The history of a training run: one row per epoch, as `history.csv` holds it."""

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alloyk.csv_lines import line_of_row
from alloyk.errors import ModelError
from alloyk.messages import shown
from alloyk.runs.metrics import TrainMetrics

Column = npt.NDArray[np.float64]


class History(dict[str, Column]):
    """Column → `(epochs,)` float64, NaN where the file has no value."""

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return len(self["epoch"])

    def last(self, column: str) -> float | None:
        """Return the value of the last epoch; None where there is none."""
        value = self[column][-1] if column in self else np.nan
        return float(value) if np.isfinite(value) else None

    def best_row(self, monitor: str) -> int:
        """Return the row of the best epoch.

        It is the first one with the lowest `monitor` (highest, if an accuracy), as training chose
        it. Without such a column it is that of the lowest loss.
        """
        # Without a validation split there is no such column, or an empty one.
        for column in (monitor, "loss"):
            values = self.get(column, np.empty(0))
            if np.isfinite(values).any():
                best = np.nanargmax if column.endswith("accuracy") else np.nanargmin
                return int(best(values))
        return self.epochs - 1


def read_history(path: Path) -> History | None:
    """Read `history.csv`; None where there is no file.

    Raises:
        ModelError: The file has no epoch, no column `epoch` or `loss`, or a field that is
            not a number.
    """
    path = Path(path)
    if not path.exists():
        return None
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ModelError(f"{shown(path)} must have one epoch or more, got none; train again")
    history = History()
    for column in rows[0]:
        values = np.full(len(rows), np.nan)
        for i, row in enumerate(rows):
            try:
                values[i] = float(row[column]) if row[column] else np.nan
            except (TypeError, ValueError):
                line = line_of_row(path, i)
                raise ModelError(
                    f"{shown(path)}: line {line}, column {column} must be a number, got "
                    f"{row[column]!r}"
                ) from None
        history[column] = values
    for column in ("epoch", "loss"):
        if column not in history or np.isnan(history[column]).any():
            raise ModelError(
                f"{shown(path)} must have a column {column} with a number in every line"
            )
    return history


def training_metrics(
    history: History, *, parameters: int | None = None, monitor: str = "val_loss"
) -> TrainMetrics:
    """Return the `train` part of the metrics.

    `final_` values are those of the last epoch; `best_epoch` is that of `History.best_row`;
    `seconds` is the sum over epochs.
    """
    seconds = history.get("seconds")
    return {
        "final_loss": history.last("loss"),
        "final_val_loss": history.last("val_loss"),
        "best_epoch": int(history["epoch"][history.best_row(monitor)]),
        "seconds": None if seconds is None else round(float(np.nansum(seconds)), 3),
        "parameters": parameters,
    }
