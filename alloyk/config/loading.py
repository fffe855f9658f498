"""Combine an experiment's settings from their sources.

Sources, from weak to strong: the defaults in `alloyk.config.sections`, the recipe of the
architecture (`alloyk.config.recipes`), the YAML file, the command line. A section in which the
file or the command line chooses another kind by `name` (loss, optimizer, schedule) loses the
recipe's keys. What the user gave is never dropped: a key that the chosen kind does not have is an
error.
"""

import logging
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alloyk.config.recipes import lengthened, override, recipe_settings
from alloyk.config.sections import Config, ModelConfig
from alloyk.errors import ConfigError
from alloyk.settings import dump_yaml, overlay, parse_assignments, read_yaml
from alloyk.settings.assignments import nest
from alloyk.settings.dialect import parse_mapping
from alloyk.settings.problems import first_problem
from alloyk.settings.schema import kinds

logger = logging.getLogger(__name__)


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Nested dictionary of `section.key=value` texts, values read as YAML, in any order.

    >>> parse_overrides(["train.epochs=3", "augment.horizontal_flip=true"])
    {'train': {'epochs': 3}, 'augment': {'horizontal_flip': True}}

    Raises:
        ConfigError: A text is not `KEY=VALUE`, or two of them contradict each other.
    """
    return nest(parse_assignments(overrides), Config)


def default_settings() -> dict[str, Any]:
    """The embedded default experiment, `alloyk/config/default.yaml`."""
    file = resources.files("alloyk.config").joinpath("default.yaml")
    return parse_mapping(file.read_text(encoding="utf-8"), "default.yaml")


def resolve_config(
    path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    planned: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration of a YAML file under the settings of the command line.

    Without a file and without `data.path`, the embedded default takes the place of the recipe's
    settings that it names.

    Args:
        path: The YAML file.
        overrides: Nested dictionary, as from `parse_overrides`.
        planned: Nested dictionary of settings made for the data set, stronger than the recipe and
            weaker than what the user gives.

    Raises:
        ConfigError: A key is unknown or a value is out of range; names the key, and the file if
            it is given there.
    """
    overrides = overrides or {}
    file = read_yaml(path) if path else {}
    given = overlay(file, overrides)
    own_data = path is not None or "path" in _section(given, "data")
    weaker = _weaker_settings(given, own_data, planned or {})
    settings = _with_kind_names(override(weaker, given))
    if "recipe" in overrides:
        _report_kept(path, file, given)
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_explained(error, path, file, overrides, settings)) from error


def _weaker_settings(
    given: Mapping[str, Any], own_data: bool, planned: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of the recipe, and of the embedded default or the plan where it is used."""
    arch = str(_section(overlay(planned, given), "model").get("arch", ModelConfig().arch))
    default = _of_kinds(planned, given) if own_data else lengthened(default_settings(), arch)
    recipe = recipe_settings(arch, str(given.get("recipe", "alloyk")))
    # A recipe chosen by the user overrides a default that was not chosen, but not a plan, which
    # starts from the recipe.
    if "recipe" in given and not own_data:
        return override(default, recipe)
    return override(recipe, default)


def _of_kinds(planned: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The plan with the kinds that the user chose, so that it replaces the recipe's sections."""
    names = {
        key: {"name": _section(given, key)["name"]}
        for key in planned
        if "name" in _section(given, key)
    }
    return overlay(planned, names)


def _with_kind_names(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the default kind named in each section of kinds that names none."""
    defaults = {
        key: {"name": field.default.name}
        for key, field in Config.model_fields.items()
        if kinds(field) and isinstance(settings.get(key), dict)
    }
    return overlay(defaults, settings)


def _report_kept(path: Path | None, file: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Log which settings of the file a recipe of the command line does not replace."""
    arch = _section(given, "model").get("arch", ModelConfig().arch)
    recipe = recipe_settings(str(arch), str(given["recipe"]))
    kept = [
        f"{section}.{key}"
        for section, values in recipe.items()
        for key in values
        if key in _section(file, section) and file[section][key] != values[key]
    ]
    if kept:
        logger.warning("recipe=%s does not replace the settings of %s: %s",
                       given["recipe"], path, ", ".join(kept))  # fmt: skip


def _section(settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = settings.get(key)
    return section if isinstance(section, Mapping) else {}


def _explained(
    error: ValidationError,
    path: Path | None,
    file: Mapping[str, Any],
    overrides: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> str:
    """Describe the first problem in one line, with the file if the value comes from it."""
    problem = first_problem(error, Config)
    in_file = holds(file, problem.path) and not holds(overrides, problem.path)
    if not in_file:
        return problem.text
    section = problem.path[0]
    text = f"{path}: {problem.text}"
    chosen = _section(overrides, section).get("name")
    if chosen is not None and len(problem.path) > 1:
        key = ".".join(problem.path)
        text += f"; the command line chose {section}.name={chosen}: remove {key} from the file"
    return text


def holds(settings: Any, path: Iterable[str]) -> bool:
    """Whether nested settings hold a key, or the list that an index belongs to."""
    for part in path:
        if not isinstance(settings, Mapping):
            return True
        # A key in YAML may be a number, whose part of the path is text.
        keys = {str(key): key for key in settings}
        if part not in keys:
            return False
        settings = settings[keys[part]]
    return True


def write_config(config: Config, path: Path, header: str = "") -> None:
    """Write every setting, so that training from the file repeats the run."""
    text = dump_yaml(config.model_dump(mode="json"))
    Path(path).write_text(header + text, encoding="utf-8")
