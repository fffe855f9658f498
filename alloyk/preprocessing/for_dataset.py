"""The preprocessing layers of one data set."""

import datetime
import logging
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from alloyk.data import ImageDataset
from alloyk.data.depths import depth_of
from alloyk.errors import DataError
from alloyk.imaging.times import parsed_time
from alloyk.messages import counted, shown
from alloyk.preprocessing.flat_frames import load_flat_frames
from alloyk.preprocessing.frame_means import is_same_time
from alloyk.preprocessing.layers import build_preprocessing
from alloyk.targets.cells import numbers_in

logger = logging.getLogger(__name__)


def preprocessing_for(
    dataset: ImageDataset,
    *,
    image_size: tuple[int, int],
    normalize: str,
    repair: bool,
    equalize: bool,
    levels: int,
    order: str,
    full_scale: float | None = None,
    flat: str | Sequence[str] | None = None,
    dark: str | None = None,
    attenuation: bool = False,
    upright: bool = False,
) -> keras.Sequential:
    """Build the layers from a raw image of this data set to a gray image in [0, 1].

    Args:
        dataset: The data set of the images and of the flat and dark frames.
        image_size: `(height, width)` of the result.
        normalize: As in `build_preprocessing`.
        repair: As in `build_preprocessing`.
        equalize: As in `build_preprocessing`.
        levels: As in `build_preprocessing`.
        order: As in `build_preprocessing`.
        full_scale: Largest possible pixel value. By default 1 with flat frames, else that of the
            files' depth.
        flat: Flat frames, if any: a file, folder or pattern, or one for each absorber step.
        dark: Dark frames, likewise.
        attenuation: Whether to take `-ln` of the corrected image.
        upright: As in `build_preprocessing`.

    Raises:
        AlloykError: The frames cannot be used, or `full_scale` is needed and the files differ in
            depth.
    """
    frames = None
    if flat:
        exposure, times = exposure_of(dataset), times_of(dataset)
        frames = load_flat_frames(dataset.root, flat, dark, exposure, times)
    if normalize == "full_scale" and full_scale is None:
        full_scale = 1.0 if frames else scale_of(dataset)  # transmission is at most 1
    return build_preprocessing(
        image_size,
        normalize=normalize,
        repair=repair,
        equalize=equalize,
        levels=levels,
        order=order,
        full_scale=full_scale,
        flat_frames=frames,
        attenuation=attenuation,
        upright=upright,
        channels=dataset.channels.count if dataset.channels else 1,
    )


def exposure_of(dataset: ImageDataset) -> float | None:
    """The exposure time of all images, seconds; None, with a warning, if it differs.

    Times that a detector has measured may differ by their rounding.
    """
    if "exposure_s" not in dataset.table.columns:
        return None
    times = numbers_in(dataset.table["exposure_s"])
    known = times[times > 0]  # False for NaN
    if not len(known):
        return None
    if len(known) == len(times) and is_same_time(known.min(), known.max()):
        return float(np.median(known))
    unknown = len(times) - len(known)
    logger.warning(
        "data.flat: images must have one exposure time for flat frames to be scaled to it, got %g "
        "to %g s%s; their levels are not comparable",
        known.min(), known.max(), f" and {counted(unknown)} without" if unknown else "",
    )  # fmt: skip
    return None


def times_of(dataset: ImageDataset) -> list[datetime.datetime]:
    """When the images were taken, without those that are not dated."""
    if "acquired" not in dataset.table.columns:
        return []
    times = (parsed_time(str(cell)) for cell in dataset.table["acquired"])
    return [time for time in times if time is not None]


def scale_of(dataset: ImageDataset) -> float:
    """The largest possible value in the files of a data set: 255, 65535, or 1 for fractions.

    Raises:
        DataError: The files differ in depth.
    """
    found: dict[str, tuple[float, Path]] = {}
    root = dataset.root.absolute()
    for path in (root / name for name in dataset.table["path"]):
        depth = depth_of(path)
        found.setdefault(depth.dtype, (depth.full_scale, path))
    if len(found) > 1:
        files = {dtype: path for dtype, (_, path) in sorted(found.items())}
        examples = ", ".join(f"{dtype} ({shown(path)})" for dtype, path in files.items())
        raise DataError(
            f"preprocess.normalize=full_scale needs images of one depth, got {examples}; convert "
            "them to one depth, or set preprocess.normalize=robust"
        )
    ((full_scale, _),) = found.values()
    return full_scale
