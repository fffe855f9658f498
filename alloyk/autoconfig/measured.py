"""Measure what a plan will take: the duration of the training, and the memory of one step."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from alloyk.autoconfig.plan import Choice, Plan, replanned
from alloyk.autoconfig.rules import BATCH_STEP, halved_for_time
from alloyk.autoconfig.step import StepNeed, measured_step
from alloyk.config.loading import holds
from alloyk.errors import ConfigError
from alloyk.training.keras_setup import set_up_keras, setup_undone
from alloyk.training.release import networks_released
from alloyk.training.run_clock import duration
from alloyk.training.step_cost import estimate_step
from alloyk.training.strategy import cluster_of
from alloyk.training.time_budget import Workload, require_one_epoch

MEMORY_SHARE = 0.8
"""Share of the machine's memory that a training step may take."""


def with_measured_cost(
    plan: Plan, given: Mapping[str, Any], *, started: float, memory_bytes: float
) -> Plan:
    """Run a few training steps of the plan; adapt it to the memory and to a time budget.

    The batch is halved until a step fits into memory. Then the images are halved once, if the
    budget allows too few steps; they come in larger batches, unless the batch was halved.

    Args:
        plan: The plan.
        given: The user's settings, as for `plan_training`; a batch or image size among them stays.
        started: `time.monotonic()` when the command began.
        memory_bytes: Memory of the machine.

    Raises:
        ConfigError: Nothing fits into memory, or no epoch into the time budget.
    """
    start = time.monotonic() - started
    counts = list(plan.fingerprint.classes.values())
    need, fixed = measured_step(plan.config, counts), []
    while need.peak_bytes > MEMORY_SHARE * memory_bytes:
        fixed = [_smaller_batch(plan, given, need, memory_bytes)]
        plan = replanned(plan, given, *fixed)
        need = measured_step(plan.config, counts)
    steps = _steps_in_time(plan, need.seconds, start + need.took)
    if halved := _halved_images(plan, given, steps):
        plan = replanned(plan, given, *fixed, *halved)
        need = measured_step(plan.config, counts)
    return replace(plan, cost=_lines(plan, need, start + need.took))


def in_time_budget(plan: Plan, given: Mapping[str, Any], *, started: float) -> Plan:
    """Halve the images if the time budget allows too few steps, by an estimate in this process.

    They then come in larger batches, see `halved_for_time`.

    Args:
        plan: The plan.
        given: The user's settings, as for `plan_training`; an image size or batch among them stays.
        started: `time.monotonic()` when the command began.

    Returns:
        `plan` itself if there is no time budget or enough time, or several workers train.
    """
    if cluster_of(plan.config.train) or not _halved_images(plan, given, 0):
        return plan  # without a measurement: no number of steps is too small
    with setup_undone(), networks_released():
        set_up_keras(plan.config)
        step_seconds = estimate_step(plan.config, len(plan.fingerprint.classes))
    start = time.monotonic() - started
    halved = _halved_images(plan, given, _steps_in_time(plan, step_seconds, start))
    return replanned(plan, given, *halved) if halved else plan


def _steps_in_time(plan: Plan, step_seconds: float, start: float) -> float:
    """Training steps of this duration that the time budget allows; infinite without a budget."""
    minutes = plan.config.train.time_budget_minutes
    if minutes is None:
        return math.inf
    work = _workload(plan)
    left = 60 * minutes - start - work.tail_seconds(step_seconds, start)
    return work.steps * max(left, 0.0) / work.epoch_seconds(step_seconds)


def _halved_images(plan: Plan, given: Mapping[str, Any], steps: float) -> list[Choice]:
    """Another image size and batch than the rules', if there is time for too few steps."""
    if plan.config.train.time_budget_minutes is None or holds(given, ["preprocess", "image_size"]):
        return []
    settings = halved_for_time(plan.fingerprint, plan.config, steps)
    return [Choice(*one) for one in settings if not holds(given, one[0].split("."))]


def _smaller_batch(
    plan: Plan, given: Mapping[str, Any], need: StepNeed, memory_bytes: float
) -> Choice:
    """Half the batch; raise if it is the user's or the smallest."""
    batch = plan.config.train.batch_size
    amount = "more than there is"  # the memory of a GPU, too
    if math.isfinite(need.peak_bytes):
        amount = f"{need.peak_bytes / 1e9:.1f} GB of {memory_bytes / 1e9:.1f} GB"
    found = f"{amount} with {batch} images"
    by_user = "batch_size" in given.get("train", {})
    if by_user or batch <= BATCH_STEP:
        raise ConfigError(
            f"a training step must fit into memory, got {found}; set a smaller "
            f"{'train.batch_size' if by_user else 'preprocess.image_size'}"
        )
    return Choice("train.batch_size", max(batch // 2, BATCH_STEP), f"a step took {found}")


def _lines(plan: Plan, need: StepNeed, start: float) -> tuple[str, ...]:
    """Describe the measured cost; raise if no epoch fits into the time budget."""
    work, settings = _workload(plan), plan.config.train
    step = (
        f"one step of {settings.batch_size} images: {need.seconds:.3f} s, at most "
        f"{need.peak_bytes / 1e9:.1f} GB of memory"
    )
    if settings.time_budget_minutes is None:
        whole = start + work.seconds(settings.epochs, need.seconds, start)
        return step, f"training takes about {duration(whole)} on this machine"
    require_one_epoch(60 * settings.time_budget_minutes, work, start, need.seconds, start)
    return step, f"training takes {duration(60 * settings.time_budget_minutes)}, as set"


def _workload(plan: Plan) -> Workload:
    images = plan.fingerprint.images
    return Workload(
        images["train"], images["val"], images["test"], plan.config.train.batch_size,
        plan.measuring_seconds,
    )  # fmt: skip
