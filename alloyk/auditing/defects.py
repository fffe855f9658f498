"""Find bad pixels, bad lines and borders in one image by local robust statistics.

A bad pixel differs from at least seven of its eight neighbours, and a bad line from both adjacent
lines, by a multiple of the pixel noise. Edges of plate and wedge do not.
"""

from dataclasses import dataclass

import numpy as np

# Deviation of a bad pixel in standard deviations of the noise; noise very rarely reaches it.
STANDS_OUT = 8.0
# Deviation of a bad line, in standard deviations of the differences between neighbouring lines.
LINE_STANDS_OUT = 10.0
# More candidates than this are texture or edges; only the strongest are examined.
MAX_CANDIDATES = 256
# Lines are compared by the means of three subsets of their pixels, so that a single bad pixel does
# not make a bad line.
PARTS = 3
# A border is a step of this fraction of the mean count, within this fraction of the side.
BORDER_STEP = 0.15
BORDER_REACH = 0.08
# Scattered light in a border may follow the scene beside it by this fraction.
BORDER_GLARE = 0.25
# Without noise, this fraction of the image's range is used instead.
QUANTUM = 2e-3
MEDIAN_OF_NORMAL = 0.6745


@dataclass(frozen=True, eq=False)
class Defects:
    """Defects of one image.

    Attributes:
        pixels: `(p, 2)` int, row and column of each bad pixel outside bad lines.
        rows: Bad rows.
        columns: Bad columns.
        border: Width of a border at top, bottom, left and right, in pixels; 0 for none.
    """

    pixels: np.ndarray
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    border: tuple[int, int, int, int]

    def __bool__(self) -> bool:
        return bool(len(self.pixels) or self.rows or self.columns or any(self.border))

    def places(self) -> list[tuple[str, int, int]]:
        """Each bad pixel, row and column as a hashable kind and position."""
        pixels = [("pixel", int(row), int(column)) for row, column in self.pixels]
        rows = [("row", row, 0) for row in self.rows]
        return [*pixels, *rows, *(("column", 0, column) for column in self.columns)]


def find_defects(gray: np.ndarray, differences: np.ndarray, noise: float) -> Defects:
    """Find the defects of an image.

    Args:
        gray: `(height, width)` float32, counts.
        differences: `(height − 2, width − 2)`, its second differences along both axes.
        noise: Standard deviation of the pixel noise in counts.
    """
    if min(gray.shape) < 16:
        return Defects(np.zeros((0, 2), np.int64), (), (), (0, 0, 0, 0))
    across = _parts(gray.shape[1]) @ gray.T
    down = _parts(gray.shape[0]) @ gray
    level = abs(float(across.mean())) or 1.0
    noise = max(noise, QUANTUM * float(np.ptp(gray)), 1e-6)
    top, bottom = _border(gray, np.median(across, axis=0), level)
    left, right = _border(gray.T, np.median(down, axis=0), level)
    rows, columns = _lines(across, noise), _lines(down, noise)
    pixels = _pixels(gray, differences, noise)
    keep = ~(np.isin(pixels[:, 0], rows) | np.isin(pixels[:, 1], columns))
    return Defects(pixels[keep], rows, columns, (top, bottom, left, right))


def _parts(count: int) -> np.ndarray:
    """Weights `(parts, count)` float32 for the mean of every third pixel, one row per start."""
    weights = (np.arange(count) % PARTS == np.arange(PARTS)[:, None]).astype(np.float32)
    return weights / weights.sum(axis=1, keepdims=True)


def _lines(profiles: np.ndarray, noise: float) -> tuple[int, ...]:
    """Lines that are above, or below, both neighbours in each of the `(parts, n)` means."""
    step = np.diff(profiles, axis=1)
    before, after = step[:, :-1], -step[:, 1:]  # line minus the previous one, minus the next one
    rise = np.minimum(before, after).min(axis=0)
    fall = np.minimum(-before, -after).min(axis=0)
    least = np.maximum(rise, fall)
    usual = float(np.median(np.abs(step - np.median(step)))) / MEDIAN_OF_NORMAL
    large = least > LINE_STANDS_OUT * max(usual, noise / 4)
    return tuple((np.flatnonzero(large) + 1).tolist())


def _border(gray: np.ndarray, profile: np.ndarray, level: float) -> tuple[int, int]:
    """Width of the border at top and bottom, up to the last large step of the rows' profile.

    A border is as bright along its whole length, or nearly so; open beam beside an object shows the
    scene.
    """
    reach = max(2, int(BORDER_REACH * len(profile)))
    found = []
    for side in (slice(None), slice(None, None, -1)):
        end = profile[side][: 2 * reach]
        steps = np.abs(np.diff(end))
        large = np.flatnonzero(steps[:reach] > BORDER_STEP * level)
        # The profile must be smooth after the step; otherwise the scene itself is steep.
        calm = len(large) and float(np.median(steps[large[-1] + 1 :])) < BORDER_STEP * level / 10
        width = int(large[-1]) + 1 if calm else 0
        if width:
            border, inside = gray[side][:width], gray[side][width : 2 * width]
            spread = _spread(np.median(border, axis=0))
            limit = max(BORDER_STEP * level, BORDER_GLARE * _spread(np.median(inside, axis=0)))
            width = width if spread < limit else 0
        found.append(width)
    return found[0], found[1]


def _spread(values: np.ndarray) -> float:
    """Range of the values without the lowest and the highest tenth."""
    low, high = np.percentile(values, (10, 90))
    return float(high - low)


def _pixels(gray: np.ndarray, differences: np.ndarray, noise: float) -> np.ndarray:
    """Row and column of each pixel that differs from its neighbours."""
    # A pixel that differs by d changes its own second difference by 4 d; noise by 6 deviations.
    width = differences.shape[1]
    least = 3 * STANDS_OUT * noise
    candidates = np.flatnonzero((differences > least) | (differences < -least))
    if not len(candidates):
        return np.zeros((0, 2), np.int64)
    if len(candidates) > MAX_CANDIDATES:
        values = np.abs(differences.ravel()[candidates])
        candidates = candidates[np.argpartition(values, -MAX_CANDIDATES)[-MAX_CANDIDATES:]]
    row, column = np.divmod(np.sort(candidates), width)
    offsets = [(r, c) for r in range(3) for c in range(3) if (r, c) != (1, 1)]
    around = np.stack([gray[row + r, column + c] for r, c in offsets])
    value = gray[row + 1, column + 1]
    least = STANDS_OUT * noise
    # Above, or below, all neighbours but one; a pixel of an edge resembles several neighbours.
    above, below = np.sort(value - around, axis=0), np.sort(around - value, axis=0)
    bad = (above[1] > least) | (below[1] > least)
    return np.stack([row[bad] + 1, column[bad] + 1], axis=1)
