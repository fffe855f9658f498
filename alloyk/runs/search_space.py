"""The search space of a search, as `search.json` keeps it: parameters with choices or a range."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alloyk.errors import ConfigError

RANGE_KEYS = {"min", "max", "step", "log"}
MOST_STEPS = 10_000


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

    def steps(self) -> tuple[float | int, ...]:
        """The values of a range with a step, from its lower end; empty for others.

        >>> Parameter("a", low=0.1, high=0.3, step=0.1).steps()
        (0.1, 0.2, 0.3)
        """
        if self.step is None:
            return ()
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        values = (self.low + number * self.step for number in range(count))
        return tuple(self.number(float(f"{value:.12g}")) for value in values)

    def ends(self) -> tuple[Any, ...]:
        """Every choice, or both ends of the range."""
        return self.choices or (self.number(self.low), (self.steps() or (self.high,))[-1])

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Whether the parameter exists beside these values."""
        return all(values.get(key) in allowed for key, allowed in self.when.items())


def parameters_of(space: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """The parameters of a search space, each after those that its `when` names.

    Raises:
        ConfigError: A key has no choices or no valid range, or depends on a key that is not
            searched.
    """
    waiting = [_parameter(key, values) for key, values in space.items()]
    ordered: dict[str, Parameter] = {}
    while waiting:
        ready = [one for one in waiting if set(one.when) <= set(ordered)]
        if not ready:
            _refuse_unknown(waiting, space)
            circle = " and ".join(one.key for one in waiting)
            raise ConfigError(f"search space: when must not go in a circle, got {circle}")
        for one in ready:
            _refuse_impossible(one, ordered)
            ordered[one.key] = one
        waiting = [one for one in waiting if one.key not in ordered]
    return tuple(ordered.values())


def _refuse_unknown(waiting: Sequence[Parameter], space: Mapping[str, Any]) -> None:
    for one in waiting:
        for key in one.when:
            if key not in space:
                raise ConfigError(
                    f"search space, {one.key}: when must name keys of the space, got {key}; add it"
                )


def _parameter(key: str, values: Any) -> Parameter:
    when: Mapping[str, tuple[str, ...]] = {}
    if isinstance(values, Mapping) and "when" in values:
        values = dict(values)
        when = _condition(key, values.pop("when"))
    if isinstance(values, Mapping) and set(values) == {"choices"}:
        values = values["choices"]
    if isinstance(values, Mapping):
        return _range(key, values, when)
    if isinstance(values, list) and values:
        _refuse_repeated(key, values)
        return Parameter(key, tuple(json.dumps(value) for value in values), when=when)
    raise ConfigError(
        f"search space, {key}: must be a list of choices or {{min: …, max: …}}, got {values!r}"
    )


def _refuse_repeated(key: str, choices: Sequence[Any]) -> None:
    """Raise if two choices are the same: a grid would wait for another one for ever."""
    for number, one in enumerate(choices):
        if any(one == other and type(one) is type(other) for other in choices[:number]):
            raise ConfigError(
                f"search space, {key}: must name each choice once, got {json.dumps(one)} twice"
            )


def _condition(key: str, when: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(when, Mapping) or not when or [] in when.values():
        raise ConfigError(
            f"search space, {key}: when must map a key to its values, got {when!r}; write for "
            "example when: {loss.name: [focal, class_balanced_focal]}"
        )
    listed = {name: one if isinstance(one, list) else [one] for name, one in when.items()}
    return {name: tuple(json.dumps(value) for value in one) for name, one in listed.items()}


def _range(key: str, values: Mapping[str, Any], when: Mapping[str, tuple[str, ...]]) -> Parameter:
    unknown = set(values) - RANGE_KEYS
    try:
        low, high = float(values["min"]), float(values["max"])
        step = values.get("step")
        step = None if step is None else float(step)
    except (KeyError, TypeError, ValueError):
        low, high, step = 1.0, 0.0, None
    log = values.get("log", False)
    wrong_step = step is not None and (log or not 0 < step < math.inf)
    finite = math.isfinite(low) and math.isfinite(high)
    flags = [name for name in ("min", "max", "step") if isinstance(values.get(name), bool)]
    wrong_kind = unknown or flags or not isinstance(log, bool)
    if wrong_kind or not finite or low >= high or (log and low <= 0) or wrong_step:
        raise ConfigError(
            f"search space, {key}: must be {{min: A, max: B}} with A < B, optionally with step, or "
            f"with log: true and A > 0; got {dict(values)}"
        )
    if step is not None and (high - low) / step > MOST_STEPS:
        raise ConfigError(
            f"search space, {key}: step must divide the range into at most {MOST_STEPS:,} steps, "
            f"got {dict(values)}; leave step out"
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
