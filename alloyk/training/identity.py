"""What a configuration and a checkpoint must have in common for a run to continue, as text."""

import json
from typing import Any

from pydantic import ValidationError

from alloyk.config import Config
from alloyk.runs.lineage import CHANGEABLE

OF_ANOTHER_VERSION = "settings of another version of alloyk"
"""The difference of a checkpoint whose settings this version does not know."""


def identity(config: Config) -> str:
    """The configuration without the path of its data, which `refuse_changed_data` checks."""
    # None of them changes the result.
    where = {"strategy", "peer_timeout_seconds", "checkpoint_steps"}
    return config.model_dump_json(exclude={"data": {"path"}, "train": where})


def lasting_identity(config: Config) -> str:
    """The settings that stay the same while others change between epochs; neither has the seed."""
    names: dict[str, Any] = {
        "seed": True, "data": {"path": True}, "train": {"checkpoint_steps": True}, "quantize": True,
    }  # fmt: skip
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
    """Dotted key → value, with the default of each setting that is not described."""
    found: dict[str, Any] = {}

    def collect(value: Any, key: str) -> None:
        if isinstance(value, dict) and value:
            for name, one in value.items():
                collect(one, f"{key}.{name}")
        else:
            found[key] = value

    for section, value in Config.model_validate(described).model_dump(mode="json").items():
        collect(value, section)
    return found
