"""The settings table of docs/training.md lists the keys of the configuration, and no others."""

import re
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from alloyk.config import Config
from alloyk.settings.schema import keys_of, kinds, section_classes

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
TABLE = PAGE.split("| section | keys |")[1].split("\n\n")[0]
ROWS = {
    line.split("|")[1].strip(" `"): set(re.findall("`([^`]+)`", line.split("|")[2]))
    for line in TABLE.splitlines()
    if line.startswith("|") and "---" not in line
}


def sections(model, prefix=""):
    """Key of a section, "top level" for none → its fields, those of all kinds together."""
    fields = {}
    for name, field in model.model_fields.items():
        below = section_classes(field)
        for section in below:
            for key, found in sections(section, f"{prefix}{name}.").items():
                fields[key] = fields.get(key, {}) | found
        if not below:
            fields.setdefault(prefix.rstrip(".") or "top level", {})[name] = field
    return fields


SECTIONS = sections(Config)


def values_of(annotation):
    """The texts and numbers that a field of fixed values may have."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return set(map(str, parts))
    return set().union(*map(values_of, parts))


def test_every_section_has_a_row():
    assert set(ROWS) == set(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_row_lists_every_key_and_every_fixed_value(section):
    fields = SECTIONS[section]
    assert set(fields) <= ROWS[section]
    for name, field in fields.items():
        if name != "name":
            assert values_of(field.annotation) <= ROWS[section], name
    if section in Config.model_fields and kinds(Config.model_fields[section]):
        assert set(kinds(Config.model_fields[section])) <= ROWS[section]


@pytest.mark.parametrize("section", SECTIONS)
def test_a_row_lists_no_key_that_does_not_exist(section):
    known = set(SECTIONS[section]) | {
        "2/5", "COLUMN=VALUE", "data.path", "none", "imagenet", "true", "false", "auto",
    }  # fmt: skip
    for field in SECTIONS[section].values():
        known |= values_of(field.annotation)
    if section in Config.model_fields:
        known |= set(kinds(Config.model_fields[section]))
    assert ROWS[section] <= known


def test_the_page_names_every_key():
    assert {key.rpartition(".")[2] for key in keys_of(Config)} <= set.union(*ROWS.values())
