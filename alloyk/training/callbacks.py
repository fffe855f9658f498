"""Callbacks around each epoch: history, a hook after the first, the loss guard, progress."""

import csv
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import keras

from alloyk.errors import AlloykError
from alloyk.files import whole_file, writing
from alloyk.messages import few
from alloyk.progress import NO_PROGRESS, Progress

logger = logging.getLogger(__name__)

HISTORY_COLUMNS = (
    "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds",
)  # fmt: skip


class HistoryFile(keras.callbacks.Callback):
    """Append one row per epoch to `history.csv`; epochs count from 1.

    Args:
        path: The file.
        errors: Further metrics, each a column after the others, for training and validation.
    """

    def __init__(self, path: Path, errors: Sequence[str] = ()):
        super().__init__()
        self.path = Path(path)
        further = [f"{part}{name}" for name in errors for part in ("", "val_")]
        self.columns = (*HISTORY_COLUMNS, *further)

    def keep_until(self, epochs_done: int) -> None:
        """Drop rows after `epochs_done`: their epochs are about to be trained again.

        Raises:
            AlloykError: The file has not each epoch up to there once, in order.
        """
        rows = []
        if epochs_done and self.path.exists():
            with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
                rows = list(csv.DictReader(file))[:epochs_done]
        epochs = [str(row.get("epoch")) for row in rows]
        if epochs != [str(epoch + 1) for epoch in range(epochs_done)]:
            raise AlloykError(
                f"{self.path} must have the epochs 1 to {epochs_done} of the checkpoint first, "
                f"got {few(epochs, 12) or 'none'}; restore the file, or train into a new folder"
            )
        with (
            whole_file(self.path) as unfinished,
            unfinished.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        learning_rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {
            **{name: logs[name] for name in self.columns if name in logs},
            "epoch": epoch + 1,
            "learning_rate": learning_rate,
            "seconds": round(time.perf_counter() - self._started, 3),
        }
        with writing(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow(row)


class AfterFirstEpoch(keras.callbacks.Callback):
    """Call a function once, when the first epoch of this process has ended.

    Listed before the callbacks that write a checkpoint, so that no checkpoint of an epoch exists
    without what the function writes.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        super().__init__()
        self.function: Callable[[], None] | None = function

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.function is not None:
            self.function()
        self.function = None


class StopOnNaN(keras.callbacks.Callback):
    """End training with an error when the loss is no longer a number.

    Args:
        before: As of `EpochReport`.
    """

    # The running mean of the loss stays NaN, so looking now and then misses nothing.
    EVERY_BATCHES = 50

    def __init__(self, before: Callable[[], int] = lambda: 0) -> None:
        super().__init__()
        self.before = before

    def on_train_batch_end(self, batch, logs=None):
        if batch % self.EVERY_BATCHES == 0:
            self._check(logs, f"batch {self.before() + batch + 1}")

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1

    def on_epoch_end(self, epoch, logs=None):
        self._check(logs, "its end")

    def _check(self, logs, where):
        if not math.isfinite(float(logs["loss"])):
            raise AlloykError(
                f"the loss became {float(logs['loss'])} in epoch {self._epoch}, seen at {where}: "
                "train into a new folder with a lower optimizer.learning_rate or with "
                "optimizer.clip_norm=1"
            )


class EpochReport(keras.callbacks.Callback):
    """Log one line per epoch with the throughput, and show the batches of each epoch.

    Args:
        epochs: Number of epochs; None if a time budget decides.
        steps: Batches per epoch.
        images: Training images per epoch.
        progress: Shows the batches.
        before: Batches of the epoch that begins that were trained before this process.
        left: From the number of epochs left and the duration of the last one to the time left, as
            text; None does not show it.
    """

    def __init__(
        self,
        epochs: int | None,
        steps: int,
        images: int,
        progress: Progress = NO_PROGRESS,
        left: Callable[[int, float], str] | None = None,
        before: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__()
        self.before = before
        self.epochs, self.steps, self.images, self.progress = epochs, steps, images, progress
        self.left = left
        self._task = ExitStack()
        self._time_left = ""

    def _label(self, epoch: int) -> str:
        total = "" if self.epochs is None else f"/{self.epochs}"
        return f"epoch {epoch + 1}{total}"

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter()
        self._batches = 0
        label = self._label(epoch) + self._time_left
        task = self.progress.task(label, self.steps, "batches")
        self._advance = self._task.enter_context(task)
        self._advance(self.before())

    def on_train_batch_end(self, batch, logs=None):
        self._batches += 1
        self._advance(1)

    def on_test_begin(self, logs=None):
        self._trained = time.perf_counter()

    def close(self) -> None:
        """End the display of an epoch, also of one that fails."""
        self._task.close()

    def on_epoch_end(self, epoch, logs=None):
        self.close()
        trained = getattr(self, "_trained", time.perf_counter())
        seconds = trained - self._started
        shown = ("loss", "accuracy", "val_loss", "val_accuracy")
        further = tuple(name for name in logs if name.startswith("val_mae_"))
        values = "  ".join(f"{name} {logs[name]:.4f}" for name in shown + further if name in logs)
        rate = self.images * self._batches / self.steps / seconds
        if self.left is not None:
            rest = 0 if self.epochs is None else self.epochs - epoch - 1
            # A resumed epoch has fewer batches than the next one.
            whole = seconds * self.steps / self._batches + time.perf_counter() - trained
            self._time_left = f", {self.left(rest, whole)} left"
        logger.info("%s  %s  %.0f images/s%s", self._label(epoch), values, rate, self._time_left)
