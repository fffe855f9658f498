"""The classical reading of a radiograph: two numbers from the curve along the wedge.

Beside the plate the wedge is bare, and rises evenly, so it is a ruler: where the image behind the
plate is as dark as the bare wedge some way further up, the plate is worth that way. Two numbers
come of it: the equivalent thickness, in widths of the image along the ramp, and the effective
attenuation, ln(I without plate / I with plate) per equivalent thickness.

Made for the step layout: the plate covers the lower part of the image, and the wedge gets thicker
to the right; a vertical face at its end and open beam at both sides may be in view.
"""

import numpy as np
from scipy import ndimage

NAMES = ("equivalent_thickness", "effective_attenuation")

LEAST_SIDE = 16
"""Pixels below which nothing is tried."""

LEAST_STEP = 0.1
"""A plate makes the image darker by this much in ln(I), or there is none."""

LEAST_RAMP = 0.25
"""A ramp shorter than this share of the image is not believed."""

DEAD = 0.3
"""A pixel below this share of the median of its neighbours is dead."""


def wedge_features(image: np.ndarray) -> np.ndarray:
    """Equivalent thickness and effective attenuation of the plate in one image.

    Args:
        image: Raw counts, not negative, ``(height, width)``.

    Returns:
        Two numbers; NaN where no plate edge, no ramp or no overlap of the two curves is found.
    """
    nothing = np.full(2, np.nan)
    if min(np.shape(image)) < LEAST_SIDE:
        return nothing
    counts = _without_dead_pixels(np.asarray(image, np.float64))
    edge, step = _plate_edge(counts)
    margin = len(counts) // 20 + 1
    above, below = slice(0, edge - margin), slice(edge + margin, len(counts))
    if step < LEAST_STEP or min(edge - margin, len(counts) - edge - margin) < margin:
        return nothing
    slope = _drift_per_row(counts, (above, below))
    bare, behind = (_profile(counts, rows, edge, slope) for rows in (above, below))
    ramp = _ramp(bare)
    if ramp is None:
        return nothing
    # Where little or no wedge hardens the beam.
    foot = slice(max(ramp.start - len(bare) // 12, 0), ramp.start + len(bare) // 24 + 1)
    contrast = (bare - behind)[foot].mean()
    place = np.arange(len(bare))[ramp]
    falling, behind = np.minimum.accumulate(bare[ramp]), behind[ramp]
    matched = (behind >= falling[-1]) & (behind <= falling[0])
    if matched.sum() < 3:
        return nothing
    # The bare curve is as dark as the plate's further to the right.
    same = np.interp(-behind[matched], -falling, place)
    thickness = (same - place[matched]).mean() / len(bare)
    if thickness <= 0:
        return nothing
    return np.array([thickness, contrast / thickness])


def _without_dead_pixels(counts: np.ndarray) -> np.ndarray:
    around = ndimage.median_filter(counts, 3, mode="nearest")
    return np.where(counts < DEAD * around, around, counts)


def _plate_edge(counts: np.ndarray) -> tuple[int, float]:
    """Row that best divides the image into a bright upper and a dark lower part, and the step."""
    level = np.log(np.maximum(counts.mean(axis=1), 1e-9))
    n = len(level)
    rows = np.arange(1, n)
    sums = np.cumsum(level)[:-1]
    upper, lower = sums / rows, (level.sum() - sums) / (n - rows)
    # Least squares of two levels: the one that explains most.
    explained = rows * (n - rows) * np.maximum(upper - lower, 0) ** 2
    best = int(explained.argmax())
    return best + 1, float(upper[best] - lower[best])


def _drift_per_row(counts: np.ndarray, parts: tuple[slice, ...]) -> float:
    """How far the image moves to the right from one row to the next: the wedge's rotation.

    The lower half of each part is matched to its upper half by shifting it along x.
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
    """Logarithm of the mean over rows, each moved to where the ramp lies at the plate's edge."""
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
    if width < LEAST_RAMP * n:
        return None
    # Blur mixes in what lies beyond foot and face.
    trim = max(n // 60, 1)
    return slice(first + trim, first + width - trim)
