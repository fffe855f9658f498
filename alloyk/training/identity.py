"""What a configuration and a checkpoint must have in common for a run to continue, as text."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from alloyk.config import Config, overlay
from alloyk.runs.lineage import CHANGEABLE
from alloyk.settings.assignments import flatten

OF_ANOTHER_VERSION = "settings of another version of alloyk"
"""The difference of a checkpoint whose settings this version does not know."""


FREE = {
    "data": {"path", "cache"},
    "train": {"strategy", "devices", "peer_timeout_seconds", "checkpoint_steps", "tensorboard"},
}
"""Settings that may differ when a run is resumed: where its images are, which
`refuse_changed_data` checks, and where and how it runs."""


def identity(config: Config) -> str:
    """The settings that must not change when a run is resumed."""
    return config.model_dump_json(exclude=FREE)


def lasting_identity(config: Config) -> str:
    """The settings that must stay the same in all parts of a schedule, see `Lineage`."""
    names: dict[str, Any] = {
        section: dict.fromkeys(keys, True) for section, keys in FREE.items()
    } | {"seed": True, "quantize": True}
    for key in CHANGEABLE:
        section, name = key.split(".")
        if name == "*":
            names[section] = True
        else:
            names.setdefault(section, {})[name] = True
    return config.model_dump_json(exclude=names)


def difference(recorded: str, current: str) -> str | None:
    """What differs between a checkpoint's text and that of a configuration; None if nothing does.

    A setting that the checkpoint's version did not have counts with its default.

    >>> now = identity(Config())
    >>> difference(now, now)
    >>> difference(now.replace('"seed":0', '"seed":1', 1), now)
    'seed 1, not 0'
    """
    if recorded == current:
        return None
    try:
        before, now = (_settings(json.loads(text)) for text in (recorded, current))
    except (ValueError, ValidationError):
        return OF_ANOTHER_VERSION
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            return f"{key} {before.get(key)}, not {now.get(key)}"
    return None


def _settings(described: Any) -> dict[str, Any]:
    """Dotted key → value, without `FREE`, with the default of what is not described."""
    if not isinstance(described, Mapping):
        raise ValueError("not the settings of a configuration")
    # `strategy` is not recorded; `single` is valid beside every other setting.
    whole = overlay(described, {"train": {"strategy": "single"}})
    return flatten(Config.model_validate(whole).model_dump(mode="json", exclude=FREE))
