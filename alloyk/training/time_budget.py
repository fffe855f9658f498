"""Train for a given time: the schedule follows the clock, and training ends with it.

The number of steps that fit into a time is not known before, and it changes with the load of the
machine. So the learning rate is a function of the share of the time that is spent, not of the step.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import keras

from alloyk import pipeline
from alloyk.errors import ConfigError
from alloyk.inference.novelty_fitting import MAX_IMAGES
from alloyk.training.schedules import PacedSchedule

TAIL_SECONDS = 5.0
"""Time after training that does not depend on the images: figures, files, traced functions. Of a
machine on which a run takes `START_SECONDS` before it trains; scaled with what this one took, at
most threefold."""

START_SECONDS = 8.0
"""From the start of the command until the images of a small data set are read."""

EPOCHS_WITHOUT_END = 1_000_000


@dataclass(frozen=True)
class Workload:
    """What the duration of a run depends on, beside the network.

    Attributes:
        train: Training images.
        val: Validation images.
        test: Test images.
        batch_size: Images per training batch.
        measuring_seconds: How long the raw images are measured after training, see
            `alloyk.inference.measuring`.
    """

    train: int
    val: int
    test: int
    batch_size: int
    measuring_seconds: float = 0.0

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return pipeline.steps_per_epoch(self.train, self.batch_size)

    def validation_seconds(self, step_seconds: float) -> float:
        """Estimated time of one validation: a forward pass is a third of a training step."""
        return self.val / self.batch_size * step_seconds / 3

    def tail_seconds(self, step_seconds: float, start_seconds: float) -> float:
        """Estimated time after training: predicting and measuring all splits, files, figures."""
        predicted = self.val + self.test + min(self.train, MAX_IMAGES)
        fixed = TAIL_SECONDS * min(max(start_seconds / START_SECONDS, 1.0), 3.0)
        predicting = predicted / self.batch_size * step_seconds / 3
        return predicting + self.measuring_seconds + fixed

    def epoch_seconds(self, step_seconds: float) -> float:
        """Estimated time of an epoch with its validation."""
        return self.steps * step_seconds + self.validation_seconds(step_seconds)

    def seconds(self, epochs: int, step_seconds: float, start_seconds: float) -> float:
        """Estimated time from the first step to the end of the run."""
        return epochs * self.epoch_seconds(step_seconds) + self.tail_seconds(
            step_seconds, start_seconds
        )


class TimeBudget(keras.callbacks.Callback):
    """Set the share of a `PacedSchedule` before each batch, and stop when the time is spent.

    Kept back for the end: one validation, which is measured at each epoch, and what follows the
    training. The step's duration is measured while training.

    Args:
        seconds: Time limit of the whole run, counted from `started`.
        schedule: The schedule that the optimizer uses.
        work: The numbers of images.
        started: `time.monotonic()` when the run began.
        start_seconds: Seconds that the start took.
    """

    def __init__(
        self,
        seconds: float,
        schedule: PacedSchedule,
        work: Workload,
        *,
        started: float,
        start_seconds: float = START_SECONDS,
    ) -> None:
        super().__init__()
        self.seconds = seconds
        self.schedule = schedule
        self.work = work
        self.started = started
        self.start_seconds = start_seconds
        self.step_seconds: float | None = None
        self._validation: float | None = None
        self._first: float | None = None
        self._traced = False

    def get_state(self) -> dict[str, Any]:
        """Return what a resumed run must know, as JSON values."""
        return {"spent": self.spent, "first": self._first, "validation": self._validation}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from `get_state()`: the time between both processes does not count."""
        self.started = time.monotonic() - state["spent"]
        self._first, self._validation = state["first"], state["validation"]

    @property
    def spent(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.started

    @property
    def reserve(self) -> float:
        """Seconds kept back for one validation and what follows the training."""
        step = self.step_seconds or 0.0
        validation = self._validation
        if validation is None:
            validation = self.work.validation_seconds(step)
        else:
            # The forward pass is known from validation then.
            step = 3 * validation * self.work.batch_size / max(self.work.val, 1)
        return validation + self.work.tail_seconds(step, self.start_seconds)

    @property
    def left(self) -> float:
        """Seconds of training left."""
        return self.seconds - self.reserve - self.spent

    def take_step_seconds(self, step_seconds: float) -> None:
        """Begin with a measured step; raise if not one epoch fits, unless training has begun.

        Raises:
            ConfigError: See `require_one_epoch`.
        """
        self.step_seconds = step_seconds
        if self._first is None:
            require_one_epoch(self.seconds, self.work, self.spent, step_seconds, self.start_seconds)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if self._first is None:
            self._first = self.spent

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._done = 0

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        first = self._first or 0.0
        available = max(self.seconds - self.reserve - first, 1e-6)
        self.schedule.share = max(self.schedule.share, (self.spent - first) / available)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._done += 1
        if self._done == 1:  # the first one waits for the images
            self._begun = time.monotonic()
        elif self._done > 5:
            self.step_seconds = (time.monotonic() - self._begun) / (self._done - 1)
        # The next step would end after the time.
        if self.left < (self.step_seconds or 0.0) / 2:
            self.model.stop_training = True

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self._tested = time.monotonic()

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        seconds = time.monotonic() - self._tested
        if not self._traced:  # the first one traces its graph as well
            seconds = min(seconds, self.work.validation_seconds(self.step_seconds or math.inf))
        self._validation, self._traced = seconds, True

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        # The rest is not worth another validation.
        if self.left < max(2 * (self.step_seconds or 0.0), self._validation or 0.0):
            self.model.stop_training = True


def require_one_epoch(
    seconds: float, work: Workload, spent: float, step_seconds: float, start_seconds: float
) -> None:
    """Raise if a time budget is too short for one epoch.

    Args:
        seconds: The budget.
        work: The numbers of images.
        spent: Seconds before training.
        step_seconds: Measured duration of a training step.
        start_seconds: Seconds that the start took.

    Raises:
        ConfigError: Names the smallest budget that works.
    """
    needed = spent + work.seconds(1, step_seconds, start_seconds)
    if needed > seconds:
        least = math.ceil(1.1 * needed / 6) / 10
        raise ConfigError(
            f"train.time_budget_minutes must be at least {least:g} here, for one epoch of "
            f"{work.steps:,} batches and the evaluation, got {seconds / 60:g}; give "
            f"--time-budget {least:g}"
        )
