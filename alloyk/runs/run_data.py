"""The data set of a run, opened as it was in training and verified against the split record.

What resumes a run, evaluates it or explains it takes its images from here. No image that was used
for training can become a test image, however the data set has changed since.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alloyk.data import PLATE, SPLITS, ImageDataset, group_name
from alloyk.data.channels import refuse_channels
from alloyk.data.dataset import read_record, read_table
from alloyk.data.notes import shared_group_notes, taken_notes
from alloyk.data.source import data_path, open_dataset, skipped_notes, without_unreadable
from alloyk.errors import DataError, ModelError
from alloyk.messages import counted, few, shown
from alloyk.runs.destination import refuse_in_data
from alloyk.runs.folder import RunFolder
from alloyk.runs.split_record import SKIPPED, SplitRecord, image_digests
from alloyk.settings.data import DataSettings

if TYPE_CHECKING:
    import pandas as pd


def refuse_in_run_data(
    out: Path, run: str | Path, data: str | Path | None = None, *, option: str = "--out"
) -> None:
    """Require a file or folder outside the data set of a run; see `refuse_in_data`.

    Args:
        out: The file or folder to write.
        run: Run folder, or a model file, whose data set is not known.
        data: The data set that is read in its place, if any.
        option: What `out` was given by, for the error.
    """
    folder = RunFolder(run)
    if folder.config_file.is_file():
        refuse_in_data(out, folder.settings.data.path, option)
    refuse_in_data(out, data, option)


def open_run_data(
    run: str | Path, data: str | Path | None = None, *, split: str | None = "test"
) -> ImageDataset:
    """Open a run's own data set, with the splits that its images had in training.

    Images added since are left out; the notes report every other change.

    Args:
        run: Run folder.
        data: Where the data set is now; by default where it was in training.
        split: The split that is needed, `"all"` for every one: its images must all be there,
            with the content they had. None needs none.

    Raises:
        AlloykError: The data set is not there, is another one, or an image of `split` is missing
            or has changed.
    """
    folder = RunFolder(run)
    settings, record = _data_settings(folder, data), folder.split_record
    if data is None:
        refuse_missing_data(folder.path, "give its new location with --data")
    if record is None:
        dataset = open_dataset(settings)
        note = (
            f"{shown(folder.path)} has no {folder.split_file.name}: which images it was trained on "
            "cannot be verified."
        )
        return replace(dataset, notes=(*dataset.notes, note))
    if data is not None and split is not None and not is_run_data(run, data):
        raise DataError(
            f"--data must be the data set that {shown(folder.path)} was trained on, but "
            f"{shown(data)} has none of its test images with the same path and content; give the "
            "new location of that data set"
        )
    path = data_path(settings.path, settings.simulate)
    dataset = _as_in_training(settings, path, record)
    if split is not None:
        needed = record.of(*(SPLITS if split == "all" else (split,)))
        _refuse_changed(folder, path, dataset, needed, "" if split == "all" else f"{split} ")
    return dataset


def is_run_data(run: str | Path, data: str | Path) -> bool:
    """Return whether `data` is the data set that a run was trained on, or a copy.

    It is when it has a test image of the run, under the same path and with the same content.
    """
    folder = RunFolder(run)
    record, settings = folder.split_record, folder.settings.data
    if record is None:
        return False
    root, table, _, _ = read_table(Path(data), **_reading(settings))
    test = record.of("test")["sha256"]
    there = test[test.index.isin(table["path"])]
    return any(image_digests(root, [str(path)])[0] == digest for path, digest in there.items())


def open_other_data(run: str | Path, data: str | Path, *, whole: bool = False) -> ImageDataset:
    """Open another data set with the split settings of a run.

    Args:
        run: Run folder.
        data: The data set.
        whole: Take all of it: no split is drawn, and one class is enough.
    """
    settings = _data_settings(RunFolder(run), data)
    if not whole:
        return open_dataset(settings)
    path = data_path(settings.path, settings.simulate)
    root, table, _, notes = read_table(path, **_reading(settings))
    refuse_channels(root, table["path"])
    if "split" not in table.columns:
        table = table.assign(split="")
    classes = tuple(sorted(set(table["label"])))
    dataset = ImageDataset(root, table, classes, None, tuple(notes), channels=settings.channels)
    return without_unreadable(dataset) if settings.skip_unreadable else dataset


def training_image_notes(run: str | Path, dataset: ImageDataset, paths: Sequence[str]) -> list[str]:
    """Report how many images of another data set were used to train a run.

    They are known by their content; in the run's own folder also by their plate, which elsewhere
    may be another one of the same name.

    Args:
        run: Run folder.
        dataset: From `open_other_data`.
        paths: Paths of the images to be evaluated.
    """
    folder = RunFolder(run)
    record = folder.split_record
    if record is None:
        return []
    known = record.of("train", "val")
    table = dataset.table.set_index("path").loc[list(paths)]
    seen = image_digests(dataset.root, paths).isin(known["sha256"]).to_numpy()
    if PLATE in table.columns and PLATE in known.columns:
        settings = folder.settings.data
        own = data_path(settings.path, settings.simulate)
        own_root = own if own.is_dir() else own.parent
        if own_root.resolve() == dataset.root.resolve():
            seen = seen | (table[PLATE].isin(known[PLATE]) & (table[PLATE] != "")).to_numpy()
    if not seen.any():
        return []
    return [
        f"{int(seen.sum())} of the {len(table)} images, or other images of their plates, were used "
        f"to train {shown(folder.path)} ({few(table.index[seen])}); results are optimistic."
    ]


def refuse_changed_data(run: str | Path, dataset: ImageDataset) -> None:
    """Require the very images that an interrupted training run was started with.

    Raises:
        AlloykError: An image was added, is missing, or has different content, label or split.
    """
    folder = RunFolder(run)
    record = folder.split_record
    if record is None:
        raise ModelError(
            f"{shown(folder.path)} has no {folder.split_file.name}, so the images of its epochs "
            "cannot be verified; train into a new folder"
        )
    now, before = dataset.table.set_index("path"), record.used
    both = before.loc[before.index.isin(now.index)]
    digests = image_digests(dataset.root, both.index).to_numpy()
    columns = [name for name in ("label", "split", PLATE) if name in both and name in now]
    changes = {
        ("were", "added"): now.index.difference(before.index),
        ("are", "missing"): before.index.difference(now.index),
        ("have", "different content"): both.index[both["sha256"] != digests],
        **{
            ("have", f"another {name}"): both.index[
                both[name] != now.loc[both.index, name].astype(str)
            ]
            for name in columns
        },
    }
    for (verb, what), paths in changes.items():
        if len(paths):
            raise DataError(
                f"the images must be those that {shown(folder.path)} was started with, but "
                f"in {shown(dataset.root)} {counted(len(paths), verb=verb)} {what} ({few(paths)}); "
                "restore the data set, or train into a new folder"
            )


def refuse_missing_data(run: str | Path, remedy: str) -> None:
    """Raise DataError if the data set of a run is no longer where it was in training.

    Args:
        run: Run folder.
        remedy: What to do, for the error.
    """
    folder = RunFolder(run)
    path = folder.settings.data.path
    if path is not None and not path.exists():
        raise DataError(
            f"the data set of {shown(folder.path)} is no longer at {shown(path)}, the path in "
            f"{shown(folder.config_file)}; {remedy}"
        )


def _reading(settings: DataSettings) -> dict[str, Any]:
    """How files become images: arguments of `read_table` and attributes of `ImageDataset`."""
    return {
        "page": settings.page, "raw": settings.raw, "hdf5_path": settings.hdf5_path,
        "channels": settings.channels,
    }  # fmt: skip


def _data_settings(folder: RunFolder, data: str | Path | None) -> DataSettings:
    settings = folder.settings.data
    return settings if data is None else replace(settings, path=Path(data).absolute())


def _as_in_training(settings: DataSettings, path: Path, record: SplitRecord) -> ImageDataset:
    """The recorded images that are still there, with their splits; notes report the changes.

    Where nothing has changed it is what `open_dataset` returns.
    """
    root, listed, given_by, notes = read_table(path, **_reading(settings))
    known = listed["path"].isin(record.table.index)
    added = listed.loc[~known, "path"]
    listed = listed[known].reset_index(drop=True)
    recorded = record.table.loc[listed["path"], "split"].to_numpy()
    used = recorded != SKIPPED
    table = listed.assign(split=recorded)[used].reset_index(drop=True)
    skipped = tuple(listed.loc[~used, "path"])

    grouped_by = group_name(table.columns, settings.group_by)
    is_given = "split" in listed.columns and not (settings.fold or settings.leave_out)
    if is_given:
        made = read_record(root)
        grouped_by = given_by if made is None else made["group_by"]
        notes += taken_notes(
            path, listed, table, settings.ratios, settings.group_by, settings.split_seed
        )
    notes += shared_group_notes(table, settings.group_by)
    notes += skipped_notes(skipped)
    notes += _change_notes(record, table, added, _moved(listed, recorded) if is_given else None)

    first = ["path", "label", "split"]
    table = table[first + [name for name in table.columns if name not in first]]
    classes = tuple(sorted(set(table["label"])))
    return ImageDataset(
        root, table, classes, grouped_by, tuple(notes), skipped, **_reading(settings)
    )


def _moved(listed: "pd.DataFrame", recorded: np.ndarray) -> "list[str]":
    """Paths of images that the data set now gives another split than in training."""
    now = listed["split"].to_numpy()
    # `load_dataset` takes val and test out of train where they are not given.
    taken = (now == "train") & ~np.isin(recorded, now)
    return list(listed.loc[(recorded != SKIPPED) & (now != recorded) & ~taken, "path"])


def _change_notes(
    record: SplitRecord,
    table: "pd.DataFrame",
    added: "pd.Series[str]",
    moved: list[str] | None,
) -> list[str]:
    """A sentence on each way in which the data set differs from the record."""
    missing = record.used.index.difference(list(table["path"]), sort=False)
    relabelled = table["label"] != record.table.loc[table["path"], "label"].to_numpy()
    changes = {
        ("were", "added after training and left out"): added,
        ("are", "missing since training"): missing,
        ("have", "another label than in training"): table.loc[relabelled, "path"],
        ("have", "another split now than in training, which is kept"): moved,
    }
    return [
        f"{counted(len(paths), verb=verb)} {what}: {few(paths)}."
        for (verb, what), paths in changes.items()
        if paths is not None and len(paths)
    ]


def _refuse_changed(
    folder: RunFolder, path: Path, dataset: ImageDataset, needed: "pd.DataFrame", which: str
) -> None:
    """Stop when a needed image is missing or has different content.

    Args:
        folder: The run.
        path: Its data set as named.
        dataset: Its data set as opened.
        needed: Rows of the split record.
        which: Name of the split and a space, for the error.
    """
    missing = needed.index.difference(list(dataset.table["path"]))
    changed = needed.index[:0]
    if not len(missing):
        digests = image_digests(dataset.root, needed.index)
        changed = needed.index[digests != needed["sha256"].to_numpy()]
    for paths, what in (
        (missing, "missing"),
        (changed, "with different content"),
    ):
        if len(paths):
            run, all_of_them = shown(folder.path), counted(len(needed), f"{which}image")
            raise DataError(
                f"the {all_of_them} of {run} must be there unchanged, got {len(paths)} {what} "
                f"({few(paths)}); restore them in {shown(dataset.root)}, or evaluate the images "
                f"there as other data: alloyk evaluate {run} --data {shown(path)} --split all"
            )
