"""How long a training run takes: measured before it starts, estimated again after each epoch."""

import logging
import time
from typing import Any

import keras
import tensorflow as tf

from alloyk.config import Config
from alloyk.training.build import paced_schedule_of
from alloyk.training.phases import Phase
from alloyk.training.step_cost import StepCost, measure_step
from alloyk.training.time_budget import START_SECONDS, TimeBudget, Workload

logger = logging.getLogger(__name__)


class RunClock:
    """Counts the time of one run.

    Args:
        work: The numbers of images.
        started: `time.monotonic()` when the run began; None: now.

    Attributes:
        work: The numbers of images.
        started: When the run began.
        cost: What a training step of the phase takes; None before `measure`.
        budget: The time budget, if there is one.
    """

    def __init__(self, work: Workload, started: float | None = None) -> None:
        self.work = work
        self.start_seconds = START_SECONDS
        if started is not None:
            self.start_seconds = time.monotonic() - started
        self.started = time.monotonic() if started is None else started
        self.cost: StepCost | None = None
        self._phase: Phase | None = None
        self.budget: TimeBudget | None = None

    def budget_for(self, config: Config, network: keras.Model) -> list[TimeBudget]:
        """The callback that keeps the time budget of a compiled network; none without one."""
        minutes = config.train.time_budget_minutes
        if minutes is None:
            return []
        schedule = paced_schedule_of(network)
        before, self.budget = self.budget, TimeBudget(
            60 * minutes, schedule, self.work, started=self.started,
            start_seconds=self.start_seconds,
        )  # fmt: skip
        if before is not None:  # of the phase with a frozen backbone
            self.budget.set_state(before.get_state())
        return [self.budget]

    def measure(self, phase: Phase, network: keras.Model, element_spec: Any, epochs: int) -> None:
        """Measure a step of the compiled network, and log how long the phase will take.

        Does nothing if a step of this phase has been measured before.

        Args:
            phase: What is about to be trained.
            network: The network, compiled for it.
            element_spec: That of its batches.
            epochs: Epochs of the phase that are left.

        Raises:
            ConfigError: Not one epoch fits into the time budget of a run that begins.
        """
        if phase == self._phase:
            return
        self._phase = phase
        self.cost = cost = measure_step(network, element_spec, self.work.batch_size)
        memory = f"{cost.seconds:.2f} s per batch"
        if not tf.config.list_physical_devices("GPU"):
            memory += f", at most {cost.peak_bytes / 1e9:.1f} GB of memory"
        if self.budget is None:
            seconds = epochs * self.work.epoch_seconds(cost.seconds)
            if not phase.frozen:
                seconds += self.work.tail_seconds(cost.seconds, self.start_seconds)
            logger.info(
                "%d epochs of %d batches%s: about %s (%s)",
                epochs, self.work.steps, " with a frozen backbone" if phase.frozen else "",
                duration(seconds), memory,
            )  # fmt: skip
            return
        self.budget.take_step_seconds(cost.seconds)
        logger.info(
            "time budget of %s, %s of it left for training (%s)",
            duration(self.budget.seconds), duration(self.budget.left), memory,
        )  # fmt: skip

    def left(self, epochs: int, epoch_seconds: float) -> str:
        """How long the run will still take, as text.

        Args:
            epochs: Epochs that are left; not used with a time budget.
            epoch_seconds: Duration of the last one, validation included.
        """
        if self.budget is not None:
            return duration(max(self.budget.seconds - self.budget.spent, 0.0))
        step = self.cost.seconds if self.cost else epoch_seconds / max(self.work.steps, 1)
        return duration(epochs * epoch_seconds + self.work.tail_seconds(step, self.start_seconds))


def duration(seconds: float) -> str:
    """A duration for reading.

    >>> duration(12.3), duration(100), duration(3700)
    ('12 s', '1 min 40 s', '1 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{round(whole / 60)} min"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min"
