"""Learning rates as functions of the optimizer step, so that a resumed run continues exactly.

| name | learning rate after warm-up | options |
|---|---|---|
| `constant` | η | |
| `step` | η · d^⌊epoch / n⌋ | `epochs_per_step` n, `decay` d |
| `exponential` | η · d^epoch, changing every batch | `decay` d |
| `cosine` | η over a share h of the steps, then to f · η along half a cosine, at the last step | \
`hold_fraction` h, `final_fraction` f |
| `cosine_restarts` | the same over cycles, each from its own peak | `first_cycle_epochs`, \
`cycle_growth`, `peak_decay`, `final_fraction` |
| `cyclic` | triangle between a minimum and η, changing every batch | `min_learning_rate`, \
`half_cycle_epochs` |
| `plateau` | η times a factor that `alloyk.training.plateau` lowers | |

Warm-up is linear over the first steps, up to the start of the schedule, which begins after it;
cosine takes the remaining steps. Every option must be given: the defaults are in
`alloyk.config.choices`.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
from keras import ops
from keras.optimizers import schedules

from alloyk.training.plateau import ScaledSchedule

register = keras.saving.register_keras_serializable(package="alloyk")


@register
class WarmUp(schedules.LearningRateSchedule):
    """Linear warm-up to the start of another schedule, which then runs from its step 0.

    The rate in step t < warmup_steps is `(t + 1) / warmup_steps` of the schedule's first, so that
    the first step already learns and the last one has the full rate (Goyal et al., 2017).

    Args:
        schedule: The `LearningRateSchedule` that follows.
        warmup_steps: Integer >= 1, in optimizer steps.
    """

    def __init__(self, schedule: schedules.LearningRateSchedule, warmup_steps: int) -> None:
        if warmup_steps < 1:
            raise ValueError(f"`warmup_steps` must be >= 1, got {warmup_steps}")
        self.schedule = schedule
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of a step, a float32 scalar."""
        step = ops.cast(step, "float32")
        share = ops.minimum((step + 1) / self.warmup_steps, 1.0)
        return share * self.schedule(ops.maximum(step - self.warmup_steps, 0.0))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return {"schedule": schedules.serialize(self.schedule), "warmup_steps": self.warmup_steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "schedules.LearningRateSchedule":
        """Build from `get_config()`."""
        return cls(schedules.deserialize(config["schedule"]), config["warmup_steps"])


@register
class TriangularCycle(schedules.LearningRateSchedule):
    """Cyclical learning rate, up and down along straight lines (Smith, 2017).

    Args:
        min_learning_rate: Learning rate at the start and the end of each cycle.
        max_learning_rate: Learning rate at the peak.
        half_cycle_steps: Optimizer steps from the minimum to the peak.

    Reference: [Smith, 2017](https://arxiv.org/abs/1506.01186).

    Example:
        >>> cycle = TriangularCycle(1.0, 3.0, half_cycle_steps=2)
        >>> [float(cycle(step)) for step in range(5)]
        [1.0, 2.0, 3.0, 2.0, 1.0]
    """

    def __init__(
        self, min_learning_rate: float, max_learning_rate: float, half_cycle_steps: int
    ) -> None:
        if half_cycle_steps < 1:
            raise ValueError(f"`half_cycle_steps` must be >= 1, got {half_cycle_steps}")
        self.min_learning_rate = min_learning_rate
        self.max_learning_rate = max_learning_rate
        self.half_cycle_steps = half_cycle_steps

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of a step, a float32 scalar."""
        within = ops.mod(ops.cast(step, "float32"), 2.0 * self.half_cycle_steps)
        height = 1 - ops.abs(within / self.half_cycle_steps - 1)
        return self.min_learning_rate + (self.max_learning_rate - self.min_learning_rate) * height

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return {
            "min_learning_rate": self.min_learning_rate,
            "max_learning_rate": self.max_learning_rate,
            "half_cycle_steps": self.half_cycle_steps,
        }


@register
class PacedSchedule(schedules.LearningRateSchedule):
    """Evaluate another schedule at a share of its length, set by the caller.

    Args:
        schedule: The `LearningRateSchedule`.
        steps: Its length in steps.
        share: Float from 0 to 1, the current position.
    """

    def __init__(
        self, schedule: schedules.LearningRateSchedule, steps: int, share: float = 0.0
    ) -> None:
        if steps < 1:
            raise ValueError(f"`steps` must be >= 1, got {steps}")
        self.schedule = schedule
        self.steps = steps
        self._share = keras.Variable(share, dtype="float32", trainable=False, name="share")

    @property
    def share(self) -> float:
        """The current position, from 0 to 1."""
        return float(keras.ops.convert_to_numpy(self._share))

    @share.setter
    def share(self, value: float) -> None:
        self._share.assign(min(max(value, 0.0), 1.0))

    def __call__(self, step: Any) -> Any:
        """Return the learning rate, a float32 scalar; `step` is ignored."""
        return self.schedule(self._share * (self.steps - 1))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, with the current share."""
        inner = schedules.serialize(self.schedule)
        return {"schedule": inner, "steps": self.steps, "share": self.share}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "schedules.LearningRateSchedule":
        """Build from `get_config()`."""
        return cls(schedules.deserialize(config["schedule"]), config["steps"], config["share"])


Schedule: TypeAlias = schedules.LearningRateSchedule


def _constant(rate: float, steps_per_epoch: int, decay_steps: int) -> Schedule:
    return schedules.ExponentialDecay(rate, 1, 1.0, name="constant")


def _step(
    rate: float, steps_per_epoch: int, decay_steps: int, *, epochs_per_step: float, decay: float
) -> Schedule:
    every = _steps(epochs_per_step, steps_per_epoch)
    return schedules.ExponentialDecay(rate, every, decay, staircase=True)


def _exponential(rate: float, steps_per_epoch: int, decay_steps: int, *, decay: float) -> Schedule:
    return schedules.ExponentialDecay(rate, steps_per_epoch, decay)


def _cosine(
    rate: float,
    steps_per_epoch: int,
    decay_steps: int,
    *,
    hold_fraction: float,
    final_fraction: float,
) -> Schedule:
    held = round(hold_fraction * decay_steps)
    # The last step of the run is number decay_steps − 1, and must reach the end.
    falling = max(decay_steps - 1 - held, 1)
    # Keras' warm-up from a rate to the same rate holds it.
    target = rate if held else None
    return schedules.CosineDecay(
        rate, falling, alpha=final_fraction, warmup_target=target, warmup_steps=held
    )


def _cosine_restarts(
    rate: float,
    steps_per_epoch: int,
    decay_steps: int,
    *,
    first_cycle_epochs: float,
    cycle_growth: float,
    peak_decay: float,
    final_fraction: float,
) -> Schedule:
    return schedules.CosineDecayRestarts(
        rate,
        _steps(first_cycle_epochs, steps_per_epoch),
        t_mul=cycle_growth,
        m_mul=peak_decay,
        alpha=final_fraction,
    )


def _cyclic(
    rate: float,
    steps_per_epoch: int,
    decay_steps: int,
    *,
    min_learning_rate: float,
    half_cycle_epochs: float,
) -> Schedule:
    return TriangularCycle(min_learning_rate, rate, _steps(half_cycle_epochs, steps_per_epoch))


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": _constant,
    "step": _step,
    "exponential": _exponential,
    "cosine": _cosine,
    "cosine_restarts": _cosine_restarts,
    "cyclic": _cyclic,
    "plateau": _constant,
}


def build_schedule(
    name: str,
    *,
    learning_rate: float,
    steps_per_epoch: int,
    epochs: int,
    warmup_epochs: float,
    **options: float,
) -> schedules.LearningRateSchedule:
    """Build a schedule by name; lengths are given in epochs.

    Args:
        name: Key of `SCHEDULES`.
        learning_rate: η, the peak.
        steps_per_epoch: Optimizer steps in one epoch.
        epochs: Length of the schedule, warm-up included.
        warmup_epochs: Length of the linear warm-up; less than epochs.
        **options: All options of the schedule, see the table above.

    Returns:
        Schedule that depends on the step alone; for `plateau` a `ScaledSchedule`.

    Raises:
        ValueError: Unknown name, or a value out of its range.
        TypeError: An option is missing, or one that the schedule does not have.

    Example:
        >>> schedule = build_schedule(
        ...     "step", learning_rate=1.0, steps_per_epoch=5, epochs=3, warmup_epochs=0,
        ...     epochs_per_step=1, decay=0.5,
        ... )
        >>> [float(schedule(step)) for step in (0, 4, 5, 10)]
        [1.0, 1.0, 0.5, 0.25]
    """
    if name not in SCHEDULES:
        raise ValueError(f"`name` must be one of {', '.join(SCHEDULES)}, got {name!r}")
    if learning_rate <= 0:
        raise ValueError(f"`learning_rate` must be positive, got {learning_rate}")
    if not 0 <= warmup_epochs < epochs:
        raise ValueError(f"`warmup_epochs` must be >= 0 and < {epochs}, got {warmup_epochs}")
    warmup_steps = round(warmup_epochs * steps_per_epoch)
    decay_steps = epochs * steps_per_epoch - warmup_steps
    schedule = SCHEDULES[name](float(learning_rate), steps_per_epoch, decay_steps, **options)
    if warmup_steps:
        schedule = WarmUp(schedule, warmup_steps)
    return ScaledSchedule(schedule) if name == "plateau" else schedule


def _steps(epochs: float, steps_per_epoch: int) -> int:
    return max(round(epochs * steps_per_epoch), 1)
