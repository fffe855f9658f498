"""`KEY=VALUE` texts, and how sets of settings are combined.

Settings from one source are combined: their order does not matter, and a contradiction is an
error. Settings from a stronger source override those from a weaker one.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from alloyk.errors import ConfigError
from alloyk.settings.dialect import parse_yaml
from alloyk.settings.problems import shown_value
from alloyk.settings.schema import section_classes
from alloyk.settings.section import Section


def parse_assignments(settings: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """Dotted key → value of `KEY=VALUE` texts, values read as YAML.

    Args:
        settings: Texts.
        option: The option that they were given by, for messages.

    Raises:
        ConfigError: A text is not `KEY=VALUE`, or a key has two different values.

    >>> parse_assignments(["train.epochs=3", "loss.name=focal"])
    {'train.epochs': 3, 'loss.name': 'focal'}
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals or not all(key.split(".")):
            raise ConfigError(
                f"{option} must be KEY=VALUE, got {setting!r}; for example train.epochs=20"
                if option == "--set"
                else f"{option} must be KEY=VALUE, got {setting!r}"
            )
        try:
            value = parse_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"{option} {key} must be a YAML value, got {text!r}; put text in quotes"
            ) from error
        values[key] = _same(key, values.get(key, value), value)
    return values


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key → value of nested settings; an empty mapping is a value.

    >>> flatten({"seed": 0, "train": {"epochs": 3}, "multitask": {"weights": {}}})
    {'seed': 0, 'train.epochs': 3, 'multitask.weights': {}}
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nest(values: Mapping[str, Any], model: type[Section]) -> dict[str, Any]:
    """Nested dictionary of dotted keys, as deep as the sections of `model` go.

    What follows the key of a mapping is one key of it, dots included: a column of a manifest, or
    a parameter of the simulator.

    Raises:
        ConfigError: Two keys contradict each other.
    """
    nested: dict[str, Any] = {}
    for key, value in values.items():
        nested = combine(nested, _nest_one(key.split("."), value, [model]))
    return nested


def _nest_one(parts: list[str], value: Any, sections: list[type[Section]]) -> Any:
    """`value` under the keys `parts` of any of `sections`."""
    if not parts:
        return value
    fields = [
        section.model_fields[parts[0]] for section in sections if parts[0] in section.model_fields
    ]
    below = [found for field in fields for found in section_classes(field)]
    if fields and not below and len(parts) > 1:
        return {parts[0]: {".".join(parts[1:]): value}}
    return {parts[0]: _nest_one(parts[1:], value, below)}


def combine(first: Mapping[str, Any], second: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Both nested dictionaries of settings, which come from one source.

    Raises:
        ConfigError: They give one key two values.

    >>> combine({"optimizer": {"learning_rate": 0.5}}, {"optimizer": {"name": "sgd"}})
    {'optimizer': {'learning_rate': 0.5, 'name': 'sgd'}}
    """
    merged = dict(first)
    for key, value in second.items():
        name = f"{place}{key}"
        old = merged.get(key, value)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = combine(old, value, f"{name}.")
        else:
            merged[key] = _same(name, old, value)
    return merged


def overlay(base: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """`update` over `base`, key by key; the update comes from a stronger source.

    >>> overlay({"train": {"epochs": 3, "batch_size": 8}}, {"train": {"epochs": 5}})
    {'train': {'epochs': 5, 'batch_size': 8}}
    """
    merged = dict(base)
    for key, value in update.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = overlay(old, value)
        else:
            merged[key] = value
    return merged


def _same(key: str, first: Any, second: Any) -> Any:
    if repr(first) != repr(second):
        raise ConfigError(
            f"{key} must be given once, got {shown_value(first)} and {shown_value(second)}"
        )
    return second
