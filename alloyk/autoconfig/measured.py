"""Measure what a plan will take: the duration of the training, and the memory of one step."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from alloyk.autoconfig.plan import Choice, Plan, replanned
from alloyk.autoconfig.rules import BATCH_STEP
from alloyk.autoconfig.step import StepNeed, measured_step
from alloyk.errors import ConfigError
from alloyk.training.run_clock import duration
from alloyk.training.time_budget import Workload, require_one_epoch

MEMORY_SHARE = 0.8
"""Share of the machine's memory that a training step may take."""


def with_measured_cost(
    plan: Plan, given: Mapping[str, Any], *, started: float, memory_bytes: float
) -> Plan:
    """Run a few training steps of the plan; halve its batch until they fit into memory.

    Args:
        plan: The plan.
        given: The user's settings, as for `plan_training`; a batch size among them stays.
        started: `time.monotonic()` when the command began.
        memory_bytes: Memory of the machine.

    Raises:
        ConfigError: Nothing fits into memory, or no epoch into the time budget.
    """
    start = time.monotonic() - started
    counts = list(plan.fingerprint.classes.values())
    need = measured_step(plan.config, counts)
    while need.peak_bytes > MEMORY_SHARE * memory_bytes:
        plan = _with_smaller_batch(plan, given, need, memory_bytes)
        need = measured_step(plan.config, counts)
    return replace(plan, cost=_lines(plan, need, start + need.took))


def _with_smaller_batch(
    plan: Plan, given: Mapping[str, Any], need: StepNeed, memory_bytes: float
) -> Plan:
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
    smaller = Choice("train.batch_size", max(batch // 2, BATCH_STEP), f"a step took {found}")
    return replanned(plan, given, smaller)


def _lines(plan: Plan, need: StepNeed, start: float) -> tuple[str, ...]:
    """Describe the measured cost; raise if no epoch fits into the time budget."""
    images, settings = plan.fingerprint.images, plan.config.train
    work = Workload(images["train"], images["val"], images["test"], settings.batch_size)
    step = (
        f"one step of {settings.batch_size} images: {need.seconds:.3f} s, at most "
        f"{need.peak_bytes / 1e9:.1f} GB of memory"
    )
    if settings.time_budget_minutes is None:
        whole = start + work.seconds(settings.epochs, need.seconds, start)
        return step, f"training takes about {duration(whole)} on this machine"
    require_one_epoch(60 * settings.time_budget_minutes, work, start, need.seconds, start)
    return step, f"training takes {duration(60 * settings.time_budget_minutes)}, as set"
