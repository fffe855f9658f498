"""Say what is wrong with a data set before an hour of training is lost on it.

One pass reads and measures every image in parallel (`scan`, `measure`); each check then looks at
the table of all measures and yields findings: `files`, `leaks` (with `similarity`), `balance`,
`shortcuts`, `quality`. `report` makes text and JSON of them, `figures` pictures.
"""

from alloyk.audit.checks import audit_dataset, find_all, must_fix
from alloyk.audit.findings import Audited, Finding

__all__ = ["Audited", "Finding", "audit_dataset", "find_all", "must_fix"]
