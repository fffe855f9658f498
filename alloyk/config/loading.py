"""What a YAML file, a recipe and ``--set`` add up to.

Sources in rising order: the defaults of `alloyk.config.sections`, the recipe of the architecture
(`alloyk.config.recipes`), the YAML file, the command line.
"""

import re
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import ValidationError

from alloyk.config.recipes import merge, recipe_settings
from alloyk.config.sections import Config, ModelConfig
from alloyk.errors import AlloykError

_WHOLE_NUMBER = "tag:yaml.org,2002:int"


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with numbers as YAML 1.2 has them, which refuses a key given twice.

    `1e-3` is a number, `010` is text instead of 8, and `1:30` is text instead of 90.
    """

    yaml_implicit_resolvers: ClassVar = {
        first: [one for one in resolvers if one[0] != _WHOLE_NUMBER]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                problem = f"{key.value} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add((key.tag, str(key.value)))
        return super().construct_mapping(node, deep)


_SIGN_OR_DIGIT = list("-+0123456789")
Loader.add_implicit_resolver(
    _WHOLE_NUMBER, re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"), _SIGN_OR_DIGIT
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), _SIGN_OR_DIGIT
)


def parse_yaml(text: str):
    """The value of a YAML text.

    >>> parse_yaml("[1e-3, true, resnet18]")
    [0.001, True, 'resnet18']
    """
    return yaml.load(text, Loader)  # derived from SafeLoader


def parse_overrides(overrides) -> dict:
    """Nested dictionary from ``section.key=value`` strings, values read as YAML.

    >>> parse_overrides(["train.epochs=3", "augment.horizontal_flip=true"])
    {'train': {'epochs': 3}, 'augment': {'horizontal_flip': True}}
    """
    nested: dict = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise AlloykError(
                f"--set wants KEY=VALUE, found {override!r}: write for example train.epochs=20"
            )
        try:
            value = parse_yaml(text)
        except yaml.YAMLError as error:
            raise AlloykError(f"--set {key}: {text!r} is not a YAML value") from error
        for part in reversed(key.strip().split(".")):
            value = {part: value}
        nested = merge(nested, value)
    return nested


def read_yaml(path: Path) -> dict:
    """The mapping in a YAML file; an `AlloykError` names the file and the line that is wrong."""
    try:
        content = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise AlloykError(f"cannot read the configuration {path}: {why}; check the file") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}, {error.problem}" if where else ""
        raise AlloykError(f"{path} is not valid YAML{line}: mend it there") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise AlloykError(f"{path}: wanted `key: value` lines, found {type(content).__name__}")
    return content


def default_settings() -> dict:
    """What `alloyk/config/default.yaml` says: the embedded default experiment."""
    return read_yaml(resources.files("alloyk.config") / "default.yaml")


def _section(settings: dict, key: str) -> dict:
    section = settings.get(key)
    return section if isinstance(section, dict) else {}


def resolve_config(path: Path | None = None, overrides: dict | None = None) -> Config:
    """The configuration of a YAML file under what the command line says.

    Without a file and without `data.path` it is the embedded default, ``default.yaml`` beside this
    module. A recipe chosen on the command line wins over the file, as any other setting there does.

    Args:
        path: The YAML file.
        overrides: Nested dictionary, as from `parse_overrides`.

    Raises:
        AlloykError: A key is unknown or a value is out of range; the message names it.
    """
    overrides = overrides or {}
    own_data = "path" in _section(overrides, "data")
    file = read_yaml(path) if path else {} if own_data else default_settings()
    merged = merge(file, overrides)
    arch = _section(merged, "model").get("arch", ModelConfig().arch)
    recipe = recipe_settings(arch, merged.get("recipe", "alloyk"))
    settings = merge(recipe, file)
    if "recipe" in overrides:
        settings = merge(settings, recipe)
    try:
        return Config.model_validate(merge(settings, overrides))
    except ValidationError as error:
        source = f"{path}: " if path else ""
        raise AlloykError(source + _first_problem(error)) from error


def _first_problem(error: ValidationError) -> str:
    """One line for the first of pydantic's findings: the key, what it wants, what was found."""
    # A section without a name comes from a recipe that another wrong value has kept away.
    problems = [one for one in error.errors() if one["type"] != "union_tag_not_found"]
    first = (problems or error.errors())[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key {where}: {_known_keys(first['loc'])}{more}"
    wanted = first["msg"].removeprefix("Value error, ").replace("Input should be", "wanted")
    if first["type"] == "tuple_type":
        wanted = "wanted a list, such as [96, 96] or [alloy, thickness]"
    elif first["type"] == "union_tag_invalid":
        context = first["ctx"]
        where += ".name"
        return f"{where}: wanted {context['expected_tags']}, found {context['tag']!r}{more}"
    elif first["type"] in ("model_type", "dict_type", "model_attributes_type"):
        wanted = "wanted keys of its own, such as train.epochs=20"
    if first["type"] == "value_error" and isinstance(first["input"], dict):
        place = f"{where}: " if where else ""
        return f"{place}{wanted}{more}"  # about several keys together; the text names them
    found = "null" if first["input"] is None else repr(first["input"])
    return f"{where}: {wanted}, found {found}{more}"


def _known_keys(location) -> str:
    """The keys that stand beside the unknown one, the closest first where one is close."""
    import difflib

    model: Any = Config()
    for part in location[:-1]:
        model = getattr(model, str(part), model)
    names = list(type(model).model_fields)
    close = difflib.get_close_matches(str(location[-1]), names, n=1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(names)}"


def write_config(config: Config, path: Path, header: str = "") -> None:
    """Write everything resolved, so that training from the file repeats the run."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    Path(path).write_text(header + text, encoding="utf-8")
