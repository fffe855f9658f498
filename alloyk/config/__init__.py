"""The configuration of an experiment.

`sections` holds its sections with their defaults, `choices` those with one model per kind (loss,
optimizer, schedule), `recipes` the settings of each architecture. `loading` puts them together
with a YAML file and the command line.
"""

from alloyk.config.loading import parse_overrides, resolve_config, write_config
from alloyk.config.sections import Config
from alloyk.settings import combine, dump_yaml, overlay, parse_yaml, read_yaml

__all__ = [
    "Config",
    "combine",
    "dump_yaml",
    "overlay",
    "parse_overrides",
    "parse_yaml",
    "read_yaml",
    "resolve_config",
    "write_config",
]
