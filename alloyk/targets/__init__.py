"""Numbers that a network estimates in addition to the alloy.

`columns` reads them from the manifest, `estimates` reads the network's estimates from a predictions
file, and `cells` parses numbers.
"""

from alloyk.targets.columns import (
    ALLOY,
    FEATURES,
    LOGITS,
    Target,
    check_tasks,
    column_values,
    plain_name,
    shared_columns,
    target_columns,
    target_of,
    task_notes,
    weights_of,
)

__all__ = [
    "ALLOY",
    "FEATURES",
    "LOGITS",
    "Target",
    "check_tasks",
    "column_values",
    "plain_name",
    "shared_columns",
    "target_columns",
    "target_of",
    "task_notes",
    "weights_of",
]
