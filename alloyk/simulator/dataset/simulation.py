"""Simulate a labelled data set, in memory or as a folder.

Example:
    >>> images, table = simulate_arrays(preset="easy", images=4, image_size=32, seed=1)
    >>> images.shape, images.dtype.name
    ((4, 32, 32), 'uint16')
    >>> table["label"].tolist()
    ['1050', '1050', '2017', '2017']
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alloyk.progress import NO_PROGRESS, Progress
from alloyk.simulator.dataset.manifest import manifest_table
from alloyk.simulator.dataset.recipe import make_recipe
from alloyk.simulator.dataset.render import Simulator
from alloyk.simulator.dataset.writer import write_dataset

if TYPE_CHECKING:
    import pandas


def simulate_arrays(
    preset: str = "study",
    *,
    images: int = 3000,
    image_size: int = 224,
    seed: int = 0,
    alloys: Sequence[str] | None = None,
    images_per_plate: int = 1,
    imbalance: float = 1.0,
    class_order: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> tuple[np.ndarray, "pandas.DataFrame"]:
    """Simulate a data set in memory, with the same counts as `simulate_dataset`.

    Returns:
        Counts, uint16 `(images, image_size, image_size)`, and the manifest, one row per image.

    Raises:
        ConfigError: A preset, alloy or parameter is unknown, or a value is out of its range.
    """
    recipe = make_recipe(
        preset, alloys=alloys, overrides=overrides, images=images, image_size=image_size,
        seed=seed, images_per_plate=images_per_plate, imbalance=imbalance,
        class_order=tuple(class_order),
    )  # fmt: skip
    simulator = Simulator(recipe)
    planned = list(recipe.plan())
    return np.stack([simulator.image(one) for one in planned]), manifest_table(planned)


def simulate_dataset(
    out: str | Path,
    *,
    preset: str = "study",
    images: int = 3000,
    image_size: int = 224,
    seed: int = 0,
    alloys: Sequence[str] | None = None,
    images_per_plate: int = 1,
    imbalance: float = 1.0,
    class_order: Sequence[str] = (),
    image_format: str = "png",
    bits: int = 16,
    with_flats: bool = False,
    contact_sheet: bool = False,
    overrides: Mapping[str, Any] | None = None,
    workers: int | None = None,
    progress: Progress = NO_PROGRESS,
) -> Path:
    """Write a data set: `<label>/*.png`, `manifest.csv`, `plates.csv` and `simulation.yaml`.

    The folder is written under a temporary name beside `out` and renamed at the end, so an
    interrupted call leaves nothing. The bytes do not depend on `workers`.

    Args:
        out: Folder to create; an existing one must be empty.
        preset: Name in `alloyk.simulator.settings.presets.PRESETS`.
        images: Number of images, equally many of each class unless `imbalance` is set.
        image_size: Pixels along each side.
        seed: Seed of all random numbers.
        alloys: Class labels instead of the preset's.
        images_per_plate: Number of images of each plate.
        imbalance: Size of the largest class divided by that of the smallest.
        class_order: Classes from the largest to the smallest.
        image_format: `"png"` or `"tiff"`.
        bits: Bit depth of the files; the counts are not scaled to it.
        with_flats: Whether to write flat and dark frames into `_calibration/` too.
        contact_sheet: Whether to draw `contact_sheet.png` too.
        overrides: Dotted parameter key → value, see `alloyk.simulator.settings.overrides`.
        workers: Number of processes; by default as many as save time, at most one per core.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        The folder.

    Raises:
        ConfigError: A setting is wrong.
        DataError: The folder is not empty or cannot be written.
    """
    recipe = make_recipe(
        preset, alloys=alloys, overrides=overrides, images=images, image_size=image_size,
        seed=seed, images_per_plate=images_per_plate, imbalance=imbalance,
        class_order=tuple(class_order), image_format=image_format, bits=bits,
        with_flats=with_flats,
    )  # fmt: skip
    return write_dataset(
        recipe, out, contact_sheet=contact_sheet, workers=workers, progress=progress
    )
