"""The description of an experiment.

`sections` holds its parts with their defaults, `choices` those of which one kind is chosen (loss,
optimizer, schedule), `recipes` the settings of each architecture; `loading` puts them together
with a YAML file and the command line.
"""

from alloyk.config.loading import (
    parse_overrides,
    parse_yaml,
    read_yaml,
    resolve_config,
    write_config,
)
from alloyk.config.recipes import merge
from alloyk.config.sections import Config

__all__ = [
    "Config",
    "merge",
    "parse_overrides",
    "parse_yaml",
    "read_yaml",
    "resolve_config",
    "write_config",
]
