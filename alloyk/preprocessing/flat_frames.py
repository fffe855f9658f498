"""Flat and dark frames of a detector: read, averaged, and searched for dead pixels.

transmission = (raw − dark) / (flat − dark)
"""

import glob
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from alloyk.errors import AlloykError
from alloyk.imaging import is_image_name, read_image, shown
from alloyk.imaging.gray import to_gray

# A pixel is dead if its answer to the beam is below the first or above the second part of its
# neighbourhood's median, or below a small part of the whole detector's.
SENSITIVITY = (0.5, 2.0)
SENSITIVITY_OF_ALL = 0.05

# … or if its dark count is above its neighbourhood's by this part of the beam.
HOT = 0.25

NEIGHBOURHOOD = 5
REPAIRED_FROM = 8
"""Good pixels, the nearest ones, whose mean stands for a dead one."""

# More than this part is no matter of single pixels.
MOST_DEAD = 0.05


@dataclass(frozen=True, eq=False)
class FlatFrames:
    """The open beam and the dark signal of one detector.

    Attributes:
        flat: `(height, width)` float32, mean of the frames with the beam on and nothing in it.
        dark: `(height, width)` float32, mean of the frames with the beam off; 0 without any.
        dead: `(height, width)` bool, pixels to be replaced by their neighbours.
    """

    flat: np.ndarray
    dark: np.ndarray
    dead: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """`(height, width)`."""
        return self.flat.shape

    @cached_property
    def digest(self) -> str:
        """32 hex digits that change with any count or dead pixel."""
        parts = (self.flat, self.dark, self.dead)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:32]

    @cached_property
    def neighbours(self) -> np.ndarray:
        """`(dead pixels, 8)` int32: for each dead pixel, row by row, its nearest good ones.

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


def load_flat_frames(root: Path, flat: str, dark: str | None = None) -> FlatFrames:
    """Read flat and dark frames, average each kind, and find the dead pixels.

    Args:
        root: Folder of the data set, which relative names are looked for in first.
        flat: An image file, a folder of them, or a pattern such as `_calibration/flat_*.png`.
        dark: The same for the dark frames; None for a detector without dark signal.

    Raises:
        AlloykError: A frame is missing or of another size, the flat is not brighter than the dark,
            or too many pixels are dead.
    """
    bright = _mean_frame(root, flat, "data.flat")
    dim = np.zeros_like(bright) if dark is None else _mean_frame(root, dark, "data.dark")
    if bright.shape != dim.shape:
        raise AlloykError(
            f"flat and dark frames of one size are wanted; data.flat has {_size(bright)}, "
            f"data.dark {_size(dim)}: take both from the same detector"
        )
    if not np.median(bright - dim) > 0:
        raise AlloykError(
            f"data.flat ({shown(flat)}) is no brighter than data.dark ({shown(dark)}); are they "
            "exchanged?"
        )
    dead = dead_pixels(bright, dim)
    if dead.mean() > MOST_DEAD:
        raise AlloykError(
            f"{100 * dead.mean():.0f} % of the pixels of data.flat are dead or dark, at most "
            f"{100 * MOST_DEAD:.0f} % can be repaired; crop flat, dark and images to the field "
            "that the beam lights"
        )
    return FlatFrames(bright, dim, dead)


def dead_pixels(flat: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Find the pixels whose answer to the beam is far from their neighbours', `(h, w)` bool.

    >>> flat = np.full((9, 9), 1000.0)
    >>> flat[2, 3] = 0
    >>> np.argwhere(dead_pixels(flat, np.zeros((9, 9)))).tolist()
    [[2, 3]]
    """
    from scipy.ndimage import median_filter

    answer = flat - dark
    near = median_filter(answer, NEIGHBOURHOOD)
    typical = float(np.median(answer))
    weak = (answer < SENSITIVITY[0] * near) | (answer < SENSITIVITY_OF_ALL * typical)
    hot = dark - median_filter(dark, NEIGHBOURHOOD) > HOT * typical
    return weak | (answer > SENSITIVITY[1] * near) | hot


def _mean_frame(root: Path, name: str, key: str) -> np.ndarray:
    """Mean of the frames that a name, a folder or a pattern stands for, float32 `(h, w)`."""
    paths = _frame_paths(root, name)
    if not paths:
        raise AlloykError(
            f"no frame for {key}: {shown(name)} is not in {shown(root)}, nor in the working "
            "folder; wanted an image, a folder of images or a pattern such as "
            "_calibration/flat_*.png"
        )
    total = None
    for path in paths:
        frame = to_gray(read_image(path))[..., 0].astype(np.float64)
        if total is not None and frame.shape != total.shape:
            raise AlloykError(
                f"frames of one size are wanted for {key}; {shown(paths[0])} has {_size(total)}, "
                f"{shown(path)} {_size(frame)}"
            )
        total = frame if total is None else total + frame
    return (total / len(paths)).astype(np.float32)


def _frame_paths(root: Path, name: str) -> list[Path]:
    for path in (root / name, Path(name)):
        if path.is_file():
            return [path]
        names = glob.glob(glob.escape(str(path)) + "/*" if path.is_dir() else str(path))
        found = sorted(Path(name) for name in names if is_image_name(Path(name).name))
        if found:
            return found
    return []


def _size(frame: np.ndarray) -> str:
    return f"{frame.shape[0]}×{frame.shape[1]}"
