"""What a configuration and a checkpoint must have in common for a run to continue, as text."""

from typing import Any

from alloyk.config import Config
from alloyk.runs.lineage import CHANGEABLE


def identity(config: Config) -> str:
    """The configuration without the path of its data, which `refuse_changed_data` checks.

    Settings that earlier checkpoints do not have count only if they are set.
    """
    newer = ("time_budget_minutes", "average_weights")
    unset = {name for name in newer if getattr(config.train, name) is None}
    # None of them changes the result.
    where = {"strategy", "peer_timeout_seconds", "checkpoint_steps"}
    excluded: dict[str, Any] = {"data": {"path"}, "train": unset | where}
    if config.quantize.run is None:
        excluded["quantize"] = True
    return config.model_dump_json(exclude=excluded)


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
