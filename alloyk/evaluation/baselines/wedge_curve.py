"""The classical evaluation of a radiograph: two numbers from the intensity along the wedge.

Beside the plate the wedge is bare, and its thickness rises linearly. A place behind the plate is as
dark as the bare wedge a certain distance further along the ramp. This distance, in widths of the
image, is the equivalent thickness of the plate. The effective attenuation is ln(I without plate / I
with plate) per equivalent thickness.

It needs the step layout: the plate covers the lower part of the image, and the wedge gets thicker
to the right; a vertical face at its end and open beam at both sides may be in view.
"""

import numpy as np
from scipy import ndimage

NAMES = ("equivalent_thickness", "effective_attenuation")

MIN_SIDE = 16
"""Minimum number of pixels along each side."""

MIN_STEP = 0.1
"""Minimum step in ln(I) at the edge of a plate."""

MIN_RAMP = 0.25
"""Minimum length of the ramp, as a share of the image."""

DEAD = 0.3
"""A pixel below this share of the median of its neighbours is dead."""


def wedge_features(image: np.ndarray) -> np.ndarray:
    """Measure equivalent thickness and effective attenuation of the plate in one image.

    Args:
        image: Raw counts, not negative, `(height, width)`.

    Returns:
        Two numbers; NaN where no plate edge, no ramp or no overlap of the two curves is found.
    """
    nothing = np.full(2, np.nan)
    if min(np.shape(image)) < MIN_SIDE:
        return nothing
    counts = _without_dead_pixels(np.asarray(image, np.float64))
    edge, step = _plate_edge(counts)
    margin = len(counts) // 20 + 1
    above, below = slice(0, edge - margin), slice(edge + margin, len(counts))
    if step < MIN_STEP or min(edge - margin, len(counts) - edge - margin) < margin:
        return nothing
    slope = _drift_per_row(counts, (above, below))
    bare, behind = (_profile(counts, rows, edge, slope) for rows in (above, below))
    ramp = _ramp(bare)
    if ramp is None:
        return nothing
    # At the foot of the wedge, where it hardens the beam little.
    foot = slice(max(ramp.start - len(bare) // 12, 0), ramp.start + len(bare) // 24 + 1)
    contrast = (bare - behind)[foot].mean()
    place = np.arange(len(bare))[ramp]
    falling, behind = np.minimum.accumulate(bare[ramp]), behind[ramp]
    matched = (behind >= falling[-1]) & (behind <= falling[0])
    if matched.sum() < 3:
        return nothing
    # Further to the right, the bare curve is as dark as the plate's.
    same = np.interp(-behind[matched], -falling, place)
    thickness = (same - place[matched]).mean() / len(bare)
    if thickness <= 0:
        return nothing
    return np.array([thickness, contrast / thickness])


def _without_dead_pixels(counts: np.ndarray) -> np.ndarray:
    around = ndimage.median_filter(counts, 3, mode="nearest")
    return np.where(counts < DEAD * around, around, counts)


def _plate_edge(counts: np.ndarray) -> tuple[int, float]:
    """Row that best separates a bright upper from a dark lower part, and the step in ln(I)."""
    level = np.log(np.maximum(counts.mean(axis=1), 1e-9))
    n = len(level)
    rows = np.arange(1, n)
    sums = np.cumsum(level)[:-1]
    upper, lower = sums / rows, (level.sum() - sums) / (n - rows)
    # Least squares of two levels: the row that explains most variance.
    explained = rows * (n - rows) * np.maximum(upper - lower, 0) ** 2
    best = int(explained.argmax())
    return best + 1, float(upper[best] - lower[best])


def _drift_per_row(counts: np.ndarray, parts: tuple[slice, ...]) -> float:
    """Shift of the image to the right from one row to the next, from the wedge's rotation.

    The lower half of each part is matched to its upper half by a shift along x.
    """
    total, weights = 0.0, 0.0
    place = np.arange(counts.shape[1], dtype=float)
    for part in parts:
        band = counts[part]
        half = len(band) // 2
        first, second = (
            np.log(np.maximum(ndimage.gaussian_filter1d(rows.mean(axis=0), 1.5), 1e-9))
            for rows in (band[:half], band[half : 2 * half])
        )
        shift = 0.0
        for _ in range(8):
            moved = np.interp(place - shift, place, first)
            gradient = np.gradient(moved)
            shift -= gradient @ (second - moved) / max(gradient @ gradient, 1e-12)
        weight = float(half) ** 3
        total += weight * shift / half
        weights += weight
    return total / weights


def _profile(counts: np.ndarray, rows: slice, edge: int, drift_per_row: float) -> np.ndarray:
    """Logarithm of the mean over rows, each shifted to the ramp's position at the plate's edge."""
    place = np.arange(counts.shape[1], dtype=float)
    moved = [
        np.interp(place + drift_per_row * (row - edge), place, counts[row])
        for row in range(*rows.indices(len(counts)))
    ]
    return np.log(np.maximum(np.mean(moved, axis=0), 1e-9))


def _ramp(bare: np.ndarray) -> slice | None:
    """Columns over which the bare wedge gets thicker."""
    n = len(bare)
    smooth = ndimage.gaussian_filter1d(bare, max(n / 100, 0.7))
    gradient = np.gradient(smooth)
    rising = gradient > -0.25 * max(np.median(-gradient), 0)
    # The longest stretch that falls.
    borders = np.flatnonzero(np.concatenate([[True], rising, [True]]))
    widths = np.diff(borders)
    longest = int(widths.argmax())
    first, width = int(borders[longest]), int(widths[longest]) - 1
    if width < MIN_RAMP * n:
        return None
    # Blur mixes in what is beyond foot and face.
    trim = max(n // 60, 1)
    return slice(first + trim, first + width - trim)
