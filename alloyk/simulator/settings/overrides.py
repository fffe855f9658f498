"""Make checked parameters of the simulator from dotted keys and values."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from alloyk.alloys import check_mass_fractions, get_alloy, thickness_tolerance_mm
from alloyk.errors import ConfigError
from alloyk.settings import combine, parse_assignments, parse_yaml
from alloyk.settings.problems import first_problem, shown_value, unknown_key
from alloyk.settings.schema import keys_of, section_classes
from alloyk.simulator.settings.field_types import strings
from alloyk.simulator.settings.parameters import Parameters

ALTERNATIVES = (
    ("tube.voltage_kvp", "tube.voltage_range_kvp", "tube.voltage_steps_kvp", "tube.channels_kvp"),
    ("exposure.photons_per_mm2", "exposure.exposure_time_s"),
    ("plate.thicknesses_mm", "plate.thickness_range_mm"),
)
"""Alternative ways to set one quantity. Setting one resets the others to their defaults, so that
`tube.voltage_kvp=45` is not overruled by a preset's range of voltages."""

_HINT = "`alloyk simulate --list-keys` prints all keys"


def parameter_keys() -> tuple[str, ...]:
    """Every key that `--set` takes, for example `tube.voltage_kvp`."""
    return keys_of(Parameters)


def parameter_value(parameters: Parameters, key: str) -> Any:
    """Value of one key of `parameter_keys`."""
    value: Any = parameters
    for name in key.split("."):
        value = getattr(value, name)
    return value


def parse_settings(settings: Iterable[str], alloys: str | None = None) -> dict[str, Any]:
    """Overrides from `KEY=VALUE` texts, and from the text of `--alloys`.

    Raises:
        ConfigError: A text is not `KEY=VALUE`, or a parameter is given twice.
    """
    return add_alloys(parse_assignments(settings), alloys)


def add_alloys(overrides: Mapping[str, Any], alloys: Any) -> dict[str, Any]:
    """Overrides with these class labels; unchanged for None.

    Raises:
        ConfigError: The overrides name other alloys.
    """
    if alloys is None:
        return dict(overrides)
    labels = strings(alloys)
    if strings(overrides.get("alloys", labels)) != labels:
        raise ConfigError(
            f"alloys must be given once, got {','.join(labels)} and "
            f"{','.join(strings(overrides['alloys']))}"
        )
    return {**overrides, "alloys": labels}


def with_overrides(parameters: Parameters, overrides: Mapping[str, Any]) -> Parameters:
    """A copy with some parameters replaced; the order of the overrides does not matter.

    Args:
        parameters: The parameters to start from.
        overrides: Dotted key → value. Text is read as YAML, `"1,2,5"` as a list. One more dot
            sets one entry of a mapping: `tube.filters_mm.Cu`.

    Raises:
        ConfigError: An unknown key, a value out of its range, or two keys of `ALTERNATIVES`.

    Example:
        >>> with_overrides(Parameters(), {"wedge.height_mm": "12"}).wedge.height_mm
        12.0
        >>> with_overrides(Parameters(), {"tube.filters_mm.Cu": 0.1}).tube.filters_mm
        {'Al': 0.5, 'Cu': 0.1}
    """
    given = _dotted(overrides)
    tree = parameters.model_dump()
    _reset_alternatives(tree, given)
    # A whole mapping before its entries.
    for key in sorted(given, key=lambda key: key.count(".")):
        _set(tree, key, given)
    return validate_parameters(tree)


def _dotted(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key → value, with the keys of nested groups joined and text read as YAML."""
    dotted: dict[str, Any] = {}
    for key, value in overrides.items():
        if isinstance(value, str):
            try:
                value = parse_yaml(value)
            except yaml.YAMLError as error:
                raise ConfigError(f"{key} must be a YAML value, got {value!r}") from error
        field = Parameters.model_fields.get(key)
        is_group = field is not None and section_classes(field)
        if is_group and isinstance(value, Mapping) and value:
            dotted = combine(dotted, _dotted({f"{key}.{leaf}": v for leaf, v in value.items()}))
        else:
            dotted = combine(dotted, {key: value})
    return dotted


def _reset_alternatives(tree: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Reset what a given parameter replaces; refuse two that set the same quantity."""
    defaults = Parameters()
    for names in ALTERNATIVES:
        chosen = [name for name in names if given.get(name) is not None]
        if len(chosen) > 1:
            raise ConfigError(
                f"{chosen[0]} and {chosen[1]} set the same quantity; set only one of them"
            )
        for name in names if chosen else ():
            group, leaf = name.split(".")
            tree[group][leaf] = parameter_value(defaults, name)


def _set(tree: dict[str, Any], key: str, given: Mapping[str, Any]) -> None:
    """Set one parameter, or one entry of a mapping, in nested dictionaries."""
    place, _, leaf = key.rpartition(".")
    known = parameter_keys()
    if key in known:
        (tree[place] if place else tree)[leaf] = given[key]
    elif place in known and isinstance(parameter_value(Parameters(), place), dict):
        whole = given.get(place)
        if isinstance(whole, Mapping):
            combine(whole, {leaf: given[key]}, f"{place}.")  # refuses a contradiction
        group, _, mapping = place.rpartition(".")
        tree[group][mapping] = {**tree[group][mapping], leaf: given[key]}
    elif key in Parameters.model_fields:
        first = next(name for name in known if name.startswith(f"{key}."))
        raise ConfigError(f"{key} must have keys, such as {first}, got {shown_value(given[key])}")
    else:
        raise ConfigError(unknown_key(key, Parameters, hint=_HINT))


def validate_parameters(tree: Mapping[str, Any]) -> Parameters:
    """Parameters from nested dictionaries, as in `simulation.yaml`.

    Raises:
        ConfigError: A value is wrong; the text names the first key at fault.
    """
    try:
        parameters = Parameters.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(first_problem(error, Parameters, _HINT).text) from error
    _check_alloys(parameters)
    for label, fractions in parameters.plate.compositions.items():
        get_alloy(label)
        check_mass_fractions(fractions)
    return parameters


def _check_alloys(parameters: Parameters) -> None:
    """Refuse alloys that are unknown, named twice or not made in the plate's thicknesses."""
    if not parameters.alloys or "" in parameters.alloys:
        raise ConfigError("alloys must name at least one alloy, got none")
    for label in parameters.alloys:
        alloy = get_alloy(label)
        if parameters.alloys.count(label) > 1:
            raise ConfigError(f"alloys must name each alloy once, got {label} twice")
        for thickness_mm in parameters.plate.thicknesses_mm:
            thickness_tolerance_mm(alloy, thickness_mm)
