"""Make a labelled radiograph data set: in memory, or as a folder.

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
    """A data set in memory; the same counts that :func:`simulate_dataset` writes.

    Returns:
        Counts, uint16 ``(images, image_size, image_size)``, and the manifest, one row per image.

    Raises:
        AlloykError: Unknown preset, alloy or parameter, or a value out of its range.
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
    """Write a data set: ``<label>/*.png``, `manifest.csv`, `plates.csv`, `simulation.yaml`.

    The files appear under a temporary name beside `out` and get their own at the end, so an
    interrupted run leaves nothing there. The bytes do not depend on `workers`.

    Args:
        out: Folder to make; it may exist if it is empty.
        preset: Name in :data:`alloyk.simulator.settings.presets.PRESETS`.
        images: Number of images, classes even but for `imbalance`.
        image_size: Pixels along each side.
        seed: Of all random numbers.
        alloys: Class labels instead of the preset's.
        images_per_plate: Images that show one plate.
        imbalance: Largest over smallest class.
        class_order: Classes from the largest to the smallest.
        image_format: ``"png"`` or ``"tiff"``.
        bits: Depth of the files; the counts inside are not scaled to it.
        with_flats: Write flat and dark frames into ``_calibration/`` too.
        contact_sheet: Draw `contact_sheet.png` too.
        overrides: Dotted parameter key → value, see :mod:`alloyk.simulator.settings.overrides`.
        workers: Threads; by default one for each core.
        progress: Shows how far it is, see `alloyk.progress`.

    Returns:
        The folder.

    Raises:
        AlloykError: A bad setting, a non-empty folder, a full disk, no permission to write.
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
