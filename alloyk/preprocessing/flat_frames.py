"""Read and average the flat and dark frames of a detector, and find dead pixels.

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

# A larger fraction of dead pixels has another cause, such as a collimator.
MOST_DEAD = 0.05


@dataclass(frozen=True, eq=False)
class FlatFrames:
    """Mean flat and dark frames of one detector.

    Attributes:
        flat: `(height, width)` float32, mean of the open-beam frames.
        dark: `(height, width)` float32, mean of the beam-off frames; 0 if there are none.
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
        """32 hexadecimal digits that change with any count or dead pixel."""
        parts = (self.flat, self.dark, self.dead)
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


def load_flat_frames(root: Path, flat: str, dark: str | None = None) -> FlatFrames:
    """Read flat and dark frames, average each kind, and find the dead pixels.

    Args:
        root: Folder of the data set; relative names are searched for there first.
        flat: An image file, a folder of them, or a pattern such as `_calibration/flat_*.png`.
        dark: The same for the dark frames; None if the detector has no dark signal.

    Raises:
        AlloykError: A frame is missing or of another size, the flat is not brighter than the dark,
            or too many pixels are dead.
    """
    bright = _mean_frame(root, flat, "data.flat")
    dim = np.zeros_like(bright) if dark is None else _mean_frame(root, dark, "data.dark")
    if bright.shape != dim.shape:
        raise AlloykError(
            f"flat and dark frames must have the same size, got {_size(bright)} in data.flat and "
            f"{_size(dim)} in data.dark; use frames of the same detector"
        )
    if not np.median(bright - dim) > 0:
        raise AlloykError(
            f"data.flat must be brighter than data.dark, got {shown(flat)} and "
            f"{shown(dark or 'none')}; check that they are not swapped"
        )
    dead = dead_pixels(bright, dim)
    if dead.mean() > MOST_DEAD:
        raise AlloykError(
            f"at most {100 * MOST_DEAD:.0f} % of the pixels of data.flat can be dead or dark, got "
            f"{100 * dead.mean():.0f} %; crop flat, dark and images to the illuminated field"
        )
    return FlatFrames(bright, dim, dead)


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


def _mean_frame(root: Path, name: str, key: str) -> np.ndarray:
    """Mean of the frames of a file name, folder or pattern, float32 `(h, w)`."""
    paths = _frame_paths(root, name)
    if not paths:
        raise AlloykError(
            f"{key} must be an image, a folder of images or a pattern such as "
            f"_calibration/flat_*.png, got {shown(name)}; it was not found in {shown(root)} or the "
            "working folder"
        )
    total = np.zeros(0)
    for path in paths:
        frame = to_gray(read_image(path))[..., 0].astype(np.float64)
        if total.size and frame.shape != total.shape:
            raise AlloykError(
                f"the frames of {key} must have one size, got {_size(total)} in {shown(paths[0])} "
                f"and {_size(frame)} in {shown(path)}"
            )
        total = total + frame if total.size else frame
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
