"""From ``KEY=VALUE`` to checked parameters."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from alloyk.alloys import check_mass_fractions, get_alloy, thickness_tolerance_mm
from alloyk.errors import AlloykError
from alloyk.simulator.settings.parameters import Group, Parameters

ALTERNATIVES = (
    ("tube.voltage_kvp", "tube.voltage_range_kvp", "tube.voltage_steps_kvp"),
    ("exposure.photons_per_mm2", "exposure.exposure_time_s"),
    ("plate.thicknesses_mm", "plate.thickness_range_mm"),
)
"""Ways to state one thing: the one that is set sends the others back to their defaults, so that
``tube.voltage_kvp=45`` is not silently ruled by the range of voltages of a preset."""


def parameter_keys() -> tuple[str, ...]:
    """Every key that ``--set`` takes, for example ``tube.voltage_kvp``."""
    keys = []
    for name, field in Parameters.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            keys += [f"{name}.{leaf}" for leaf in field.annotation.model_fields]
        else:
            keys.append(name)
    return tuple(keys)


def parameter_value(parameters: Parameters, key: str) -> Any:
    """Value of one key of :func:`parameter_keys`."""
    for name in key.split("."):
        parameters = getattr(parameters, name)
    return parameters


def parse_settings(settings: Iterable[str]) -> dict[str, str]:
    """``["wedge.height_mm=12"]`` as a dictionary.

    Raises:
        AlloykError: A setting without an equals sign.
    """
    overrides = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise AlloykError(f"wanted KEY=VALUE, found {setting!r}")
        overrides[key.strip()] = value.strip()
    return overrides


def with_overrides(parameters: Parameters, overrides: Mapping[str, Any]) -> Parameters:
    """A copy with some parameters replaced.

    Args:
        parameters: Where to start.
        overrides: Dotted key → value; a string is read as YAML, ``"1,2,5"`` as a list. One more
            dot reaches into a mapping: ``tube.filters_mm.Cu``.

    Raises:
        AlloykError: Unknown key (with the nearest known ones), a value out of its range, or two
            keys of :data:`ALTERNATIVES` at once.

    Example:
        >>> with_overrides(Parameters(), {"wedge.height_mm": "12"}).wedge.height_mm
        12.0
        >>> with_overrides(Parameters(), {"tube.filters_mm.Cu": 0.1}).tube.filters_mm
        {'Al': 0.5, 'Cu': 0.1}
    """
    tree = parameters.model_dump()
    defaults = Parameters().model_dump()
    for names in ALTERNATIVES:
        given = [name for name in names if overrides.get(name) is not None]
        if len(given) > 1:
            raise AlloykError(f"{given[0]} and {given[1]} state the same thing: set one of them")
        for name in names if given else ():
            group, leaf = name.split(".")
            tree[group][leaf] = defaults[group][leaf]
    known = parameter_keys()
    for key, value in overrides.items():
        if isinstance(value, str):
            try:
                value = yaml.safe_load(value)
            except yaml.YAMLError:
                raise AlloykError(f"cannot read the value of {key}: {value!r}") from None
        place, _, leaf = key.rpartition(".")
        if key in known:
            (tree[place] if place else tree)[leaf] = value
        elif place in known and isinstance(parameter_value(parameters, place), dict):
            parent, _, mapping = place.rpartition(".")
            tree[parent][mapping][leaf] = value
        else:
            raise AlloykError(f"unknown simulation parameter {key!r}{_suggestion(key, known)}")
    return validate_parameters(tree)


def validate_parameters(tree: Mapping[str, Any]) -> Parameters:
    """Parameters from nested dictionaries, as in `simulation.yaml`.

    Raises:
        AlloykError: One line that names the first key at fault.
    """
    try:
        parameters = Parameters.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        found = first.get("input")
        received = "" if isinstance(found, dict | BaseModel) else f", found {found!r}"
        named = f"simulation parameter {place}: " if place else ""  # none where two disagree
        raise AlloykError(f"{named}{message}{received}") from None
    if not parameters.alloys or "" in parameters.alloys:
        raise AlloykError("wanted at least one alloy, found none")
    for label in parameters.alloys:
        alloy = get_alloy(label)
        if parameters.alloys.count(label) > 1:
            raise AlloykError(f"alloy {label} is named twice: name each class once")
        for thickness_mm in parameters.plate.thicknesses_mm:
            thickness_tolerance_mm(alloy, thickness_mm)
    for label, fractions in parameters.plate.compositions.items():
        get_alloy(label)
        check_mass_fractions(fractions)
    return parameters


def _suggestion(key: str, known: tuple[str, ...]) -> str:
    leaves = {name.rpartition(".")[2]: name for name in known}
    leaf = key.rpartition(".")[2]
    close = [name for name in known if name.rpartition(".")[2] == leaf]
    close = close or difflib.get_close_matches(key, known, n=2, cutoff=0.6)
    close = close or [leaves[name] for name in difflib.get_close_matches(leaf, leaves, 2, 0.6)]
    hint = f": did you mean {' or '.join(close)}?" if close else ";"
    return f"{hint} `alloyk simulate --list-keys` prints all keys"
