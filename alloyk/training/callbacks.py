"""What happens around each epoch: history, best weights, resumable state, guards, progress.

A callback whose decisions depend on earlier epochs has `get_state()` and `set_state(state)`
over JSON values; `Checkpoint` keeps them beside the weights, so that a killed training goes on as
if nothing had happened.
"""

import csv
import json
import logging
import math
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from alloyk.errors import AlloykError
from alloyk.files import few, whole_file, writing
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runtime.kernels import VARIABLE, describe_kernels

logger = logging.getLogger(__name__)

HISTORY_COLUMNS = (
    "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds",
)  # fmt: skip


class HistoryFile(keras.callbacks.Callback):
    """Append one row per epoch to `history.csv`; epochs count from 1.

    Args:
        path: The file.
        errors: Further figures, each a column behind the others, for training and validation.
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

    Listed before the callbacks that write a checkpoint, so that no checkpoint exists without what
    the function writes.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        super().__init__()
        self.function: Callable[[], None] | None = function

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self.function is not None:
            self.function()
        self.function = None


class BestEpoch(keras.callbacks.Callback):
    """Remember the best epoch and its weights; stop when it has not been beaten for a while.

    Args:
        folder: Where the weights of the best epoch lie meanwhile.
        monitor: `val_loss` (falling is better) or `val_accuracy` (rising).
        patience: Epochs without a better one before training stops; None never stops it.
        start_from_epoch: Epoch from which the patience counts; the best may lie before.
    """

    def __init__(self, folder: Path, *, monitor="val_loss", patience=None, start_from_epoch=0):
        super().__init__()
        self.folder = Path(folder)
        self.monitor = monitor
        self.patience = patience
        self.start_from_epoch = start_from_epoch
        self.best = None
        self.best_epoch = None

    def get_state(self):
        return {"best": self.best, "best_epoch": self.best_epoch}

    def set_state(self, state):
        self.best, self.best_epoch = state["best"], state["best_epoch"]

    def _file(self, epoch):
        return self.folder / f"best-{epoch}.npz"

    def _better(self, value):
        if self.best is None:
            return True
        return value < self.best if self.monitor.endswith("loss") else value > self.best

    def on_epoch_end(self, epoch, logs=None):
        if self._better(logs[self.monitor]):
            self.best, self.best_epoch = logs[self.monitor], epoch
            _save_arrays(self._file(epoch), self.model.get_weights())
        waited = epoch - max(self.best_epoch, self.start_from_epoch)
        if self.patience and waited >= self.patience:
            self.model.stop_training = True

    def forget_others(self):
        """Delete the weights of epochs that are no longer the best."""
        for file in self.folder.glob("best-*.npz"):
            if file != self._file(self.best_epoch):
                file.unlink()

    def restore(self):
        """Give the model the weights of the best epoch."""
        self.model.set_weights(_load_arrays(self._file(self.best_epoch)))


class Checkpoint(keras.callbacks.Callback):
    """Write everything that training goes on from, at the end of every epoch.

    That is: every variable of the model (weights, batch-norm statistics, dropout seeds) and of the
    optimizer (slots, iteration, on which the schedule depends), the epoch, and the state of the
    other callbacks. Order and augmentation need nothing: they follow from seed and epoch.

    Args:
        folder: Folder of the file `state.npz`, replaced as a whole.
        best: The `BestEpoch` of this training, whose file it keeps company.
        described: The experiment as text; a file of another one is refused when it is read.

    Attributes:
        kernels: TensorFlow's CPU kernels that this training has used, those of today the last.

    Raises:
        AlloykError: From all methods that read: the file is damaged, or of another experiment.
    """

    def __init__(self, folder: Path, best: BestEpoch, described: str = ""):
        super().__init__()
        self.described = described
        self.path = Path(folder) / "state.npz"
        self.best = best
        self.kernels = [describe_kernels()["kernels"]]

    def attach(self, model: keras.Model, callbacks) -> None:
        """Name the compiled model and the callbacks with state, before `restore` or `fit`."""
        self.set_model(model)
        self.best.set_model(model)
        self.stateful = tuple(callbacks)

    def epochs_done(self) -> int:
        """Epochs that the file on disk has behind it; 0 without a file."""
        return self._read_header()["epochs_done"] if self.path.exists() else 0

    def stopped(self) -> bool:
        """Whether training had ended early when the file was written."""
        return self.path.exists() and self._read_header()["stopped"]

    def _read_header(self):
        with _reading(self.path), _arrays_of(self.path) as arrays:
            header = json.loads(str(arrays["header"]))
        self._refuse_another(header["described"] != self.described)
        return header

    def _refuse_another(self, differs: bool) -> None:
        if differs:
            raise AlloykError(
                f"{self.path} was written under another configuration than config.yaml beside it "
                "now holds: undo the change there, or train into a new folder"
            )

    def _variables(self):
        return [*self.model.variables, *self.model.optimizer.variables]

    def on_epoch_end(self, epoch, logs=None):
        header = {
            "epochs_done": epoch + 1,
            "described": self.described,
            "stopped": bool(self.model.stop_training),
            "kernels": self.kernels,
            "callbacks": [callback.get_state() for callback in self.stateful],
        }
        arrays = [keras.ops.convert_to_numpy(variable) for variable in self._variables()]
        _save_arrays(self.path, arrays, header=json.dumps(header))
        self.best.forget_others()

    def restore(self) -> None:
        """Put the file's state into the model, its optimizer and the other callbacks."""
        header = self._read_header()
        variables, arrays = self._variables(), _load_arrays(self.path)
        self._refuse_another([tuple(v.shape) for v in variables] != [a.shape for a in arrays])
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        for callback, state in zip(self.stateful, header["callbacks"], strict=True):
            callback.set_state(state)
        self._continue_kernels(header.get("kernels", []))

    def _continue_kernels(self, before: list[str]) -> None:
        """Go on the list of kernels; say when a resumed training cannot repeat itself exactly."""
        today = self.kernels[-1]
        if before and before[-1] != today:
            logger.warning(
                "this training began with TensorFlow's %s kernels and goes on with %s: its result "
                "will differ slightly from that without the break; set %s to have the same",
                before[-1], today, VARIABLE,
            )  # fmt: skip
        self.kernels = [name for name in before if name != today] + [today]


def kernels_used(folder: Path) -> tuple[str, ...]:
    """The CPU kernels of the training whose checkpoint is in a folder, those used last the last."""
    path = Path(folder) / "state.npz"
    with _reading(path), _arrays_of(path) as arrays:
        return tuple(json.loads(str(arrays["header"])).get("kernels", ()))


def _save_arrays(path: Path, arrays, **named) -> None:
    """Write arrays in their order, then rename: a kill leaves the old file or the new one."""
    unfinished = path.with_suffix(".part")
    with writing(path):
        with unfinished.open("wb") as file:
            np.savez(file, **named, **{f"{i:05d}": array for i, array in enumerate(arrays)})
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)


def _load_arrays(path: Path) -> list[np.ndarray]:
    with _reading(path), _arrays_of(path) as arrays:
        return [arrays[name] for name in sorted(arrays.files) if name.isdigit()]


@contextmanager
def _arrays_of(path: Path) -> Iterator[Any]:
    """Open an `.npz` file; numpy leaves one that is damaged open."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        yield arrays


@contextmanager
def _reading(path: Path):
    """Say of a file of `_save_arrays` that cannot be read that it is damaged."""
    try:
        yield
    # What NumPy raises on a file that is cut short or overwritten differs with the place.
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise AlloykError(
            f"the checkpoint {path} is damaged ({' '.join(str(error).split())}): there is nothing "
            "to go on from; train into a new folder"
        ) from error


class StopOnNaN(keras.callbacks.Callback):
    """End training with an error when the loss is no longer a number."""

    # The running mean of the loss stays NaN, so looking now and then misses nothing.
    EVERY_BATCHES = 50

    def on_train_batch_end(self, batch, logs=None):
        if batch % self.EVERY_BATCHES == 0:
            self._check(logs, f"batch {batch + 1}")

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
        epochs: Number of epochs.
        steps: Batches per epoch.
        images: Training images per epoch.
        progress: Shows the batches.
    """

    def __init__(
        self, epochs: int, steps: int, images: int, progress: Progress = NO_PROGRESS
    ) -> None:
        super().__init__()
        self.epochs, self.steps, self.images, self.progress = epochs, steps, images, progress
        self._task = ExitStack()

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter()
        label = f"epoch {epoch + 1}/{self.epochs}"
        task = self.progress.task(label, self.steps, "batches")
        self._advance = self._task.enter_context(task)

    def on_train_batch_end(self, batch, logs=None):
        self._advance(1)

    def on_test_begin(self, logs=None):
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self._task.close()
        seconds = getattr(self, "_trained", time.perf_counter()) - self._started
        shown = ("loss", "accuracy", "val_loss", "val_accuracy")
        further = tuple(name for name in logs if name.startswith("val_mae_"))
        values = "  ".join(f"{name} {logs[name]:.4f}" for name in shown + further if name in logs)
        rate = self.images / seconds
        logger.info("epoch %d/%d  %s  %.0f images/s", epoch + 1, self.epochs, values, rate)
