"""Read a data set for an audit, with or without labels and splits."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alloyk.data import PLATE, group_column
from alloyk.data.discovery import refuse_repeats, split_folders
from alloyk.data.manifest import manifest_in
from alloyk.data.names import split_called
from alloyk.data.notes import reference_notes, repeat_notes, split_notes
from alloyk.data.reorganize.plan import read_source
from alloyk.data.rows import image_rows
from alloyk.data.splits import group_cells
from alloyk.data.tree import find_images
from alloyk.errors import AlloykError
from alloyk.imaging import PageChoice, RawLayout, without_page
from alloyk.messages import shown

if TYPE_CHECKING:
    import pandas as pd

NAME_BEFORE_LAST = "^(.*)_"
"""The series by default: the file name before its last underscore."""


def read_for_audit(
    data: Path,
    *,
    page: PageChoice | None = None,
    raw: RawLayout | None = None,
    hdf5_path: str | None = None,
) -> "tuple[Path, pd.DataFrame, list[str]]":
    """Return folder, table and notes of a data set, of a flat folder, or of splits without classes.

    Args:
        data: The folder or manifest.
        page: As in `load_dataset`.
        raw: As in `load_dataset`.
        hdf5_path: As in `load_dataset`.

    Raises:
        AlloykError: There are no images, or folders and manifest disagree.
    """
    root, files, notes = _read_files(data)
    return root, image_rows(root, files, page=page, raw=raw, hdf5_path=hdf5_path), notes


def _read_files(data: Path) -> "tuple[Path, pd.DataFrame, list[str]]":
    """`read_for_audit`, a row for each file."""
    import pandas as pd

    tree = find_images(data) if data.is_dir() and not manifest_in(data) else None
    images = tree.of_classes if tree else []
    parts = [path.split("/") for path in images]
    if tree and parts and all(len(part) == 2 and split_called(part[0]) for part in parts):
        splits = split_folders(data, tree)
        refuse_repeats(data, tree, depth=1)
        columns = {"path": images, "split": [splits[part[0]] for part in parts]}
        unlabelled = f"{shown(data)} has no class folders: its images have no labels."
        notes = split_notes(splits) + repeat_notes(tree.repeats)
        notes += [*reference_notes(tree.references), unlabelled]
        return data, pd.DataFrame(columns, dtype=object), notes
    root, table, notes = read_source(data)
    if not len(table):
        raise AlloykError(f"no images found in {shown(data)}; check the path")
    return root, table.reset_index(drop=True), notes


def series_of(table: "pd.DataFrame", series: str | None) -> tuple[np.ndarray, str, bool]:
    """Assign a series to each image.

    Args:
        table: `path`, and the manifest's columns.
        series: A column, or a regular expression on the file name (its first group, or the whole
            match); None: `plate_id` if the table has it, otherwise the name before its last `_`.

    Returns:
        `(n,)` text, `""` if an image's series is unknown; the column or expression used; and
        whether the series are reliable. File names with the same beginning in the whole data set,
        or in each class, are numbered images rather than series.

    Raises:
        AlloykError: The regular expression is wrong, or does not match every file name.
    """
    column = PLATE if series is None else series
    if column in table.columns:
        return group_cells(table[column]).to_numpy(dtype=object), column, True
    if series is not None and (groups := group_column(table, series, "--series")) is not None:
        return groups.to_numpy(dtype=object), series, True
    pattern = re.compile(NAME_BEFORE_LAST)
    matches = [pattern.match(without_page(path.rpartition("/")[2])) for path in table["path"]]
    found = np.array([match.group(1) if match else "" for match in matches], dtype=object)
    known = found[found != ""]
    classes = table["label"].nunique() if "label" in table.columns else 1
    return found, NAME_BEFORE_LAST, classes < len(set(known)) < len(known)
