"""What every set of settings shares: experiments (`alloyk.config`) and the simulator alike.

`section` is the base of their models, `dialect` the YAML they are written in, `assignments` reads
`KEY=VALUE`, `schema` lists keys, and `problems` words every error about a setting.
"""

from alloyk.settings.assignments import combine, overlay, parse_assignments
from alloyk.settings.dialect import dump_yaml, parse_yaml, read_yaml

__all__ = [
    "combine",
    "dump_yaml",
    "overlay",
    "parse_assignments",
    "parse_yaml",
    "read_yaml",
]
