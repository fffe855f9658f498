"""A data set as one table: which image, which label, which split.

`DATA/{train,val,test}/<class>/*` gives the split; for `DATA/<class>/*` it is drawn when loaded, by
plate where known; a `manifest.csv` has `path,label` and may have `split,plate_id,thickness_mm, …`.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alloyk.data.channels import refuse_channels, with_channels
from alloyk.data.discovery import (
    existing_folder,
    inner_class_notes,
    list_folders,
    only_class_hint,
)
from alloyk.data.folds import condition_split, fold_split
from alloyk.data.image_paths import ImagePaths
from alloyk.data.journal import refuse_unfinished
from alloyk.data.manifest import MANIFEST, check_manifest_files, manifest_in, read_manifest
from alloyk.data.names import SPLITS, split_called
from alloyk.data.notes import (
    link_notes,
    reference_notes,
    repeat_notes,
    shared_group_notes,
    spelling_notes,
    split_notes,
    taken_notes,
)
from alloyk.data.rows import image_rows
from alloyk.data.splits import (
    checked_ratios,
    group_cells,
    group_name,
    split_table,
)
from alloyk.data.stamps import stamps_digest
from alloyk.data.tree import find_images
from alloyk.errors import DataError
from alloyk.imaging import ChannelChoice, PageChoice, RawLayout
from alloyk.imaging.store import has_store, open_store
from alloyk.messages import counted, few, shown
from alloyk.settings.data import RATIOS

if TYPE_CHECKING:
    import pandas as pd

# Written beside the splits by `alloyk split`.
RECORD = "split.json"


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images on disk with their labels and splits; nothing is decoded.

    Attributes:
        root: The folder that `path` is relative to.
        table: Columns `path` (with `/`), `label` (text), `split` (train, val, test) and every
            further column of the manifest; one row per image.
        classes: All labels, sorted; the index of a label is its class number.
        grouped_by: What the split is grouped by: a column or a regular expression, `"folders"` or
            `"manifest"` if the split was given and its origin is not known, None if it was drawn by
            image.
        split_given: Whether the data set had a split of its own, and it was used.
        notes: Sentences for the user about the data set.
        skipped: Paths of images that cannot be read and were left out.
        page: Pages to read from files with several.
        raw: Layout of raw files without a sidecar.
        hdf5_path: Path of the array of images inside HDF5 files.
        channels: Which images are the channels of one sample.
    """

    root: Path
    table: "pd.DataFrame"
    classes: tuple[str, ...]
    grouped_by: str | None
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    page: PageChoice | None = None
    raw: RawLayout | None = None
    hdf5_path: str | None = None
    channels: ChannelChoice | None = None
    split_given: bool = False

    @property
    def simulated(self) -> bool:
        """Whether the images come from alloyk's own simulator."""
        return (self.root / "simulation.yaml").is_file()

    def split(self, name: str) -> "pd.DataFrame":
        """Return the rows of one split, renumbered from 0, in the table's order."""
        if name not in SPLITS:
            raise DataError(f"the split must be one of {', '.join(SPLITS)}, got {name!r}")
        return self.table[self.table["split"] == name].reset_index(drop=True)

    def paths(self, name: str) -> ImagePaths:
        """Return the absolute paths of one split, in the order of `split`."""
        return ImagePaths(self.root.absolute(), self.split(name)["path"].to_numpy(dtype=object))

    def labels(self, name: str) -> np.ndarray:
        """Return the class indices of one split, `(images,)` int64, in the order of `split`."""
        number = {label: i for i, label in enumerate(self.classes)}
        return np.array([number[label] for label in self.split(name)["label"]], dtype=np.int64)

    def fingerprint(self) -> str:
        """Return a hash of all paths, sizes, time stamps, labels and splits, 64 hex digits.

        It includes the descriptions of raw files, the path inside HDF5 files, and the files that
        these take images from.

        Raises:
            DataError: A file was removed after the data set was loaded.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return stamps_digest(self.root, self.table, self.hdf5_path)


def load_dataset(
    data: str | Path,
    *,
    ratios: tuple[float, ...] = RATIOS,
    group_by: str | None = None,
    seed: int = 0,
    fold: tuple[int, int] | None = None,
    leave_out: tuple[str, str] | None = None,
    page: PageChoice | None = None,
    raw: RawLayout | None = None,
    hdf5_path: str | None = None,
    channels: ChannelChoice | None = None,
) -> ImageDataset:
    """Load a data set; give it the splits that it lacks.

    A split given by folders or manifest is kept. If val or test is missing, it is drawn from
    train; where nothing is given, everything is divided; by group as `split_table` does. With
    `fold` or `leave_out`, all images are split again, independent of a given split.

    Args:
        data: A folder of class folders, a folder of splits of class folders, or a manifest; a
            folder with a manifest.csv is read by it.
        ratios: Shares of train, val and test where they are drawn.
        group_by: As in `split_table`.
        seed: Seed of the draw.
        fold: Number, from 1, of the fold to test on, and how many there are.
        leave_out: Column and value of the condition to test on.
        page: Pages to read from files with several; None refuses them when they are read.
        raw: Layout of raw files without a sidecar.
        hdf5_path: Path of the array of images inside HDF5 files; None reads the NeXus default or
            the only array of images.
        channels: Which images are the channels of one sample; None if each image is one.

    Raises:
        DataError: One line that names what is missing, empty, misplaced, doubled or unknown.
    """
    ratios = checked_ratios(ratios)
    root, table, given_by, notes = read_table(
        Path(data), page=page, raw=raw, hdf5_path=hdf5_path, channels=channels
    )
    refuse_channels(root, table["path"])
    # The record is that of the folder, and not of another manifest in it.
    own = given_by != "manifest" or Path(data).is_dir() or Path(data) == manifest_in(root)
    record = read_record(root) if own else None
    labels = sorted(set(table["label"]))
    if len(labels) < 2:
        hint = only_class_hint(root, table["path"].tolist(), given_by)
        raise DataError(
            f"{shown(data)} must have two or more classes, got {labels[0]!r} alone"
            f"{hint}; add the others, each in a separate folder. "
            "`alloyk evaluate RUN --data … --split all` evaluates a single class"
        )
    split_given = "split" in table.columns and not (fold or leave_out)
    if fold or leave_out:
        table = table.drop(columns="split", errors="ignore")
        grouped_by = group_name(table.columns, group_by)
        table["split"] = (
            fold_split(table, fold, ratios, group_by, seed)
            if fold
            else condition_split(table, *(leave_out or ("", "")), ratios, group_by, seed)
        )
    elif split_given:
        grouped_by = given_by if record is None else record["group_by"]
        given, table = table, _complete_splits(data, table, ratios, group_by, seed)
        notes += taken_notes(data, given, table, ratios, group_by, seed)
    else:
        grouped_by = group_name(table.columns, group_by)
        table["split"] = split_table(table, ratios, group_by, seed)
    _refuse_unlearned(data, table)
    notes += shared_group_notes(table, group_by)
    first = ["path", "label", "split"]
    table = table[first + [name for name in table.columns if name not in first]]
    return ImageDataset(
        root, table.reset_index(drop=True), tuple(labels), grouped_by, tuple(notes),
        page=page, raw=raw, hdf5_path=hdf5_path, channels=channels, split_given=split_given,
    )  # fmt: skip


def read_table(
    data: Path,
    *,
    labelled: bool = True,
    page: PageChoice | None = None,
    raw: RawLayout | None = None,
    hdf5_path: str | None = None,
    channels: ChannelChoice | None = None,
) -> "tuple[Path, pd.DataFrame, str, list[str]]":
    """Read a data set as it is, without drawing splits.

    Args:
        data: As in `load_dataset`.
        labelled: False accepts a manifest without labels.
        page: As in `load_dataset`.
        raw: As in `load_dataset`.
        hdf5_path: As in `load_dataset`.
        channels: As in `load_dataset`.

    Returns:
        The folder, the table, `"folders"` or `"manifest"`, and the notes.
    """
    root, files, given_by, notes = read_files(data, labelled=labelled)
    table = image_rows(root, files, page=page, raw=raw, hdf5_path=hdf5_path)
    table, left_out = with_channels(table, channels)
    return root, table, given_by, notes + left_out


def read_files(data: Path, *, labelled: bool = True) -> "tuple[Path, pd.DataFrame, str, list[str]]":
    """`read_table`, a row for each file."""
    refuse_unfinished(data.parent if data.is_file() else data)
    root, table, given_by, notes = _manifest_or_folders(data, labelled)
    return root, table, given_by, notes + spelling_notes(table)


def _manifest_or_folders(data: Path, labelled: bool) -> "tuple[Path, pd.DataFrame, str, list[str]]":
    if data.is_file():
        if data.suffix.lower() != ".csv":
            existing_folder(data)
        return _from_manifest(data, labelled, whole_folder=False)
    root = existing_folder(data)
    manifest = manifest_in(root)
    if manifest:
        return _from_manifest(manifest, labelled, whole_folder=True)
    if has_store(root):
        raise DataError(f"{shown(root)} must have a {MANIFEST} beside its shards; restore it")
    tree = find_images(root)
    notes = []
    others = [path for path in tree.others if path not in (RECORD, "simulation.yaml")]
    if others:
        notes.append(f"Ignored {counted(len(others), 'non-image file')}: {few(others)}.")
    notes += link_notes(tree.links_out) + repeat_notes(tree.repeats)
    notes += reference_notes(tree.references)
    table = list_folders(root, tree)
    if "split" in table.columns:
        notes += split_notes(
            dict(zip(table["path"].str.split("/").str[0], table["split"], strict=True))
        )
    else:
        notes += inner_class_notes(table["path"])
    return root, table, "folders", notes


def read_record(root: Path) -> dict[str, Any] | None:
    """Return how `alloyk split` drew the split in this folder, or None."""
    try:
        record = json.loads((root / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and "group_by" in record else None


def _from_manifest(
    file: Path, labelled: bool, whole_folder: bool
) -> "tuple[Path, pd.DataFrame, str, list[str]]":
    root = file.parent
    open_store(root)
    table, notes = read_manifest(file, labelled=labelled)
    notes += link_notes(check_manifest_files(file, table, whole_folder=whole_folder))
    if "split" in table.columns:
        _refuse_contradiction(file, table)
    return root, table, "manifest", notes


def _refuse_contradiction(file: Path, table: "pd.DataFrame") -> None:
    """Refuse a manifest whose splits are not those of the folders."""
    tops = table["path"].str.split("/", n=1).str[0].where(table["path"].str.contains("/"), "")
    named = {top: split_called(top) for top in set(tops)}
    exact = all(named.values())  # else `valid` may be a class
    folder = tops.map(lambda top: named[top] if exact or top in SPLITS else None)
    other = table.loc[folder.notna() & (folder != table["split"]), "path"]
    if len(other):
        raise DataError(
            f"{shown(file)} gives {counted(len(other))} another split than the folder does "
            f"({few(other)}); make them agree"
        )


def _complete_splits(
    data: str | Path,
    table: "pd.DataFrame",
    ratios: tuple[float, ...],
    group_by: str | None,
    seed: int,
) -> "pd.DataFrame":
    """Draw val and test from train where folders or manifest give none."""
    missing = [name for name in SPLITS if name not in set(table["split"])]
    if not missing:
        return table
    if "train" in missing:
        raise DataError(f"{shown(data)} must have images in train, got none")
    kept = {
        name: ratio
        for name, ratio in zip(SPLITS, ratios, strict=True)
        if name == "train" or name in missing
    }
    shares = tuple(kept.get(name, 0.0) / sum(kept.values()) for name in SPLITS)
    train = table[table["split"] == "train"]
    name = group_name(train.columns, group_by)
    if name is not None and name in train.columns:
        cells = group_cells(train[name])
        alone = "image " + train["path"]  # one whose plate is not known is a plate of its own
        train = train.assign(**{name: cells.where(cells != "", alone)})
    table = table.copy()
    table.loc[train.index, "split"] = split_table(train, shares, group_by, seed)
    return table


def _refuse_unlearned(data: str | Path, table: "pd.DataFrame") -> None:
    learned = set(table.loc[table["split"] == "train", "label"])
    for name in ("val", "test"):
        unknown = sorted(set(table.loc[table["split"] == name, "label"]) - learned)
        if unknown:
            raise DataError(
                f"{shown(data)} has the class {few(map(repr, unknown))} in {name} but not in "
                "train, so it cannot be learned; add training images, or remove it"
            )
