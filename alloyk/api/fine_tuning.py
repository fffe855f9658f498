"""The configuration of a quantisation-aware fine-tuning."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.errors import ConfigError

if TYPE_CHECKING:
    from alloyk.config import Config

SHARE_OF_EPOCHS = 0.1
MIN_EPOCHS = 3
SHARE_OF_LEARNING_RATE = 0.01


def fine_tuning_config(run: str | Path, overrides: Mapping[str, Any]) -> "Config":
    """Return the configuration that fine-tunes a run: the run's own, with another schedule.

    A tenth of the run's epochs, at least 3, from a hundredth of its learning rate down to 0 along a
    cosine, as [Wu et al., 2020](https://arxiv.org/abs/2004.09602) found enough for int8. That it
    starts from the trained network, and not from random weights, is the advice of
    [Krishnamoorthi, 2018](https://arxiv.org/abs/1806.08342), section 3.2, and
    [Nagel et al., 2021](https://arxiv.org/abs/2106.08295), section 5.

    Args:
        run: The finished run.
        overrides: Nested settings of the user, which take precedence.

    Raises:
        ConfigError: A setting is wrong, or describes another network.
        ModelError: The run cannot be fine-tuned.
        DataError: The run's data set is not there, and none is given.
    """
    from alloyk.config import overlay, resolve_config
    from alloyk.config.recipes import override
    from alloyk.runs.fine_tuning import refuse_unsuitable
    from alloyk.runs.folder import RunFolder
    from alloyk.runs.run_data import refuse_missing_data

    refuse_unsuitable(run)
    _refuse_another_network(overrides)
    folder = RunFolder(run)
    if "path" not in overrides.get("data", {}):
        refuse_missing_data(run, "give its new location with --data")
    own = resolve_config(folder.config_file)
    history = folder.history
    epochs = history.epochs if history else own.train.epochs
    settings = overlay(
        {key: value for key, value in own.model_dump(mode="json").items() if key != "schedule"},
        {
            "quantize": {"run": str(folder.path.absolute())},
            "optimizer": {"learning_rate": own.optimizer.learning_rate * SHARE_OF_LEARNING_RATE},
            "schedule": {"name": "cosine", "warmup_epochs": 0, "final_fraction": 0},
            "model": {"freeze_epochs": 0},
            "train": {
                "epochs": max(MIN_EPOCHS, math.ceil(epochs * SHARE_OF_EPOCHS)),
                "patience": None, "start_from_epoch": 0, "time_budget_minutes": None,
                "average_weights": None, "strategy": "single", "mixed_precision": False,
            },
        },
    )  # fmt: skip
    return resolve_config(None, override(settings, dict(overrides)))


def _refuse_another_network(overrides: Mapping[str, Any]) -> None:
    """Raise ConfigError for a setting that must be that of the source run."""
    for section in ("model", "preprocess"):
        if changed := overrides.get(section):
            raise ConfigError(
                f"{section}.{sorted(changed)[0]} must be that of the run to fine-tune; omit it"
            )
    if "run" in (overrides.get("quantize") or {}):
        raise ConfigError("quantize.run is the run to fine-tune; omit it")
