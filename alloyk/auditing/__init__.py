"""Check a data set for problems before training.

All images are read and measured once, in parallel (`scan`, `measure`). Each check then examines the
table of all measures and yields findings: `file_checks`, `leaks` (with `similarity`), `balance`,
`shortcuts`, `detector`, `quality`. `report` formats them as text and JSON, `figures` draws figures.
"""

from alloyk.auditing.checks import audit_dataset, find_all, must_fix
from alloyk.auditing.findings import Audited, Finding

__all__ = ["Audited", "Finding", "audit_dataset", "find_all", "must_fix"]
