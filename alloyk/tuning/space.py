"""Search spaces: dotted keys of the configuration, each with choices or a range.

model.dropout: [0.1, 0.3, 0.5]
train.batch_size: {min: 16, max: 64, step: 16}
optimizer.learning_rate: {min: 1e-4, max: 1e-2, log: true}
optimizer.name: [adam, momentum]
optimizer.momentum: {min: 0.5, max: 0.99, when: {optimizer.name: momentum}}
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from alloyk.config import combine, parse_overrides, parse_yaml, read_yaml
from alloyk.errors import AlloykError, ConfigError
from alloyk.settings.dialect import as_yaml

RANGE_KEYS = {"min", "max", "step", "log"}
# Keys that change the images a trial is evaluated on: its result could not be compared.
FIXED_KEYS = frozenset(
    f"data.{name}"
    for name in (
        "path", "page", "simulate", "ratios", "group_by", "split_seed", "fold", "leave_out",
        "on_bad_image",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """One key of a search space.

    Attributes:
        key: Dotted key of the configuration.
        choices: Its values as JSON text, so that a list or null can be one; empty for a range.
        low: Lower end of the range.
        high: Upper end of the range, included.
        step: Distance between the values of the range; None for every value.
        log: Whether the range is sampled on a logarithmic scale.
        whole: Whether the values are integers.
        when: Key → its values, as JSON text, for which this parameter exists.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    whole: bool = False
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def default(self) -> Any:
        """The first choice, or the lower end."""
        return self.choices[0] if self.choices else self.number(self.low)

    def number(self, value: float) -> float | int:
        """A number of the range: an integer where the range is one of integers."""
        return int(value) if self.whole else float(value)

    def ends(self) -> tuple[Any, ...]:
        """Every choice, or both ends of the range."""
        return self.choices or (self.number(self.low), self.number(self.high))

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Whether the parameter exists beside these values."""
        return all(values.get(key) in allowed for key, allowed in self.when.items())


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


def parameters_of(space: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """The parameters of a search space, each behind those that its `when` names.

    Raises:
        ConfigError: A key has no choices or no valid range, would change the images that trials
            are compared on, or depends on a key that is not searched.
    """
    waiting = [_parameter(key, values) for key, values in space.items()]
    ordered: dict[str, Parameter] = {}
    while waiting:
        ready = [one for one in waiting if set(one.when) <= set(ordered)]
        if not ready:
            one = waiting[0]
            missing = next(iter(set(one.when) - set(ordered)))
            problem = "depend on each other" if missing in space else "is not in the space"
            raise ConfigError(
                f"search space, {one.key}: when must name other keys of the space, got {missing}, "
                f"which {problem}"
            )
        for one in ready:
            _refuse_impossible(one, ordered)
            ordered[one.key] = one
        waiting = [one for one in waiting if one.key not in ordered]
    return tuple(ordered.values())


def _parameter(key: str, values: Any) -> Parameter:
    if ".".join(key.split(".")[:2]) in FIXED_KEYS:
        raise ConfigError(
            f"search space, {key}: trials must be compared on the same images; set it with "
            "--set, and search once for each value"
        )
    when: Mapping[str, tuple[str, ...]] = {}
    if isinstance(values, Mapping) and "when" in values:
        values = dict(values)
        when = _condition(key, values.pop("when"))
    if isinstance(values, Mapping) and set(values) == {"choices"}:
        values = values["choices"]
    if isinstance(values, Mapping):
        return _range(key, values, when)
    if isinstance(values, list) and values:
        return Parameter(key, tuple(json.dumps(value) for value in values), when=when)
    raise ConfigError(
        f"search space, {key}: must be a list of choices or {{min: …, max: …}}, got {values!r}"
    )


def _condition(key: str, when: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(when, Mapping) or not when or [] in when.values():
        raise ConfigError(
            f"search space, {key}: when must map a key to its values, got {when!r}; write for "
            "example when: {loss.name: [focal, class_balanced_focal]}"
        )
    listed = {name: one if isinstance(one, list) else [one] for name, one in when.items()}
    return {name: tuple(json.dumps(value) for value in one) for name, one in listed.items()}


def _range(key: str, values: Mapping, when: Mapping[str, tuple[str, ...]]) -> Parameter:
    unknown = set(values) - RANGE_KEYS
    try:
        low, high = float(values["min"]), float(values["max"])
        step = values.get("step")
        step = None if step is None else float(step)
    except (KeyError, TypeError, ValueError):
        low, high, step = 1.0, 0.0, None
    log = bool(values.get("log"))
    wrong_step = step is not None and (log or step <= 0)
    if unknown or low >= high or (log and low <= 0) or wrong_step:
        raise ConfigError(
            f"search space, {key}: must be {{min: A, max: B}} with A < B, optionally with step, or "
            f"with log and A > 0; got {dict(values)}"
        )
    whole = all(isinstance(values[name], int) for name in ("min", "max", "step") if name in values)
    return Parameter(key, (), low, high, step, log, whole, when)


def _refuse_impossible(one: Parameter, before: Mapping[str, Parameter]) -> None:
    """Raise if the condition of a parameter can never hold."""
    for key, allowed in one.when.items():
        parent = before[key]
        impossible = [value for value in allowed if value not in parent.choices]
        if impossible:
            offered = ", ".join(parent.choices) or "a range"
            raise ConfigError(
                f"search space, {one.key}: when must name choices of {key}, got {impossible[0]}; "
                f"{key} has {offered}"
            )


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

    Keys with a slash are those of Keras Tuner itself, and none of the configuration.
    """
    return parse_overrides(
        f"{key}={as_yaml(value)}" for key, value in values.items() if "/" not in key
    )


def refuse_endless_ranges(parameters: Iterable[Parameter]) -> None:
    """Raise if a grid has a real range without step: Keras Tuner would choose ten values."""
    for one in parameters:
        if not one.choices and not one.whole and one.step is None:
            raise ConfigError(
                f"search space, {one.key}: a grid needs a list of values, or min, max and step; "
                "use --search random for a range without step"
            )
