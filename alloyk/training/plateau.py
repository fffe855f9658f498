"""Lower the learning rate when a metric has stopped improving."""

from typing import Any

import keras
from keras import ops
from keras.optimizers import schedules


@keras.saving.register_keras_serializable(package="alloyk")
class ScaledSchedule(schedules.LearningRateSchedule):
    """Another schedule times a factor that can be set while training, see `ReduceOnPlateau`.

    The factor is a variable: a compiled training step reads its present value (TensorFlow; JAX
    would compile it in). It is part of `get_config()`.

    Args:
        schedule: The `LearningRateSchedule` to scale.
        scale: Float, the factor to begin with.
    """

    def __init__(self, schedule: schedules.LearningRateSchedule, scale: float = 1.0) -> None:
        self.schedule = schedule
        self._scale = keras.Variable(scale, dtype="float32", trainable=False, name="scale")

    @property
    def scale(self) -> float:
        """The factor."""
        return float(ops.convert_to_numpy(self._scale))

    @scale.setter
    def scale(self, value: float) -> None:
        self._scale.assign(value)

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of a step, a float32 scalar."""
        return self._scale * self.schedule(step)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, with the present factor."""
        return {"schedule": schedules.serialize(self.schedule), "scale": self.scale}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "schedules.LearningRateSchedule":
        """Build from `get_config()`."""
        return cls(schedules.deserialize(config["schedule"]), config["scale"])


class ReduceOnPlateau(keras.callbacks.Callback):
    """Multiply the learning rate by a factor when a metric has stopped improving.

    Keras' `ReduceLROnPlateau` sets the learning rate itself, which excludes any schedule, also
    warm-up, and loses its count when a run is resumed.

    Args:
        schedule: The `ScaledSchedule` that the optimizer uses.
        monitor: Name in the logs of an epoch; it should fall, or rise if it ends in `accuracy`.
        factor: 0 < factor < 1, multiplies the learning rate.
        patience: Epochs without improvement after which it does.
        min_delta: Change that counts as an improvement.
        min_scale: Lowest product of factors.
        start_epoch: Number of first epochs that are not counted, such as the warm-up.

    Raises: ValueError for a factor outside (0, 1), or a metric that is not in the logs.
    """

    def __init__(
        self,
        schedule: ScaledSchedule,
        *,
        monitor: str = "val_loss",
        factor: float,
        patience: int,
        min_delta: float,
        min_scale: float = 1e-4,
        start_epoch: int = 0,
    ):
        super().__init__()
        if not 0 < factor < 1:
            raise ValueError(f"`factor` must be > 0 and < 1, got {factor}")
        self.schedule = schedule
        self.monitor = monitor
        self.factor = factor
        self.patience = patience
        self.min_delta = min_delta
        self.min_scale = min_scale
        self.start_epoch = start_epoch
        self._best: float | None = None
        self._wait = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Compare the metric with the best so far; lower the scale when patience has run out."""
        logs = logs or {}
        if self.monitor not in logs:
            raise ValueError(f"the logs must have {self.monitor}, got {', '.join(logs) or 'none'}")
        if epoch < self.start_epoch:
            return
        value = float(logs[self.monitor])
        gain = 0.0 if self._best is None else self._best - value
        if self.monitor.endswith("accuracy"):
            gain = -gain
        if (self._best is None and value == value) or gain > self.min_delta:  # NaN never improves.
            self._best, self._wait = value, 0
            return
        self._wait += 1
        if self._wait >= self.patience:
            self.schedule.scale = max(self.schedule.scale * self.factor, self.min_scale)
            self._wait = 0

    def get_state(self) -> dict[str, Any]:
        """Return what a resumed run must know, as JSON values."""
        return {"best": self._best, "wait": self._wait, "scale": self.schedule.scale}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from `get_state()`; `fit` does not reset it."""
        self._best, self._wait = state["best"], int(state["wait"])
        self.schedule.scale = state["scale"]
