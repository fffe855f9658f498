"""Convert `set=` of the Python functions to the `KEY=VALUE` strings of `--set`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alloyk.errors import OptionError

Settings = Mapping[str, Any] | Iterable[str]
"""Dotted key to value, as in `{"train.epochs": 20}`, or strings `KEY=VALUE`."""


def as_strings(settings: Settings) -> list[str]:
    """Return settings as strings.

    >>> as_strings({"train.epochs": 20, "data.fold": None, "preprocess.image_size": (32, 48)})
    ['train.epochs=20', 'data.fold=null', 'preprocess.image_size=[32, 48]']
    >>> as_strings(["train.epochs=20"])
    ['train.epochs=20']
    """
    if isinstance(settings, str):
        return [settings]
    if isinstance(settings, Mapping):
        from alloyk.settings.dialect import as_yaml

        return [f"{key}={as_yaml(value)}" for key, value in settings.items()]
    return list(settings)


def check_choice(option: str, given: str, choices: Sequence[str]) -> None:
    """Raise unless an option is one of its choices; the command line checks before.

    >>> check_choice("vote", "Soft", ("soft", "hard"))
    Traceback (most recent call last):
    alloyk.errors.OptionError: `vote` must be one of soft, hard, got 'Soft'
    """
    if given not in choices:
        raise OptionError(f"`{option}` must be one of {', '.join(choices)}, got {given!r}")


def path_if(given: str | Path | None) -> Path | None:
    """Return an option as a path, if it is given."""
    return Path(given) if given else None


def configuration_overrides(
    settings: Settings,
    arch: str | None = None,
    data: object = None,
    time_budget: float | None = None,
) -> dict[str, Any]:
    """Return `set`, `arch`, `data` and `time_budget` as one nested dictionary for `resolve_config`.

    Raises:
        ConfigError: A setting is not of the form KEY=VALUE.
    """
    from alloyk.config import combine, parse_overrides

    overrides: dict[str, Any] = parse_overrides(as_strings(settings))
    if arch:
        overrides = combine(overrides, {"model": {"arch": arch}})
    if data:
        overrides = combine(overrides, {"data": {"path": str(data)}})
    if time_budget is not None:
        overrides = combine(overrides, {"train": {"time_budget_minutes": time_budget}})
    return overrides


def alloy_labels(alloys: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Return class labels as a tuple.

    >>> alloy_labels("1050,2017"), alloy_labels(["1050"]), alloy_labels(None)
    (('1050', '2017'), ('1050',), None)
    """
    if alloys is None:
        return None
    return tuple(filter(None, alloys.split(",") if isinstance(alloys, str) else alloys))


def sweep_strings(sweep: Mapping[str, Sequence[Any]] | Sequence[str]) -> list[str]:
    """Return `KEY=A,B,…` for each key.

    >>> sweep_strings({"model.dropout": [0.1, 0.3]})
    ['model.dropout=0.1,0.3']
    """
    if isinstance(sweep, str):
        return [sweep]
    if not isinstance(sweep, Mapping):
        return list(sweep)
    from alloyk.settings.dialect import as_yaml

    return [f"{key}={','.join(map(as_yaml, values))}" for key, values in sweep.items()]
