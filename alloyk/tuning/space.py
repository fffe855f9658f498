"""Search spaces: dotted keys of the configuration, each with choices or a range.

optimizer.learning_rate: {min: 1e-4, max: 1e-2, log: true}
model.dropout: [0.1, 0.3, 0.5]
train.batch_size: {min: 16, max: 64, step: 16}
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras_tuner
import yaml

from alloyk.config import parse_overrides, parse_yaml, read_yaml
from alloyk.errors import AlloykError

RANGE_KEYS = {"min", "max", "step", "log"}
# Keys that change the images a trial is evaluated on: its result could not be compared.
FIXED_KEYS = frozenset(
    f"data.{name}"
    for name in (
        "path", "simulate", "ratios", "group_by", "split_seed", "fold", "leave_out", "on_bad_image",
    )
)  # fmt: skip


def read_space(path: Path) -> dict:
    """The search space of a YAML file, flat or nested like a configuration.

    Raises:
        AlloykError: The file holds no search space.
    """
    space: dict = {}

    def flatten(prefix: str, content: Mapping) -> None:
        for key, value in content.items():
            name = f"{prefix}{key}"
            if isinstance(value, Mapping) and not {"min", "max"} <= set(value):
                flatten(f"{name}.", value)
            else:
                space[name] = value

    flatten("", read_yaml(path))
    if not space:
        raise AlloykError(
            f"{path} must name a key to search over; write for example model.dropout: [0.1, 0.3]"
        )
    return space


def space_from(sweeps: Iterable[str]) -> dict:
    """The search space of `KEY=A,B,C` strings, values read as YAML.

    >>> space_from(["model.dropout=0.1,0.3", "preprocess.image_size=[32,48],[64,64]"])
    {'model.dropout': [0.1, 0.3], 'preprocess.image_size': [[32, 48], [64, 64]]}
    """
    space: dict = {}
    for sweep in sweeps:
        key, equals, text = sweep.partition("=")
        try:
            choices = parse_yaml(f"[{text}]")
        except yaml.YAMLError:
            choices = []
        if not equals or not key or not choices:
            raise AlloykError(
                f"--over must be KEY=A,B,…, got {sweep!r}; write for example model.dropout=0.1,0.3"
            )
        space[key] = choices
    return space


def hyperparameters_of(space: Mapping) -> keras_tuner.HyperParameters:
    """Keras Tuner's description of a search space.

    Choices are encoded as JSON text, so that a list or null can be a choice.

    Raises:
        AlloykError: A key has no choices or no valid range, or would change the images that
            trials are compared on.
    """
    hp = keras_tuner.HyperParameters()
    for key, values in space.items():
        if ".".join(key.split(".")[:2]) in FIXED_KEYS:
            raise AlloykError(
                f"search space, {key}: trials must be compared on the same images; set it with "
                "--set, and search once for each value"
            )
        if isinstance(values, Mapping):
            _add_range(hp, key, values)
        elif isinstance(values, list) and values:
            hp.Choice(key, [json.dumps(value) for value in values])
        else:
            raise AlloykError(
                f"search space, {key}: must be a list of choices or {{min: …, max: …}}, got "
                f"{values!r}"
            )
    return hp


def _add_range(hp: keras_tuner.HyperParameters, key: str, values: Mapping) -> None:
    unknown = set(values) - RANGE_KEYS
    try:
        low, high = float(values["min"]), float(values["max"])
        step = values.get("step")
        step = None if step is None else float(step)
    except (KeyError, TypeError, ValueError):
        low, high, step = 1.0, 0.0, None
    log = bool(values.get("log"))
    if unknown or low >= high or (log and (low <= 0 or step is not None)) or (step or 1) <= 0:
        raise AlloykError(
            f"search space, {key}: must be {{min: A, max: B}} with A < B, optionally with step, or "
            f"with log and A > 0; got {dict(values)}"
        )
    whole = all(isinstance(values[name], int) for name in ("min", "max", "step") if name in values)
    sampling = "log" if log else "linear"
    if whole:
        hp.Int(key, int(low), int(high), step=int(step) if step else None, sampling=sampling)
    else:
        hp.Float(key, low, high, step=step, sampling=sampling)


def overrides_of(values: Mapping) -> dict:
    """The nested configuration overrides of a trial's values."""
    return parse_overrides(f"{key}={as_yaml(value)}" for key, value in values.items())


def as_yaml(value: Any) -> str:
    """A value of a trial as YAML text."""
    return value if isinstance(value, str) else json.dumps(value)


def refuse_endless_ranges(hp: keras_tuner.HyperParameters) -> None:
    """Raise if a grid has a real range without step: Keras Tuner would choose ten values."""
    for one in hp.space:
        if isinstance(one, keras_tuner.engine.hyperparameters.Float) and one.step is None:
            raise AlloykError(
                f"search space, {one.name}: a grid needs a list of values, or min, max and step; "
                "use --search random for a range without step"
            )
