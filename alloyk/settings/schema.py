"""Which keys a settings model has, and which kinds a section has of which one is chosen by name."""

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from alloyk.settings.section import Section


def kinds(field: FieldInfo) -> dict[str, type[Section]]:
    """Name → model of a section of which one kind is chosen by its `name`; empty for others."""
    if field.discriminator != "name":
        return {}
    return {
        name: model
        for model in section_classes(field)
        for name in get_args(model.model_fields["name"].annotation)
    }


def section_classes(field: FieldInfo) -> list[type[Section]]:
    """The models that a field may hold: one for a section, one per kind, none for a value."""
    return list(_sections_in(field.annotation))


def _sections_in(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if issubclass(annotation, Section):
            yield annotation
    elif get_origin(annotation) is Annotated:
        yield from _sections_in(get_args(annotation)[0])
    elif get_origin(annotation) not in (dict, list, tuple):
        for part in get_args(annotation):
            yield from _sections_in(part)


def keys_of(model: type[Section], prefix: str = "") -> tuple[str, ...]:
    """Every dotted key of a model, those of all kinds included, each once."""
    keys: dict[str, None] = {}
    for name, field in model.model_fields.items():
        sections = section_classes(field)
        if not sections:
            keys[prefix + name] = None
        for section in sections:
            keys |= dict.fromkeys(keys_of(section, f"{prefix}{name}."))
    return tuple(keys)
