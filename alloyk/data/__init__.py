"""A data set on disk: discovered, read, checked and split.

`tree` lists the images below a folder, `discovery` reads classes and splits from the folder names,
`manifest` reads `manifest.csv` as a `text_table`, `names` knows the columns and splits in every
spelling, `rows` makes rows of files, `dataset` makes one table with splits of either, `depths`
counts bit depths, `source` opens the data set that a configuration names. `splits` draws stratified
splits by group, `apportion` allocates counts to splits, `folds` are those of cross-validation and
of a held-out condition, `binning` groups a column's values. `reorganize` is
what `alloyk split` does to files.
"""

from alloyk.data.dataset import ImageDataset, load_dataset
from alloyk.data.names import PLATE, SPLITS, THICKNESS
from alloyk.data.splits import (
    checked_ratios,
    group_column,
    group_name,
    split_table,
)
from alloyk.settings.data import RATIOS

__all__ = [
    "PLATE",
    "RATIOS",
    "SPLITS",
    "THICKNESS",
    "ImageDataset",
    "checked_ratios",
    "group_column",
    "group_name",
    "load_dataset",
    "split_table",
]
