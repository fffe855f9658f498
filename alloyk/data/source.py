"""Open the data set of an experiment: a given one, or the embedded default.

The default is simulated on first use and kept in the user's cache folder.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np

from alloyk import __version__
from alloyk.data.dataset import ImageDataset, load_dataset
from alloyk.data.folds import parse_condition, parse_fold
from alloyk.errors import AlloykError, ConfigError, DataError
from alloyk.imaging import read_image
from alloyk.locks import locked_path
from alloyk.messages import counted, few, shown
from alloyk.settings.data import DataSettings

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/alloyk`, by default `~/.cache/alloyk`.

    Source: XDG Base Directory Specification 0.8, which ignores a path that is not absolute.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "alloyk"
    try:
        return Path.home() / ".cache" / "alloyk"
    except RuntimeError:  # a container's user that has no name and no HOME
        raise ConfigError(
            "the embedded data set needs a cache folder, but there is no home folder; set HOME or "
            "XDG_CACHE_HOME, or give --data"
        ) from None


def default_dataset(
    preset: str, images: int, image_size: int, seed: int, overrides: dict[str, Any]
) -> Path:
    """Folder of the simulated data set with these settings, made on first use.

    The folder's name carries the version and all settings, so that images of other
    settings or of an older version are never used.

    Raises:
        AlloykError: A setting is out of range, or the cache folder cannot be written.
    """
    settings = [__version__, preset, images, image_size, seed, overrides]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    folder = cache_folder() / "simulated" / f"{preset}-{images}x{image_size}-{digest}"
    if folder.is_dir():
        return folder
    with locked_path(folder, wait=True):
        if not folder.is_dir():  # another process may have made it meanwhile
            from alloyk.simulator.dataset.simulation import simulate_dataset

            logger.info("simulating %d images (%s) into %s", images, preset, folder)
            simulate_dataset(
                folder, preset=preset, images=images, image_size=image_size, seed=seed,
                overrides=overrides,
            )  # fmt: skip
    return folder


def data_path(path: Path | None, simulate: Mapping[str, Any]) -> Path:
    """The data set at `path`, or the embedded default, simulated on first use."""
    return default_dataset(**simulate) if path is None else path


def open_dataset(settings: DataSettings) -> ImageDataset:
    """Open a data set with its splits, or the embedded default.

    Raises:
        AlloykError: The data set cannot be used.
    """
    dataset = load_dataset(
        data_path(settings.path, settings.simulate),
        ratios=settings.ratios,
        group_by=settings.group_by,
        seed=settings.split_seed,
        fold=parse_fold(settings.fold) if settings.fold else None,
        leave_out=parse_condition(settings.leave_out) if settings.leave_out else None,
        page=settings.page,
        raw=settings.raw,
        hdf5_path=settings.hdf5_path,
        channels=settings.channels,
    )
    return readable_dataset(dataset) if settings.skip_unreadable else dataset


def readable_dataset(dataset: ImageDataset) -> ImageDataset:
    """Drop unreadable images, and require that every split and class can still be used.

    Raises:
        AlloykError: A split or a class has nothing left.
    """
    readable = without_unreadable(dataset)
    left = readable.table
    learned = set(left.loc[left["split"] == "train", "label"])
    empty = [f"class {label!r} in train" for label in dataset.classes if label not in learned]
    empty += [name for name in ("val", "test") if not (left["split"] == name).any()]
    if empty:
        raise DataError(
            f"train must keep a readable image of every class of {shown(dataset.root)}, val and "
            f"test at least one each, got none in {few(empty)} without the "
            f"{counted(len(readable.skipped), 'unreadable image')}; restore images, or split again"
        )
    return readable


def without_unreadable(dataset: ImageDataset) -> ImageDataset:
    """The data set without the images that cannot be read; a warning names each of them."""

    def problem(path: str) -> str | None:
        try:
            read_image(dataset.root / path)
        except AlloykError as error:
            return str(error)
        return None

    with ThreadPool() as pool:
        problems = pool.map(problem, dataset.table["path"])
    for message in problems:
        if message is not None:
            logger.warning("skipped: %s", message)
    read = np.array([message is None for message in problems])
    bad = tuple(dataset.table.loc[~read, "path"])
    notes = (*dataset.notes, *skipped_notes(bad))
    table = dataset.table[read].reset_index(drop=True)
    return replace(dataset, table=table, notes=notes, skipped=bad)


def skipped_notes(paths: Sequence[str]) -> list[str]:
    """The note on the images left out, if any; `facts.json` has their paths."""
    return [f"Left out {counted(len(paths), 'unreadable image')}."] if paths else []
