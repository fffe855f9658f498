"""What a network learns beside the alloy.

`targets` are numbers from a column of the manifest, `estimates` the columns of a predictions file
in which a network estimates them.
"""

from alloyk.targets.columns import (
    ALLOY,
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
