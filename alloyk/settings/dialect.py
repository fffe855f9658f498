"""The YAML that alloyk reads and writes, in files and after `--set KEY=`.

Scalars follow YAML 1.2, where PyYAML follows 1.1: `1e-3` is a number (PyYAML: text), `no` is text
(PyYAML: false), `1:30` is text (PyYAML: 90), and a date is text. A number with a leading zero is
text (PyYAML: octal), so that a serial `010` is unchanged; where a number is expected, it is 10.
"""

import json
import re
from pathlib import Path, PurePath
from typing import Any

import yaml

from alloyk.errors import ConfigError
from alloyk.messages import shown

_TAG = "tag:yaml.org,2002:"
_NOT_1_2 = {_TAG + name for name in ("bool", "int", "float", "timestamp", "value")}
_SIGN_OR_DIGIT = list("-+0123456789")
# Type, pattern, first characters.
_SCALARS = (
    ("bool", r"(true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"([-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+)$", _SIGN_OR_DIGIT),
    (
        "float",
        r"[-+]?((\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
        r"|\.(inf|Inf|INF))$|\.(nan|NaN|NAN)$",
        [*_SIGN_OR_DIGIT, "."],
    ),
)


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2; a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node.

        Raises:
            yaml.constructor.ConstructorError: A key is given twice.
        """
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                problem = f"{key.value} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add((key.tag, str(key.value)))
        return super().construct_mapping(node, deep)


class Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper; text that `Loader` or PyYAML would read as something else is quoted."""


Loader.yaml_implicit_resolvers = {
    first: [resolver for resolver in resolvers if resolver[0] not in _NOT_1_2]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _pattern, _first in _SCALARS:
    for _class in (Loader, Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(_pattern), _first)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    >>> parse_yaml("[1e-3, true, no, 010, resnet18]")
    [0.001, True, 'no', '010', 'resnet18']

    Raises:
        yaml.YAMLError: The text is not YAML.
    """
    return yaml.load(text, Loader)  # derived from SafeLoader


def as_yaml(value: Any) -> str:
    """A value as the YAML text that `--set KEY=` takes; NumPy numbers and paths as plain values.

    >>> as_yaml((32, 48)), as_yaml(None), as_yaml("adam")
    ('[32, 48]', 'null', 'adam')
    """
    if isinstance(value, str | PurePath):
        return str(value)
    return json.dumps(value, default=plain)


def plain(value: Any) -> Any:
    """A NumPy number or array as Python values, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def dump_yaml(value: Any) -> str:
    r"""The YAML text of a value; `parse_yaml` gives the value back.

    >>> dump_yaml({"group_by": "1e3", "epochs": 3})
    "group_by: '1e3'\nepochs: 3\n"
    """
    return str(yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True))


def dump_inline(value: Any) -> str:
    """The YAML text of a value in one line.

    >>> dump_inline([64, 64]), dump_inline("1e3"), dump_inline(None)
    ('[64, 64]', "'1e3'", 'null')
    """
    text = yaml.dump(
        value, Dumper=Dumper, default_flow_style=True, allow_unicode=True, width=1_000_000
    )
    return str(text).removesuffix("...\n").strip()


def read_yaml(path: Path) -> dict[Any, Any]:
    """The mapping in a YAML file; empty for an empty file.

    Raises:
        ConfigError: The file cannot be read or is not a mapping; names the file and the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read {shown(path)}: {why}; give a YAML file") from error
    return parse_mapping(text, str(path))


def parse_mapping(text: str, source: str) -> dict[Any, Any]:
    """The mapping in a YAML text; empty for an empty text.

    Args:
        text: YAML.
        source: Where the text comes from, for messages.

    Raises:
        ConfigError: The text is not a mapping; names the source and the line.
    """
    try:
        content = parse_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}: {getattr(error, 'problem', '')}" if mark else ""
        raise ConfigError(f"{source} must be valid YAML{line}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{source} must hold `key: value` lines, got a {type(content).__name__}")
    return content
