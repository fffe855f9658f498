"""The words for every error about a setting.

Every text reads `KEY must be …, got …` or `unknown key …; did you mean …?`.
"""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from alloyk.settings.schema import keys_of, kinds, section_classes
from alloyk.settings.section import BOOL_FOR_NUMBER, Section

# pydantic's type of error → what the value must be; `{}` names come from the error's context.
_MUST = {
    "greater_than": "must be > {gt}",
    "greater_than_equal": "must be >= {ge}",
    "less_than": "must be < {lt}",
    "less_than_equal": "must be <= {le}",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list such as [A, B]",
    "dict_type": "must be a mapping such as {{NAME: VALUE}}",
    "literal_error": "must be {expected}",
    "path_type": "must be a path",
    "invalid_key": "must be text",
    "missing": "must be given",
    "too_short": "must have at least {min_length} values",
    "too_long": "must have at most {max_length} values",
}

# In pydantic's location: the name itself is wrong, not the value that has it.
_OF_A_NAME = "[key]"


@dataclass(frozen=True)
class Problem:
    """What is wrong with one setting.

    Attributes:
        key: Dotted key; empty where several keys disagree.
        text: One line that names the key.
        path: The key's parts in the nested settings.
    """

    key: str
    text: str
    path: tuple[str, ...]


def first_problem(error: ValidationError, model: type[Section], hint: str = "") -> Problem:
    """The first of pydantic's findings about `model`, in our words.

    Args:
        error: From `model.model_validate`.
        model: The model.
        hint: Ends the text about an unknown key that is near no known one.
    """
    findings = error.errors()
    first: dict[str, Any] = dict(findings[0])
    if first["type"] == BOOL_FOR_NUMBER:
        name = first["ctx"]["field"]
        first.update(loc=(*first["loc"], name), input=first["input"][name])
    place = _Place.of(model, first["loc"])
    more = f" ({len(findings) - 1} more)" if len(findings) > 1 else ""
    if first["type"] == "extra_forbidden":
        text = unknown_key(place.key, model, place.kind, hint)
    else:
        text = _wrong_value(first, place)
    return Problem(place.key, text + more, place.path)


@dataclass(frozen=True)
class _Place:
    """Where in a model an error lies: pydantic's location without the names of kinds."""

    path: tuple[str, ...]
    kind: str | None
    first_key: str

    @property
    def key(self) -> str:
        return ".".join(self.path)

    @classmethod
    def of(cls, model: type[Section], location: Sequence[int | str]) -> "_Place":
        path: list[str] = []
        section: type[Section] = model
        kind: str | None = None
        choice: dict[str, type[Section]] = {}
        for part in map(str, location):
            if part == _OF_A_NAME:
                path.pop()
                continue
            if part in choice:
                section, kind, choice = choice[part], part, {}
                continue
            path.append(part)
            field = section.model_fields.get(part)
            below = section_classes(field) if field else []
            if field and below:
                section, kind, choice = below[0], None, kinds(field)
            else:
                choice = {}
        first_key = "name" if choice else next(iter(section.model_fields))
        return cls(tuple(path), kind, first_key)


def _wrong_value(found: Mapping[str, Any], place: _Place) -> str:
    """`KEY must be …, got …` for one of pydantic's findings."""
    key, value, kind = place.key, found["input"], found["type"]
    context = {name: _whole(one) for name, one in found.get("ctx", {}).items()}
    got, near = shown_value(value), ""
    if found["loc"][-1:] == (_OF_A_NAME,):
        key = f"the names in {key}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        key, value = f"{key}.name", value.get("name")
        got, tags = shown_value(value), context.get("expected_tags", "")
        must = "must be one of " + tags.replace("'", "")
        near = _near_value(str(value), tags)
    elif kind in ("model_type", "model_attributes_type"):
        must = f"must have keys, such as {key}.{place.first_key}"
    elif kind == "value_error":
        must = str(found["msg"]).removeprefix("Value error, ")
        if not must.startswith("must "):
            return must  # about several keys; the text names them
    elif kind == "string_type":
        must = "must be text"
        near = "; put it in quotes" if isinstance(value, int | float) else ""
    elif kind == "missing" and place.path[-1].isdigit():
        key = key.rpartition(".")[0]
        must, got = f"must have at least {int(place.path[-1]) + 1} values", str(len(value))
    elif kind in ("too_short", "too_long"):
        must, got = _MUST[kind].format(**context), str(context["actual_length"])
    else:
        must = _MUST.get(kind, found["msg"].replace("Input should be", "must be"))
        must = must.format(**context) if kind in _MUST else must
        near = _near_value(str(value), str(context.get("expected", "")))
    # A remark may follow the requirement.
    must, semicolon, remark = must.partition("; ")
    return f"{key} {must}, got {got}{semicolon}{remark}{near}"


def _whole(value: Any) -> Any:
    """3 for 3.0: limits are shown as they are written."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _near_value(value: str, expected: str) -> str:
    close = difflib.get_close_matches(value, re.findall("'([^']*)'", expected), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def unknown_key(key: str, model: type[Section], kind: str | None = None, hint: str = "") -> str:
    """The text about a key that `model` does not have; the nearest known ones are named.

    Args:
        key: Dotted key.
        model: The whole model.
        kind: The chosen kind of the key's section, if it has kinds.
        hint: Ends the text where nothing is near.
    """
    place, _, leaf = key.rpartition(".")
    if kind is not None:
        choice = _kinds_at(model, place)
        own = sorted(choice[kind].model_fields, key=lambda name: name != "name")
        others = [name for name, one in choice.items() if leaf in one.model_fields]
        text = f"unknown key {key}: {place}.name={kind} has the keys {', '.join(own)}"
        if others:
            return f"{text}; {leaf} is a key of {', '.join(others)}"
        near = difflib.get_close_matches(leaf, own, n=1)
        return text + (f"; did you mean {place}.{near[0]}?" if near else "")
    near = nearest(key, keys_of(model))
    if near:
        return f"unknown key {key}; did you mean {' or '.join(near)}?"
    if hint:
        return f"unknown key {key}; {hint}"
    section = _section_at(model, place)
    where = place or "the top level"
    return f"unknown key {key}; {where} has the keys {', '.join(section.model_fields)}"


def nearest(key: str, known: Sequence[str]) -> list[str]:
    """The known keys nearest to `key`: the same word elsewhere, else a similar one.

    >>> nearest("epochs", ["train.epochs", "train.batch_size"])
    ['train.epochs']
    >>> nearest("train.epoch", ["train.epochs", "train.batch_size"])
    ['train.epochs']
    """
    place, _, leaf = key.rpartition(".")
    same = [one for one in known if one.rpartition(".")[2] == leaf]
    if same:
        return same[:3]
    beside = {one.rpartition(".")[2]: one for one in known if one.rpartition(".")[0] == place}
    close = [beside[one] for one in difflib.get_close_matches(leaf, beside, n=2)]
    close = close or difflib.get_close_matches(key, known, n=2)
    leaves = {one.rpartition(".")[2]: one for one in known}
    return close or [leaves[one] for one in difflib.get_close_matches(leaf, leaves, n=2)]


def _kinds_at(model: type[Section], place: str) -> dict[str, type[Section]]:
    *above, last = place.split(".")
    return kinds(_section_at(model, ".".join(above)).model_fields[last])


def _section_at(model: type[Section], place: str) -> type[Section]:
    """The section with the dotted key `place`, or the nearest one above it."""
    for part in filter(None, place.split(".")):
        field = model.model_fields.get(part)
        below = section_classes(field) if field else []
        if not below:
            break
        model = below[0]
    return model


def shown_value(value: Any) -> str:
    """A value in YAML, shortened."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
