"""What a run was trained on: kept with it from the start, and held against what is there later.

A split that is drawn when a data set is loaded comes out otherwise once images are added, and a
folder of the same name may hold other images. So a run keeps ``split.csv``: every image with its
label, its split and the SHA-256 of its file. Whatever goes on with the run, judges it or explains
it takes its images by that file, and no image that was trained on can become a test image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alloyk.config import Config, resolve_config
from alloyk.data import PLATE, SPLITS, group_name
from alloyk.data.dataset import (
    ImageDataset,
    read_record,
    read_table,
    shared_groups,
    taken_notes,
)
from alloyk.data.source import (
    data_path,
    open_dataset,
    skipped_notes,
    without_unreadable,
)
from alloyk.errors import AlloykError
from alloyk.files import few, sha256, whole_file
from alloyk.imaging import shown

if TYPE_CHECKING:
    import pandas as pd

SPLIT_FILE = "split.csv"
# In the column `split`, of an image that could not be read and was left out.
SKIPPED = "skipped"
_COLUMNS = ("path", "label", "split", "sha256")


def write_split_file(run: Path, dataset: ImageDataset) -> None:
    """Write ``split.csv``: ``path,label,split,plate_id,sha256``, the plate where it is known.

    Raises:
        AlloykError: An image cannot be read, or the file cannot be written.
    """
    import pandas as pd

    columns = [name for name in ("path", "label", "split", PLATE) if name in dataset.table.columns]
    table = dataset.table[columns].copy()
    table["sha256"] = _digests(dataset.root, table["path"])
    skipped = pd.DataFrame({"path": dataset.skipped, "split": SKIPPED}, dtype=object)
    with whole_file(Path(run) / SPLIT_FILE) as unfinished:
        pd.concat([table, skipped]).to_csv(unfinished, index=False, lineterminator="\n")


def read_split_file(run: Path) -> "pd.DataFrame | None":
    """Read ``split.csv``, all of it text, with `path` as index; None where the run has none."""
    import pandas as pd

    file = Path(run) / SPLIT_FILE
    if not file.exists():
        return None
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise AlloykError(f"cannot read {file}: {' '.join(str(error).split())}") from error
    if not set(_COLUMNS) <= set(table.columns) or table["path"].duplicated().any():
        raise AlloykError(
            f"{file} is damaged: wanted the columns {','.join(_COLUMNS)} and each path once; "
            "restore it, or train again into a new folder"
        )
    return table.set_index("path")


def open_run_data(
    run: Path, data: str | Path | None = None, *, split: str | None = "test"
) -> ImageDataset:
    """Open a run's own data set, with the splits that its images had in training.

    Images that came later are left out; what else has changed is said in the notes.

    Args:
        run: Run folder.
        data: Where the data set lies now; by default where it lay in training.
        split: The split that is wanted, ``"all"`` for every one: its images must all be there,
            with the content they had. None wants nothing.

    Raises:
        AlloykError: The data set is not there, is another one, or an image of `split` is missing
            or has changed.
    """
    run = Path(run)
    config, record = _config_of(run, data), read_split_file(run)
    if data is None:
        refuse_gone_data(run, config, "name the place where it lies now by --data")
    if record is None:
        dataset = open_dataset(config)
        note = f"{shown(run)} has no {SPLIT_FILE}: nothing proves which images it was trained on."
        return replace(dataset, notes=(*dataset.notes, note))
    if data is not None and split is not None and not is_run_data(run, data):
        raise AlloykError(
            f"{shown(data)} is not the data set that {shown(run)} was trained on: no test image "
            "is there under its path with its content; name the place where that one lies now"
        )
    path = data_path(config)
    dataset = _as_in_training(config, path, record)
    if split is not None:
        wanted = record[record["split"].isin(SPLITS if split == "all" else (split,))]
        _refuse_changed(run, path, dataset, wanted, "" if split == "all" else f"{split} ")
    return dataset


def is_run_data(run: Path, data: str | Path) -> bool:
    """Tell whether `data` is the data set that a run was trained on, here or copied elsewhere.

    It is when it has a test image of the run, under the same path and with the same content.
    """
    record = read_split_file(run)
    if record is None:
        return False
    root, table, _, _ = read_table(Path(data))
    test = record.loc[record["split"] == "test", "sha256"]
    there = test[test.index.isin(table["path"])]
    return any(sha256(root / path) == digest for path, digest in there.items())


def open_other_data(run: Path, data: str | Path, *, whole: bool = False) -> ImageDataset:
    """Open a data set as it is, with the preprocessing settings of a run.

    Args:
        run: Run folder.
        data: The data set.
        whole: Take all of it: no split is drawn, and one class is enough.
    """
    config = _config_of(Path(run), data)
    if not whole:
        return open_dataset(config)
    root, table, _, notes = read_table(data_path(config))
    if "split" not in table.columns:
        table = table.assign(split="")
    dataset = ImageDataset(root, table, tuple(sorted(set(table["label"]))), None, tuple(notes))
    return without_unreadable(dataset) if config.data.on_bad_image == "skip" else dataset


def seen_notes(run: Path, dataset: ImageDataset, paths: Sequence[str]) -> list[str]:
    """Say how many images of another data set a run has seen in training or validation.

    Known by their content; in the run's own folder also by their plate, which elsewhere may be
    another one of the same name.

    Args:
        run: Run folder.
        dataset: From `open_other_data`.
        paths: Of the images that are to be judged.
    """
    record = read_split_file(run)
    if record is None:
        return []
    known = record[record["split"].isin(("train", "val"))]
    table = dataset.table.set_index("path").loc[list(paths)]
    seen = _digests(dataset.root, paths).isin(known["sha256"]).to_numpy()
    if PLATE in table.columns and PLATE in known.columns:
        own = data_path(_config_of(Path(run), None))
        own_root = own if own.is_dir() else own.parent
        if own_root.resolve() == dataset.root.resolve():
            seen = seen | (table[PLATE].isin(known[PLATE]) & (table[PLATE] != "")).to_numpy()
    if not seen.any():
        return []
    return [
        f"{int(seen.sum())} of the {len(table)} images, or their plates, have taught "
        f"{shown(run)} ({few(table.index[seen])}): figures with them flatter it."
    ]


def refuse_other_data(run: Path, dataset: ImageDataset) -> None:
    """Let a training go on with the very images that it was begun with.

    Raises:
        AlloykError: An image was added, has gone, or has another content, label or split.
    """
    record = read_split_file(run)
    if record is None:
        raise AlloykError(
            f"{shown(run)} has no {SPLIT_FILE}: nothing says which images its epochs were trained "
            "on; train into a new folder"
        )
    now = dataset.table.set_index("path")
    before = record[record["split"] != SKIPPED]
    both = before.loc[before.index.isin(now.index)]
    digests = _digests(dataset.root, both.index).to_numpy()
    columns = [name for name in ("label", "split", PLATE) if name in both and name in now]
    changes = {
        "came later": now.index.difference(before.index),
        "are missing": before.index.difference(now.index),
        "have another content": both.index[both["sha256"] != digests],
        **{
            f"have another {name}": both.index[both[name] != now.loc[both.index, name].astype(str)]
            for name in columns
        },
    }
    for what, paths in changes.items():
        if len(paths):
            raise AlloykError(
                f"{shown(run)} was begun with other images than are in {shown(dataset.root)} now: "
                f"{len(paths)} {what} ({few(paths)}); put the data set back as it was, or train "
                "into a new folder"
            )


def refuse_gone_data(run: Path, config: Config, remedy: str) -> None:
    """Say where the data set of a run lay, when it is not there any more."""
    path = config.data.path
    if path is not None and not path.exists():
        raise AlloykError(
            f"the data set of {shown(run)} is not at {shown(path)} any more, where "
            f"{shown(Path(run) / 'config.yaml')} has it: {remedy}"
        )


def _config_of(run: Path, data: str | Path | None) -> Config:
    overrides = {"data": {"path": str(data)}} if data else {}
    return resolve_config(run / "config.yaml", overrides)


def _as_in_training(config: Config, path: Path, record: "pd.DataFrame") -> ImageDataset:
    """The images of `record` that are there, with their splits; notes say what has changed.

    Where nothing has changed it is what `open_dataset` returns.
    """
    settings = config.data
    root, table, given_by, notes = read_table(path)
    held_out, group_by = settings.fold or settings.leave_out, settings.group_by
    known = table["path"].isin(record.index)
    later = table.loc[~known, "path"]
    given = table[known].reset_index(drop=True)
    before = record.loc[given["path"]]
    table = given.assign(split=before["split"].to_numpy())
    kept = table["split"] != SKIPPED
    skipped = tuple(table.loc[~kept, "path"])
    table = table[kept].reset_index(drop=True)
    grouped_by = group_name(table.columns, group_by)
    if "split" in given.columns and not held_out:
        made = read_record(root)
        grouped_by = given_by if made is None else made["group_by"]
        notes += taken_notes(path, given, table, settings.ratios, group_by, settings.split_seed)
    notes += shared_groups(table, group_by)
    notes += skipped_notes(skipped)
    gone = record.index[(record["split"] != SKIPPED) & ~record.index.isin(table["path"])]
    relabelled = table.loc[table["label"] != record.loc[table["path"], "label"].to_numpy(), "path"]
    changes = {
        "came after the training and are left out": later,
        "of the training are not there any more": gone,
        "have another label than in training": relabelled,
    }
    if "split" in given.columns and not held_out:
        now, then = given["split"].to_numpy(), before["split"].to_numpy()
        taken = (now == "train") & ~np.isin(then, now)  # by `load_dataset`, for a split not given
        moved = given.loc[kept & (now != then) & ~taken, "path"]
        changes["are now given another split than in training, which is kept"] = moved
    notes += [
        f"{len(paths)} images {what}: {few(paths)}."
        for what, paths in changes.items()
        if len(paths)
    ]
    first = ["path", "label", "split"]
    table = table[first + [name for name in table.columns if name not in first]]
    classes = tuple(sorted(set(table["label"])))
    return ImageDataset(root, table, classes, grouped_by, tuple(notes), skipped)


def _refuse_changed(run, path, dataset: ImageDataset, wanted: "pd.DataFrame", which: str) -> None:
    """Stop when one of the `wanted` images is missing or has another content."""
    missing = wanted.index.difference(dataset.table["path"])
    changed = wanted.index[:0]
    if not len(missing):
        changed = wanted.index[_digests(dataset.root, wanted.index) != wanted["sha256"].to_numpy()]
    for paths, what in (
        (missing, "are not there any more"),
        (changed, "have another content than in training"),
    ):
        if len(paths):
            raise AlloykError(
                f"{len(paths)} of the {len(wanted)} {which}images of {shown(run)} {what} "
                f"({few(paths)}): put them back in {shown(dataset.root)}, or judge what is there "
                f"as other images: alloyk evaluate {shown(run)} --data {shown(path)} --split all"
            )


def _digests(root: Path, paths: Iterable[str]) -> "pd.Series":
    import pandas as pd

    with ThreadPool() as pool:
        digests = pool.map(lambda path: sha256(root / path), list(paths))
    return pd.Series(digests, dtype=object)
