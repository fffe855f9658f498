"""The state from which a killed training run resumes exactly, and the weights of the best epoch."""

import hashlib
import json
import logging
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np

from alloyk.errors import AlloykError
from alloyk.files import writing
from alloyk.runtime.kernels import VARIABLE, describe_kernels
from alloyk.training.identity import OF_ANOTHER_VERSION, difference

logger = logging.getLogger(__name__)


class BestEpoch(keras.callbacks.Callback):
    """Remember the best epoch and its weights; stop when it has not been beaten for a while.

    Args:
        folder: Where the weights of the best epoch are kept during training.
        monitor: `val_loss` (falling is better) or `val_accuracy` (rising).
        patience: Epochs without a better one before training stops; None never stops it.
        start_from_epoch: Epoch from which the patience counts; the best may be an earlier one.
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
        if self.best is None or math.isnan(self.best):  # nothing is less than NaN
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

    def restore(self, model: keras.Model) -> None:
        """Give a model of the same layers the weights of the best epoch."""
        model.set_weights(_load_arrays(self._file(self.best_epoch)))


class Checkpoint(keras.callbacks.Callback):
    """Write everything that a resumed training run needs, at the end of every epoch and within it.

    The file holds every variable of the model (weights, batch-norm statistics, dropout seeds) and
    of the optimizer (slots, iteration, on which the schedule depends), the epoch, and the state of
    the other callbacks: those whose decisions depend on earlier epochs have `get_state()` and
    `set_state(state)` over JSON values. Order and augmentation depend on seed and epoch only.
    A file written within an epoch also holds the number of batches trained so far, and every
    variable of the metrics.

    Args:
        folder: Folder of the file `state.npz`, replaced as a whole.
        best: The `BestEpoch` of this training run.
        described: The experiment as text; a file of another experiment is refused when read.
        within: Batches after which the file is also written within an epoch; None writes it only
            after each epoch. Must be equal on all workers.
        steps: Batches per epoch.
        data: Returns a digest of the images; files written within the first epoch have it, because
            there is no split record yet.

    Attributes:
        kernels: TensorFlow's CPU kernels that this run has used; the current ones are last.
        before: Batches of the current epoch that were trained before `restore`.

    Raises:
        AlloykError: From all methods that read: the file is damaged, or of another experiment.
    """

    def __init__(
        self,
        folder: Path,
        best: BestEpoch,
        described: str = "",
        *,
        within: int | None = None,
        steps: int = 0,
        data: Callable[[], str] = lambda: "",
    ) -> None:
        super().__init__()
        self.described = described
        self.within, self.steps, self.data = within, steps, cache(data)
        self.before = 0
        self._metrics: list[np.ndarray] = []
        self.path = Path(folder) / "state.npz"
        self.best = best
        self.kernels = [describe_kernels()["kernels"]]

    def attach(self, model: keras.Model, callbacks) -> None:
        """Set the compiled model and the callbacks with state, before `restore` or `fit`."""
        self.set_model(model)
        self.best.set_model(model)
        self.stateful = tuple(callbacks)

    def epochs_done(self) -> int:
        """Number of epochs completed in the file on disk; 0 without a file."""
        return self._read_header()["epochs_done"] if self.path.exists() else 0

    def steps_done(self) -> int:
        """Number of batches already trained of the unfinished epoch; 0 without a file."""
        return self._read_header().get("steps_done", 0) if self.path.exists() else 0

    def stopped(self) -> bool:
        """Whether training had ended early when the file was written."""
        return self.path.exists() and self._read_header()["stopped"]

    def _read_header(self):
        with _reading(self.path), _arrays_of(self.path) as arrays:
            header = json.loads(str(arrays["header"]))
        self._refuse_another(difference(header["described"], self.described))
        return header

    def _refuse_another(self, differs: str | None) -> None:
        if differs:
            another = differs == OF_ANOTHER_VERSION
            advice = "resume with that version" if another else "undo the change in config.yaml"
            raise AlloykError(
                f"{self.path} must match config.yaml, got a checkpoint with {differs}; {advice}, "
                "or train into a new folder"
            )

    def _variables(self):
        return [*self.model.variables, *self.model.optimizer.variables]

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        if self._metrics:  # Keras has just reset them
            for variable, array in zip(self.model.metrics_variables, self._metrics, strict=True):
                variable.assign(array)
        self._metrics = []

    def on_train_batch_end(self, batch, logs=None):
        done = self.before + batch + 1
        if self.within and done % self.within == 0 and done < self.steps:
            metrics = map(keras.ops.convert_to_numpy, self.model.metrics_variables)
            named = {f"metric-{number:05d}": array for number, array in enumerate(metrics)}
            data = self.data() if self._epoch == 0 else ""
            self._write({"epochs_done": self._epoch, "steps_done": done, "data": data}, named)

    def on_epoch_end(self, epoch, logs=None):
        self.before = 0
        self._write({"epochs_done": epoch + 1, "stopped": bool(self.model.stop_training)}, {})
        self.best.forget_others()

    def _write(self, position: dict[str, Any], metrics: dict[str, np.ndarray]) -> None:
        header = {
            "stopped": False,
            **position,
            "described": self.described,
            "kernels": self.kernels,
            "precision": keras.config.dtype_policy().name,
            "callbacks": [callback.get_state() for callback in self.stateful],
        }
        arrays = [keras.ops.convert_to_numpy(variable) for variable in self._variables()]
        _save_arrays(self.path, arrays, header=json.dumps(header), **metrics)

    def restore(self) -> None:
        """Restore the model, its optimizer and the other callbacks from the file."""
        header = self._read_header()
        precision = keras.config.dtype_policy().name
        if header.get("precision", precision) != precision:
            raise AlloykError(
                f"{self.path} must be resumed in the precision of its training, "
                f"{header['precision']}, got {precision}; resume on such a device, GPU or CPU, or "
                "train into a new folder"
            )
        variables, arrays = self._variables(), _load_arrays(self.path)
        fits = [tuple(v.shape) for v in variables] == [a.shape for a in arrays]
        self._refuse_another(None if fits else "the weights of another network")
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        for callback, state in zip(self.stateful, header["callbacks"], strict=True):
            callback.set_state(state)
        self.before = header.get("steps_done", 0)
        self._metrics = _load_arrays(self.path, "metric-") if self.before else []
        self._continue_kernels(header.get("kernels", []))

    def _continue_kernels(self, before: list[str]) -> None:
        """Extend the list of kernels; warn if a resumed training run is not exactly repeatable."""
        current = self.kernels[-1]
        if before and before[-1] != current:
            logger.warning(
                "this run was last trained with TensorFlow's %s kernels and resumes with %s: its "
                "result will differ slightly from an uninterrupted one; set %s to use the same",
                before[-1], current, VARIABLE,
            )  # fmt: skip
        self.kernels = [name for name in before if name != current] + [current]


def weights_digest(model: keras.Model) -> str:
    """SHA-256 of a network's weights, 64 hexadecimal digits; the same for the same bits."""
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def epochs_in(folder: Path) -> int:
    """Return the number of epochs of the checkpoint in a folder; 0 where there is none."""
    path = Path(folder) / "state.npz"
    if not path.exists():
        return 0
    with _reading(path), _arrays_of(path) as arrays:
        return int(json.loads(str(arrays["header"]))["epochs_done"])


def data_of(folder: Path) -> str | None:
    """Return the digest of the images in a checkpoint of the first epoch; None otherwise."""
    path = Path(folder) / "state.npz"
    if not path.exists() or epochs_in(folder):
        return None
    with _reading(path), _arrays_of(path) as arrays:
        return str(json.loads(str(arrays["header"]))["data"])


def kernels_used(folder: Path) -> tuple[str, ...]:
    """Return the CPU kernels of the run whose checkpoint is in a folder, in order of last use."""
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


def _load_arrays(path: Path, prefix: str = "") -> list[np.ndarray]:
    with _reading(path), _arrays_of(path) as arrays:
        names = [name for name in arrays.files if name.startswith(prefix)]
        return [arrays[name] for name in sorted(names) if name.removeprefix(prefix).isdigit()]


@contextmanager
def _arrays_of(path: Path) -> Iterator[Any]:
    """Open an `.npz` file, here because `np.load` does not close a damaged one."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        yield arrays


@contextmanager
def _reading(path: Path):
    """Report errors of reading; a file that can be read but not understood is damaged."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # raised by NumPy on what it read
            raise _damaged(path, error) from error
        raise AlloykError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    # What NumPy raises on a file that is cut short or overwritten differs with the place.
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> AlloykError:
    return AlloykError(
        f"the checkpoint {path} is damaged ({' '.join(str(error).split())}), so the training "
        "cannot be resumed; train into a new folder"
    )
