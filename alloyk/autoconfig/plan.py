"""Apply the rules under the user's settings, and write the plan as YAML with its reasons."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from alloyk.auditing.balance import FEW_TRAIN_IMAGES
from alloyk.autoconfig.fingerprint import Fingerprint, fingerprint_of, series_as_groups
from alloyk.autoconfig.rules import RULES, Rule, cache
from alloyk.config import Config, combine, overlay, resolve_config
from alloyk.config.loading import holds
from alloyk.data import ImageDataset
from alloyk.data.source import open_dataset
from alloyk.errors import ConfigError, DataError
from alloyk.inference.measuring import measuring_seconds
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runtime.memory import usable_memory_bytes
from alloyk.settings.assignments import nest
from alloyk.settings.dialect import dump_inline

logger = logging.getLogger(__name__)

BY_USER = "set by you"
GROUP_BY = "data.group_by"


MADE_BY = "# Made by alloyk for"
"""First words of a configuration that the rules have made."""


@dataclass(frozen=True)
class Choice:
    """One setting of a plan.

    Attributes:
        key: Dotted key.
        value: Its value.
        reason: Why.
    """

    key: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Plan:
    """The settings made for a data set.

    Attributes:
        fingerprint: What was measured.
        config: The whole configuration.
        choices: The settings that the user or a rule has chosen, in the order of the sections.
        cost: Lines about duration and memory; empty where they were not measured.
        measuring_seconds: How long the raw images are measured after training, see
            `alloyk.inference.measuring`.
    """

    fingerprint: Fingerprint
    config: Config
    choices: tuple[Choice, ...]
    cost: tuple[str, ...] = ()
    measuring_seconds: float = 0.0

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that rules have chosen, nested, without those of the user."""
        planned: dict[str, Any] = {}
        for choice in self.choices:
            if choice.reason != BY_USER:
                planned = combine(planned, nest({choice.key: choice.value}, Config))
        return planned

    def to_yaml(self) -> str:
        """Return the configuration file: `alloyk train` takes it, each value has its reason."""
        lines = [
            f"{MADE_BY} {self.fingerprint.source}; edit it, then run",
            "#   alloyk train THIS_FILE",
            *(f"# {line}" for line in (*self.fingerprint.lines(), *self.cost)),
        ]
        top = [choice for choice in self.choices if "." not in choice.key]
        lines += [_line(choice.key, choice) for choice in top]
        for section in dict.fromkeys(c.key.partition(".")[0] for c in self.choices if c not in top):
            lines.append(f"{section}:")
            lines += [
                f"  {_line(choice.key.partition('.')[2], choice)}"
                for choice in self.choices
                if choice.key.startswith(f"{section}.")
            ]
        return "\n".join(lines) + "\n"

    def lines(self) -> list[str]:
        """Describe the chosen settings in short lines."""
        return [f"{c.key} = {dump_inline(c.value)}  ({c.reason})" for c in self.choices]


def plan_training(
    given: Mapping[str, Any],
    progress: Progress = NO_PROGRESS,
    held_out: Mapping[str, str | None] | None = None,
) -> Plan:
    """Make a configuration for a data set.

    Args:
        given: The user's settings, nested, as from `parse_overrides`, which are never changed. They
            must have `data.path`.
        progress: Progress display of the measuring, see `alloyk.progress`.
        held_out: Settings of `data` for measuring only, such as `fold`, where each later run holds
            out another part.

    Raises:
        ConfigError: A setting is wrong, or there is no data set.
        DataError: The data set cannot be used.
    """
    config = resolve_config(None, overlay(given, {"data": dict(held_out or {})}))
    if config.recipe == "study":
        raise ConfigError(
            "recipe must be alloyk to make a configuration, got study, which is Table 1 unchanged; "
            "train with it: alloyk train --data DATA --set recipe=study"
        )
    if config.data.path is None:
        raise ConfigError("data.path must be set to make a configuration, got none; pass DATA")
    dataset, by = _grouped_dataset(config)
    fixed: tuple[Choice, ...] = ()
    if by:
        reason = "file names identify series of images; no series is in two splits"
        fixed = (Choice(GROUP_BY, by, reason),)
    found = fingerprint_of(dataset, progress)
    _warn_of_few(found)
    plan = _apply_rules(given, found, fixed)
    return replace(plan, measuring_seconds=measuring_seconds(dataset))


def replanned(plan: Plan, given: Mapping[str, Any], *fixed: Choice) -> Plan:
    """Apply the rules again to the same fingerprint, with other settings of the user.

    Args:
        plan: The plan.
        given: The user's settings, as for `plan_training`.
        fixed: Settings, not of the user, that are fixed before the rules are applied.
    """
    grouped = [one for one in plan.choices if one.key == GROUP_BY and one.reason != BY_USER]
    again = _apply_rules(given, plan.fingerprint, (*grouped, *fixed))
    return replace(again, measuring_seconds=plan.measuring_seconds)


def _apply_rules(given: Mapping[str, Any], found: Fingerprint, fixed: Sequence[Choice]) -> Plan:
    """Apply all rules to a fingerprint, under the user's and the fixed settings."""
    planned: dict[str, Any] = {}
    for choice in fixed:
        planned = combine(planned, nest({choice.key: choice.value}, Config))
    reasons = {choice.key: choice.reason for choice in fixed}
    rules: tuple[Rule, ...] = (*RULES, partial(cache, memory_bytes=usable_memory_bytes()))
    for rule in rules:
        config = resolve_config(None, given, planned)
        for key, value, reason in rule(found, config):
            if not holds(given, key.split(".")) and key not in reasons:
                planned = combine(planned, nest({key: value}, Config))
                reasons[key] = reason
    config = resolve_config(None, given, planned)
    return Plan(found, config, tuple(_choices(given, planned, reasons, config)))


def _grouped_dataset(config: Config) -> tuple[ImageDataset, str | None]:
    """The data set, split by the series in its file names where that is possible and needed."""
    dataset = open_dataset(config.data_settings())
    by = None if config.data.group_by is not None else series_as_groups(dataset)
    if by is None:
        return dataset, None
    try:
        return open_dataset(replace(config.data_settings(), group_by=by)), by
    except DataError:  # too few series for three splits: by image, as without series
        return dataset, None


def _warn_of_few(found: Fingerprint) -> None:
    small = [
        f"{name} ({count})" for name, count in found.classes.items() if count < FEW_TRAIN_IMAGES
    ]
    if small:
        logger.warning(
            "fewer than %d training images of %s: results are unreliable; add images of more "
            "plates", FEW_TRAIN_IMAGES, ", ".join(small),
        )  # fmt: skip


def _choices(
    given: Mapping[str, Any], planned: Mapping[str, Any], reasons: Mapping[str, str], config: Config
) -> Iterator[Choice]:
    """All chosen settings with their values in `config`, in the order of its sections.

    Planned settings that do not apply to the user's choice, such as options of another optimizer,
    are left out.
    """
    plain = config.model_dump(mode="json")
    sections = list(plain)
    leaves = _leaves(overlay(planned, given))
    both = sorted(leaves, key=lambda leaf: sections.index(leaf[0].partition(".")[0]))
    for key, value in both:
        held = _lookup(plain, key)
        if holds(given, key.split(".")):
            yield Choice(key, value if held is None else held, BY_USER)
        elif held == value:
            yield Choice(key, held, reasons[key])


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and not prefix:
            yield from _leaves(value, f"{key}.")
        else:
            yield f"{prefix}{key}", value


def _lookup(settings: Any, key: str) -> Any:
    for part in key.split("."):
        settings = settings.get(part) if isinstance(settings, Mapping) else None
    return settings


def _line(key: str, choice: Choice) -> str:
    return f"{key}: {dump_inline(choice.value)}  # {choice.reason}"
