"""Divide a table of images into training, validation and test; no file is touched here.

`division` draws stratified splits by group, `dealing` says how many go where, `folds` are those of
cross-validation and of a condition left out, `conditions` a column's values as few named ones.
"""

from alloyk.splitting.division import (
    PLATE,
    RATIOS,
    SPLITS,
    THICKNESS,
    checked_ratios,
    group_column,
    group_name,
    split_table,
)

__all__ = [
    "PLATE",
    "RATIOS",
    "SPLITS",
    "THICKNESS",
    "checked_ratios",
    "group_column",
    "group_name",
    "split_table",
]
