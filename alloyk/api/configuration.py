"""Make a configuration from a data set."""

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.api.settings import Settings, configuration_overrides
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runtime.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from alloyk.autoconfig import Plan
    from alloyk.runs.planned import Planned

logger = logging.getLogger(__name__)


def configure(
    data: str | Path,
    *,
    arch: str | None = None,
    time_budget: float | None = None,
    out: str | Path | None = None,
    set: Settings = (),
    progress: Progress = NO_PROGRESS,
) -> "Plan":
    """Make a configuration for a data set, as `alloyk configure` does.

    Args:
        data: Data set: a folder or a `manifest.csv`.
        arch: Architecture; by default the rules choose it.
        time_budget: Time limit of the training in minutes, including start and evaluation.
        out: File to write: a new one, or an earlier configuration of this function.
        set: Settings to keep, for example `{"preprocess.image_size": 64}`.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        The plan: `to_yaml()` for `alloyk train`, `choices` with a reason each, `fingerprint`,
        `config`, and in `cost` what one measured step and the whole training take.

    Raises:
        ConfigError: A setting is wrong, no epoch fits into the time budget, or `out` is another
            file or lies in a run.
        DataError: The data set cannot be used.

    Example:
        >>> import alloyk
        >>> plan = alloyk.configure("sorted/", out="sorted.yaml")  # doctest: +SKIP
        >>> run = alloyk.train("sorted.yaml")  # doctest: +SKIP
    """
    from alloyk.autoconfig import plan_training
    from alloyk.files import whole_file
    from alloyk.runtime.memory import usable_memory_bytes

    started = time.monotonic()
    if out is not None:
        _refuse_other_configuration(Path(out))
    given = configuration_overrides(set, arch, data, time_budget)
    plan = plan_training(given, progress)
    load_tensorflow()
    from alloyk.autoconfig.measured import with_measured_cost

    plan = with_measured_cost(plan, given, started=started, memory_bytes=usable_memory_bytes())
    if out is not None:
        with whole_file(Path(out)) as unfinished:
            unfinished.write_text(plan.to_yaml(), encoding="utf-8")
    return plan


def _refuse_other_configuration(out: Path) -> None:
    """Require a file that is absent or that `configure` has made, and that no run holds."""
    from alloyk.autoconfig.plan import MADE_BY
    from alloyk.runs.destination import refuse_other_content, refuse_other_run

    refuse_other_run(out)
    refuse_other_content(
        out, lambda head: head.startswith(MADE_BY.encode()), "one made by alloyk configure"
    )


def planned_for(
    config: str | Path | None,
    given: Mapping[str, Any],
    progress: Progress,
    held_out: Mapping[str, str | None] | None = None,
) -> "Plan | None":
    """The plan that a training run without a configuration file uses; logged with its reasons.

    `held_out` is as for `alloyk.autoconfig.plan_training`.

    Returns:
        None if there is a file, the data set is the embedded default, or the recipe is `study`,
        which is never changed.
    """
    if config is not None or given.get("recipe") == "study":
        return None
    if not isinstance(given.get("data"), Mapping) or given["data"].get("path") is None:
        return None
    from alloyk.autoconfig import plan_training

    plan = plan_training(given, progress, held_out)
    logger.info("configured for %s:\n  %s", plan.fingerprint.source, "\n  ".join(plan.lines()))
    return plan


def planned_in_time(plan: "Plan", given: Mapping[str, Any], started: float) -> "Plan":
    """The plan with smaller images, if its time budget needs them; logged with the reason.

    Args:
        plan: The plan of a training run.
        given: The user's settings.
        started: `time.monotonic()` when the command began.
    """
    if plan.config.train.time_budget_minutes is None:
        return plan
    load_tensorflow()
    from alloyk.autoconfig.measured import in_time_budget

    fitted = in_time_budget(plan, given, started=started)
    changed = [line for line in fitted.lines() if line not in plan.lines()]
    if changed:
        logger.info("changed for the time budget:\n  %s", "\n  ".join(changed))
    return fitted


def planned_once(
    config: str | Path | None,
    given: Mapping[str, Any],
    progress: Progress,
    *,
    recorded: "Planned | None" = None,
    architectures: Iterable[str] = (),
    held_out: Mapping[str, str | None] | None = None,
) -> "Planned":
    """The settings that all training runs of a search or of a cross-validation start from.

    Args:
        config: The user's configuration file.
        given: The user's settings.
        progress: Progress display of the measuring.
        recorded: The plan that was recorded at the start; it is used unchanged.
        architectures: Further architectures that it trains.
        held_out: As for `alloyk.autoconfig.plan_training`.
    """
    from alloyk.autoconfig.plan import replanned
    from alloyk.config import overlay
    from alloyk.runs.planned import NOT_PLANNED, Planned

    if recorded is not None and (not recorded.arch or {*architectures} <= {*recorded.settings}):
        if recorded.arch:
            logger.info("settings are those chosen at the start, see plan.yaml")
        return recorded
    plan = planned_for(config, given, progress, held_out)
    if plan is None:
        return NOT_PLANNED
    arch = plan.config.model.arch
    settings = {arch: plan.settings} | {
        other: replanned(plan, overlay(given, {"model": {"arch": other}})).settings
        for other in architectures
        if other != arch
    }
    if recorded is not None:
        return recorded._replace(settings={**settings, **recorded.settings})
    return Planned(arch, settings, plan.to_yaml())
