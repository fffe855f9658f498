"""Read and average the flat and dark frames of a detector, and find dead pixels.

transmission = (raw − dark) / (flat − dark)
"""

import datetime
import glob
import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alloyk.errors import AlloykError
from alloyk.imaging import assume_files, is_image_file, split_page
from alloyk.imaging.described import file_settings
from alloyk.messages import shown
from alloyk.preprocessing.frame_means import DarkSignal, by_exposure, mean_of, size_of
from alloyk.preprocessing.frame_sessions import of_nearest_session
from alloyk.preprocessing.gain_curves import fit_gain_curves

logger = logging.getLogger(__name__)

# A pixel is dead if its response to the beam, divided by the median of its neighbourhood, is below
# the first or above the second of these numbers, or if it is below a small fraction of the
# detector's median.
SENSITIVITY = (0.5, 2.0)
SENSITIVITY_OF_ALL = 0.05

# A pixel is also dead if its dark count exceeds the median of its neighbourhood by this fraction of
# the beam.
HOT = 0.25

NEIGHBOURHOOD = 5
REPAIRED_FROM = 8
"""Number of nearest good pixels whose mean replaces a dead pixel."""

# A larger fraction than this has another cause than dead pixels, such as a collimator.
MAX_DEAD = 0.05


@dataclass(frozen=True, eq=False)
class FlatFrames:
    """Mean flat and dark frames of one detector.

    Attributes:
        flat: `(height, width)` float32, mean of the open-beam frames.
        dark: `(height, width)` float32, mean of the beam-off frames; 0 if there are none.
        dead: `(height, width)` bool, pixels to be replaced by their neighbours.
        curves: `(terms, height, width)` float32, see `gain_curves`; no terms without absorber
            steps.
    """

    flat: np.ndarray
    dark: np.ndarray
    dead: np.ndarray
    curves: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0), np.float32))

    @property
    def shape(self) -> tuple[int, int]:
        """`(height, width)`."""
        return self.flat.shape

    @cached_property
    def digest(self) -> str:
        """Hash of all counts and dead pixels, 32 hexadecimal digits."""
        parts = (self.flat, self.dark, self.dead, self.curves)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:32]

    @cached_property
    def neighbours(self) -> np.ndarray:
        """Nearest good pixels of each dead pixel, `(dead pixels, 8)` int32.

        Pixels are numbered row by row.
        """
        height, width = self.shape
        found = np.empty((int(self.dead.sum()), REPAIRED_FROM), np.int32)
        for place, (row, column) in enumerate(np.argwhere(self.dead)):
            reach = 1
            while True:
                top, left = max(row - reach, 0), max(column - reach, 0)
                window = self.dead[top : row + reach + 1, left : column + reach + 1]
                near = np.argwhere(~window) + np.array([top, left])
                if len(near) >= REPAIRED_FROM or window.size == height * width:
                    break
                reach += 1
            distance = np.square(near - np.array([row, column])).sum(axis=1)
            near = near[np.argsort(distance, kind="stable")[:REPAIRED_FROM]]
            numbers = near[:, 0] * width + near[:, 1]
            found[place] = np.resize(numbers, REPAIRED_FROM)
        return found


def load_flat_frames(
    root: Path,
    flat: str | Sequence[str],
    dark: str | None = None,
    exposure_s: float | None = None,
    acquired: Sequence[datetime.datetime] = (),
) -> FlatFrames:
    """Read flat and dark frames, average each kind, and find the dead pixels.

    Args:
        root: Folder of the data set; relative names are searched for there first.
        flat: An image file, a folder of them, or a pattern such as `_calibration/flat_*.png`; or
            several of these, called steps: one without and the others with an absorber in the beam.
            All pages of a file with several are averaged; `FILE[2]` is one of them. Frames of
            several exposure times are averaged as counts per second.
        dark: The same for the dark frames; None if the detector has no dark signal. From frames
            of several exposure times, the dark signal is interpolated to those of the images and
            of the flat frames.
        exposure_s: Exposure time of the images, if known.
        acquired: Times of the images, if known. If the frames come from several sessions, those of
            the session nearest to all images are used.

    Raises:
        AlloykError: A frame is missing or of another size, the flat is not brighter than the dark,
            steps are alike, exposure times are missing, or too many pixels are dead.
    """
    # Frames outside of the data set are read by its settings too.
    with assume_files(file_settings(root / "frame")):
        return _load(root, [flat] if isinstance(flat, str) else flat, dark, exposure_s, acquired)


def _load(
    root: Path,
    names: Sequence[str],
    dark: str | None,
    exposure_s: float | None,
    acquired: Sequence[datetime.datetime],
) -> FlatFrames:
    """`load_flat_frames`, with the settings of the data set."""
    found = [_found_frames(root, name, "data.flat", acquired) for name in names]
    dark_signal = None
    if dark is not None:
        dark_signal = DarkSignal(dark, _found_frames(root, dark, "data.dark", acquired))
    steps = [
        _read_step(name, paths, dark_signal, exposure_s)
        for name, paths in zip(names, found, strict=True)
    ]
    if len(steps) > 1 and any(step.exposures > 1 for step in steps):
        raise AlloykError(
            "with several steps in data.flat, the frames of a step must have one exposure time, "
            "got several; use frames at the exposure time of the images"
        )
    if len(steps) > 1 and any(step.exposure_ratio != 1 for step in steps):
        # The curve of a pixel depends on its counts, not on its counts per second.
        times = " and ".join(f"{1 / step.exposure_ratio:g}" for step in steps)
        raise AlloykError(
            "with several steps in data.flat, flat frames and images must have one exposure time, "
            f"got frames of {times} times that of the images; use frames at the exposure time of "
            "the images"
        )
    open_beam, *absorbed = sorted(steps, key=lambda step: -float(np.median(step.response)))
    dark_frame = open_beam.dark if dark_signal is None else dark_signal.at(exposure_s)
    # The frame itself where it needs no scaling: subtracting and adding the dark signal rounds.
    unscaled = open_beam.exposure_ratio == 1 and np.array_equal(dark_frame, open_beam.dark)
    flat_frame = open_beam.frame if unscaled else open_beam.response + dark_frame
    dead = dead_pixels(flat_frame, dark_frame)
    curves = np.empty((0, 0, 0), np.float32)
    if absorbed:
        responses = [step.response for step in absorbed]
        curves, not_increasing = fit_gain_curves(open_beam.response, responses, dead)
        dead |= not_increasing
    if dead.mean() > MAX_DEAD:
        raise AlloykError(
            f"at most {100 * MAX_DEAD:.0f} % of the pixels of data.flat can be dead or dark, got "
            f"{100 * dead.mean():.0f} %; crop flat, dark and images to the illuminated field"
        )
    return FlatFrames(flat_frame, dark_frame, dead, curves)


class _Step(NamedTuple):
    """The mean flat frame of one absorber step, or of the open beam.

    Attributes:
        frame: `(height, width)` float32 counts.
        dark: Dark signal at the exposure time of the frame, of the same shape.
        exposure_ratio: Exposure time of the images over that of the frame.
        response: `frame` without `dark`, scaled to the exposure time of the images.
        exposures: Number of exposure times that its frames had. With several, `frame` is their
            counts per second times the exposure time of the images, or the longest one.
    """

    frame: np.ndarray
    dark: np.ndarray
    exposure_ratio: np.float32
    response: np.ndarray
    exposures: int


def _read_step(
    name: str,
    paths: Sequence[Path],
    dark_signal: DarkSignal | None,
    images_exposure_s: float | None,
) -> _Step:
    groups = by_exposure(paths, "data.flat")
    exposed = {
        time: _read_exposure(name, group, time, dark_signal) for time, group in groups.items()
    }
    if len(exposed) == 1:
        ((exposure_s, (frame, dark)),) = exposed.items()
        ratio = _exposure_ratio(images_exposure_s, exposure_s)
        return _Step(frame, dark, ratio, (frame - dark) * ratio, len(exposed))
    shapes = sorted({size_of(frame) for frame, _ in exposed.values()})
    if len(shapes) > 1:
        raise AlloykError(f"the frames of data.flat must have one size, got {' and '.join(shapes)}")
    seconds = {time: time * len(group) for time, group in groups.items() if time is not None}
    counts = np.zeros(next(iter(exposed.values()))[0].shape)
    for time, (frame, dark) in exposed.items():
        counts += (frame - dark) * len(groups[time])
    exposure_s = images_exposure_s or max(seconds)
    response = (counts * (exposure_s / sum(seconds.values()))).astype(np.float32)
    dark = _dark_at(dark_signal, exposure_s, response)
    return _Step(response + dark, dark, np.float32(1), response, len(exposed))


def _read_exposure(
    name: str, paths: Sequence[Path], exposure_s: float | None, dark_signal: DarkSignal | None
) -> tuple[np.ndarray, np.ndarray]:
    """The mean flat frame of one exposure time, and its dark signal."""
    frame = mean_of(paths, "data.flat")
    dark = _dark_at(dark_signal, exposure_s, frame)
    if frame.shape != dark.shape:
        raise AlloykError(
            f"flat and dark frames must have the same size, got {size_of(frame)} in data.flat and "
            f"{size_of(dark)} in data.dark; use frames of the same detector"
        )
    if not np.median(frame - dark) > 0:
        raise AlloykError(
            f"data.flat must be brighter than data.dark, got {shown(name)} and "
            f"{shown(dark_signal.name) if dark_signal else 'none'}; check that they are not swapped"
        )
    return frame, dark


def _dark_at(
    dark_signal: DarkSignal | None, exposure_s: float | None, like: np.ndarray
) -> np.ndarray:
    return np.zeros_like(like) if dark_signal is None else dark_signal.at(exposure_s)


def _exposure_ratio(images_s: float | None, frame_s: float | None) -> np.float32:
    """Exposure time of the images over that of a frame; 1 if one of them is not known."""
    return np.float32(images_s / frame_s if images_s and frame_s else 1.0)


def dead_pixels(flat: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Find the pixels whose response differs much from their neighbours', `(h, w)` bool.

    >>> flat = np.full((9, 9), 1000.0)
    >>> flat[2, 3] = 0
    >>> np.argwhere(dead_pixels(flat, np.zeros((9, 9)))).tolist()
    [[2, 3]]
    """
    from scipy.ndimage import median_filter

    response = flat - dark
    near = median_filter(response, NEIGHBOURHOOD)
    typical = float(np.median(response))
    weak = (response < SENSITIVITY[0] * near) | (response < SENSITIVITY_OF_ALL * typical)
    hot = dark - median_filter(dark, NEIGHBOURHOOD) > HOT * typical
    return weak | (response > SENSITIVITY[1] * near) | hot


def _found_frames(
    root: Path, name: str, key: str, acquired: Sequence[datetime.datetime]
) -> list[Path]:
    """Find the frames of a file name, folder or pattern that belong to the images."""
    paths = _frame_paths(root, name)
    if not paths:
        raise AlloykError(
            f"{key} must be an image, a folder of images or a pattern such as "
            f"_calibration/flat_*.png, got {shown(name)}; it was not found in {shown(root)} or the "
            "working folder"
        )
    chosen, note = of_nearest_session(paths, acquired)
    if note:
        logger.warning("%s: %s", key, note)
    return chosen


def _frame_paths(root: Path, name: str) -> list[Path]:
    for path, folder in ((root / name, glob.escape(str(root))), (Path(name), "")):
        if Path(split_page(path)[0]).is_file():
            return [path]
        pattern = f"{glob.escape(str(path))}/*" if path.is_dir() else os.path.join(folder, name)
        found = sorted(Path(one) for one in glob.glob(pattern) if is_image_file(one))
        if found:
            return found
    return []
