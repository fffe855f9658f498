"""Search spaces: dotted keys of the configuration, each with choices or a range.

model.dropout: [0.1, 0.3, 0.5]
train.batch_size: {min: 16, max: 64, step: 16}
optimizer.learning_rate: {min: 1e-4, max: 1e-2, log: true}
optimizer.name: [adam, momentum]
optimizer.momentum: {min: 0.5, max: 0.99, when: {optimizer.name: momentum}}
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from alloyk.config import combine, parse_overrides, parse_yaml, read_yaml
from alloyk.errors import AlloykError, ConfigError
from alloyk.runs.search_space import Parameter, parameters_of
from alloyk.settings.dialect import as_yaml


def read_space(path: Path) -> dict:
    """The search space of a YAML file, flat or nested like a configuration.

    Raises:
        AlloykError: The file holds no search space.
    """
    space: dict = {}

    def flatten(prefix: str, content: Mapping) -> None:
        for key, value in content.items():
            name = f"{prefix}{key}"
            if isinstance(value, Mapping) and not _is_parameter(value):
                flatten(f"{name}.", value)
            else:
                space[name] = value

    flatten("", read_yaml(path))
    if not space:
        raise AlloykError(
            f"{path} must name a key to search over; write for example model.dropout: [0.1, 0.3]"
        )
    return space


def _is_parameter(value: Mapping) -> bool:
    return "choices" in value or bool({"min", "max"} & set(value))


def space_from(sweeps: Iterable[str]) -> dict:
    """The search space of `KEY=A,B,C` strings, values read as YAML.

    >>> space_from(["model.dropout=0.1,0.3", "preprocess.image_size=[32,48],[64,64]"])
    {'model.dropout': [0.1, 0.3], 'preprocess.image_size': [[32, 48], [64, 64]]}

    Raises:
        AlloykError: A text is not of this form, or a key has two different lists.
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
        space = combine(space, {key: choices})
    return space


def architectures_in(space: Mapping[str, Any]) -> list[str]:
    """The architectures that a search space names.

    >>> architectures_in({"model.arch": ["cnn", "fnn"]}), architectures_in({"model.width": [8]})
    (['cnn', 'fnn'], [])

    Raises:
        ConfigError: The space is wrong.
    """
    choices = [one.choices for one in parameters_of(space) if one.key == "model.arch"]
    return [str(json.loads(text)) for one in choices for text in one]


def complete(parameters: Iterable[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of every active parameter: those given, and defaults for the others."""
    values: dict[str, Any] = {}
    for one in parameters:
        if one.is_active(values):
            values[one.key] = given.get(one.key, one.default)
    return values


def extremes(parameters: tuple[Parameter, ...]) -> Iterator[dict[str, Any]]:
    """Value sets in which each choice and each end of a range is taken once."""
    for one in parameters:
        parents: dict[str, Any] = {}
        for key in _ancestors(one, parameters):
            parents.setdefault(key[0], key[1])
        for value in one.ends():
            yield complete(parameters, {**parents, one.key: value})


def _ancestors(one: Parameter, parameters: tuple[Parameter, ...]) -> Iterator[tuple[str, str]]:
    """The keys, with a value each, for which a parameter is active."""
    for key, allowed in one.when.items():
        yield key, allowed[0]
        yield from _ancestors(next(p for p in parameters if p.key == key), parameters)


def overrides_of(values: Mapping[str, Any]) -> dict:
    """The nested configuration overrides of a trial's values.

    Keys with a slash belong to Keras Tuner, not to the configuration.
    """
    return parse_overrides(
        f"{key}={as_yaml(value)}" for key, value in values.items() if "/" not in key
    )


# Keys that change the images a trial is evaluated on: its result could not be compared.
FIXED_KEYS = frozenset(
    f"data.{name}"
    for name in (
        "path", "page", "raw", "hdf5_path", "channels", "simulate", "ratios", "group_by",
        "split_seed", "fold", "leave_out", "on_bad_image",
    )
)  # fmt: skip


def refuse_other_images(parameters: Iterable[Parameter]) -> None:
    """Raise if a key changes the images that trials are compared on."""
    for one in parameters:
        if ".".join(one.key.split(".")[:2]) in FIXED_KEYS:
            raise ConfigError(
                f"search space, {one.key}: trials must be compared on the same images; set it with "
                "--set, and search once for each value"
            )


def refuse_ranges_without_step(parameters: Iterable[Parameter]) -> None:
    """Raise if a grid has a real or logarithmic range: Keras Tuner would choose ten values."""
    for one in parameters:
        if not one.choices and one.step is None and (one.log or not one.whole):
            raise ConfigError(
                f"search space, {one.key}: a grid needs a list of values, or min, max and step; "
                "use --search random for a range without step"
            )
