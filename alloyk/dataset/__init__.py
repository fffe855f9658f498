"""A data set on disk: found, read, checked, and divided into folders.

To read: `listing` (images in folders), `manifest` (manifest.csv), `loading` (both as one table with
splits), `source` (the data set that a configuration names), `trained_on` (what a run keeps of it,
held against what is there later). For `alloyk split`: `split_plan` says where each image goes,
`placement` carries it out, `moving` keeps files safe meanwhile.
"""

from alloyk.dataset.loading import ImageDataset, load_dataset

__all__ = ["ImageDataset", "load_dataset"]
