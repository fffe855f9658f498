"""The classical evaluation of a radiograph: three numbers from the intensity along the wedge.

Beside the plate the wedge is bare, and its thickness rises linearly. A place behind the plate is as
dark as the bare wedge a certain distance further along the ramp. This distance, in widths of the
image, is the equivalent thickness of the plate. Its contrast is ln(I without plate / I with plate)
at the foot of the wedge, where it hardens the beam little; the slope of the bare wedge depends on
its height and on the tube voltage. Contrast over equivalent thickness is an effective attenuation.

It needs the step layout: the plate covers one side of the image, and the wedge gets thicker along
the plate's edge; a vertical face at its end and open beam at both sides may be in view. The image
may lie in any of its eight orientations.

NumPy only: the folder for a device holds this file.
"""

import numpy as np

NAMES = ("equivalent_thickness", "contrast", "wedge_slope")

MIN_SIDE = 16
"""Minimum number of pixels along each side."""

MIN_BLOCKS = 64
"""A larger image is reduced to this many blocks along its shorter side, or up to twice as many."""

SAMPLES = 3
"""Rows and columns of each block whose median is taken."""

MIN_STEP = 0.1
"""Minimum step in ln(I) at the edge of a plate, and minimum fall along the ramp."""

MIN_STEP_SHARE = 0.85
"""Minimum share of the variance along the image that the step explains: 0.75 for a ramp."""

MIN_RAMP = 0.25
"""Minimum length of the ramp, as a share of the image."""

DEFECT = 0.3
"""A pixel that differs from the median of five in a row or column by this share is replaced."""

BORDER_LEVEL = 1 / 8
"""A line at the edge is a dark border if its brightest pixel is below this share of the mean."""

MAX_BORDER = 1 / 10
"""Largest width of a border, as a share of the side."""

TRIM = 0.25
"""Share of the rows, darkest and brightest, that a profile leaves out in each column."""

SLOPE_LENGTH = 1 / 3
"""Length of the ramp, as a share of the image, over which its slope at the foot is fitted."""

MAX_FALL = 0.02
"""Largest fall or rise per column, as a share of the range, that counts in full for the ramp."""


def wedge_curve(image: np.ndarray) -> np.ndarray:
    """Measure equivalent thickness and contrast of the plate, and the slope of the wedge.

    Args:
        image: Raw counts, not negative, `(height, width)`.

    Returns:
        `(3,)` float64, in the order of `NAMES`: widths of the image, ln(I), ln(I) per width; all
        NaN where no plate's edge, no ramp or no overlap of the two curves is found. Where the
        plate is darker than the end of the ramp, the ramp is extended.
    """
    nothing = np.full(len(NAMES), np.nan)
    if min(np.shape(image)) < MIN_SIDE:
        return nothing
    counts = _upright(_without_defects(_without_border(_reduced(np.asarray(image)))))
    rows = _without_lines(counts.mean(axis=1))
    edge, step = _plate_edge(rows)
    margin = len(counts) // 20 + 1
    above, below = slice(0, edge - margin), slice(edge + margin, len(counts))
    if step < MIN_STEP or _step_share(rows) < MIN_STEP_SHARE:
        return nothing
    if min(edge, len(counts) - edge) <= margin:
        return nothing
    drift = _drift_per_row(counts, (above, below))
    bare, behind = (_profile(counts, rows, edge, drift) for rows in (above, below))
    ramp = _ramp(bare)
    if ramp is None or bare[ramp.start] - bare[ramp.stop - 1] < MIN_STEP:
        return nothing
    width = len(bare)
    foot = slice(max(ramp.start - width // 12, 0), ramp.start + width // 24 + 1)
    contrast = (bare - behind)[foot].mean()
    thickness = _equivalent_thickness(bare, behind, ramp)
    if not thickness > 0:
        return nothing
    return np.array([thickness, contrast, _slope(bare, ramp)])


def _reduced(image: np.ndarray) -> np.ndarray:
    """Medians of blocks, float64, of a few pixels each: the time is the same for every size."""
    step = min(image.shape) // MIN_BLOCKS
    if step < 2:
        return image.astype(np.float64)
    places = np.unique(np.linspace(0, step - 1, SAMPLES).round().astype(int))
    height, width = (side - side % step for side in image.shape)
    samples = [
        image[row:height:step, column:width:step].astype(np.float64)
        for row in places
        for column in places
    ]
    return np.asarray(np.median(samples, axis=0))


def _without_border(counts: np.ndarray) -> np.ndarray:
    """Counts with dark borders, as of a collimator, filled with the nearest line inside."""
    limit = BORDER_LEVEL * counts.mean()
    for axis in (1, 0):
        dark = counts.max(axis=axis) < limit
        side = len(dark)
        reach = int(MAX_BORDER * side)
        inside = np.flatnonzero(~dark)
        if len(inside) and (inside[0] or inside[-1] < side - 1):
            first, last = min(inside[0], reach), max(inside[-1], side - 1 - reach)
            counts = counts.take(np.arange(side).clip(first, last), axis=1 - axis)
    return counts


def _without_defects(counts: np.ndarray) -> np.ndarray:
    """Counts with what differs from the median of its row or column's neighbours replaced."""
    down = np.concatenate([counts[:1], counts[:1], counts, counts[-1:], counts[-1:]])
    across = np.concatenate([counts[:, :1]] * 2 + [counts] + [counts[:, -1:]] * 2, axis=1)
    height, width = counts.shape
    around_down = _median_of_five([down[k : k + height] for k in range(5)])
    around_across = _median_of_five([across[:, k : k + width] for k in range(5)])
    found = counts.copy()
    for around in (around_down, around_across):
        np.copyto(found, around, where=np.abs(counts - around) > DEFECT * around)
    return found


def _median_of_five(values: list[np.ndarray]) -> np.ndarray:
    """Median of five arrays, number by number."""
    a, b, c, d, e = values
    lower = np.maximum(np.minimum(a, b), np.minimum(c, d))
    upper = np.minimum(np.maximum(a, b), np.maximum(c, d))
    # The smallest and the largest of four are left out: the median is that of the other three.
    return np.asarray(np.maximum(np.minimum(lower, upper), np.minimum(np.maximum(lower, upper), e)))


def _upright(counts: np.ndarray) -> np.ndarray:
    """Counts with the plate at the bottom and the wedge getting thicker to the right.

    The brightness is a step across the plate's edge, and a ramp along the wedge; the wedge's
    vertical face is the steepest place and must not outweigh the ramp.
    """
    low, high = counts.min(), counts.max()
    gray = (counts - low) / max(high - low, 1e-9)
    rows, columns = (_without_lines(gray.mean(axis=axis)) for axis in (1, 0))
    if _step_share(columns) > _step_share(rows):
        counts, rows, columns = counts.T, columns, rows
    if (rows * (np.arange(len(rows)) - (len(rows) - 1) / 2)).sum() > 0:
        counts = counts[::-1]
    lag = max(1, round(len(columns) / 16))
    if np.clip((columns[lag:] - columns[:-lag]) / MAX_FALL, -1, 1).mean() > 0:
        counts = counts[:, ::-1]
    return counts


def _without_lines(profile: np.ndarray) -> np.ndarray:
    """Running medians of a profile `(n,)`: defective lines leave it, a step stays a step."""
    padded = np.concatenate([profile[:1]] * 4 + [profile] + [profile[-1:]] * 4)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 9)
    return np.partition(windows, 4, axis=1)[:, 4]


def _step_share(profile: np.ndarray) -> float:
    """Share of the variance of a profile `(n,)` that one step explains: 1 for a step."""
    left = np.cumsum(profile - profile.mean())[:-1]
    count = np.arange(1, len(profile))
    between = (left**2 * len(profile) / (count * (len(profile) - count))).max()
    return float(between / max(((profile - profile.mean()) ** 2).sum(), 1e-12))


def _plate_edge(profile: np.ndarray) -> tuple[int, float]:
    """Row that best separates a bright upper from a dark lower part, and the step in ln(I)."""
    level = np.log(np.maximum(profile, 1e-9))
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
        if not half:
            continue
        first, second = (
            np.log(np.maximum(_smooth(rows.mean(axis=0), 1.5), 1e-9))
            for rows in (band[:half], band[half : 2 * half])
        )
        shift = 0.0
        for _ in range(8):
            moved = np.interp(place - shift, place, first)
            gradient = _gradient(moved)
            change = gradient @ (second - moved) / max(gradient @ gradient, 1e-12)
            shift -= change
            if abs(change) < 1e-3:
                break
        weight = float(half) ** 3
        total += weight * shift / half
        weights += weight
    return total / weights if weights else 0.0


def _profile(counts: np.ndarray, rows: slice, edge: int, drift_per_row: float) -> np.ndarray:
    """Logarithm of the trimmed mean over rows, each shifted to where the ramp is at the edge."""
    part, last = counts[rows], counts.shape[1] - 1
    shift = drift_per_row * (np.arange(len(counts))[rows] - edge)
    place = (np.arange(last + 1) + shift[:, None]).clip(0, last)
    left = place.astype(int)
    before, after = (
        np.take_along_axis(part, column, axis=1) for column in (left, np.minimum(left + 1, last))
    )
    moved = before + (after - before) * (place - left)
    left_out = int(TRIM * len(moved))
    kept = np.sort(moved, axis=0)[left_out : len(moved) - left_out]
    return np.asarray(np.log(np.maximum(kept.mean(axis=0), 1e-9)))


def _ramp(bare: np.ndarray) -> slice | None:
    """Columns over which the bare wedge gets thicker."""
    n = len(bare)
    gradient = _gradient(_smooth(bare, max(n / 100, 0.7)))
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


def _equivalent_thickness(bare: np.ndarray, behind: np.ndarray, ramp: slice) -> float:
    """Mean distance, in widths, from places behind the plate to as dark ones of the bare ramp.

    NaN where fewer than three places can be compared.
    """
    place = np.arange(len(bare))[ramp]
    falling, plate = np.minimum.accumulate(bare[ramp]), behind[ramp]
    matched = (plate >= falling[-1]) & (plate <= falling[0])
    if matched.sum() < 3:
        matched = plate <= falling[0]
        last = max(len(place) // 3, 2)
        fall, level = np.polyfit(place[-last:], falling[-last:], 1)
        if matched.sum() < 3 or fall >= 0:
            return float("nan")
        # Darker than the end of the ramp, which goes on as it ends.
        same = (plate[matched] - level) / fall
    else:
        # Further to the right, the bare curve is as dark as the plate's.
        same = np.interp(-plate[matched], -falling, place)
    return float((same - place[matched]).mean() / len(bare))


def _slope(bare: np.ndarray, ramp: slice) -> float:
    """Fall of ln(I) per width at the foot of the ramp, from a parabola."""
    length = max(round(SLOPE_LENGTH * len(bare)), 3)
    part = bare[ramp.start : min(ramp.start + length, ramp.stop)]
    return float(-np.polyfit(np.arange(len(part)) / len(bare), part, 2)[1])


def _smooth(profile: np.ndarray, deviation: float) -> np.ndarray:
    """A profile `(n,)` smoothed by a Gaussian, mirrored at its ends."""
    reach = min(int(4 * deviation + 0.5), len(profile))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    padded = np.concatenate([profile[:reach][::-1], profile, profile[-reach:][::-1]])
    return np.convolve(padded, weights / weights.sum(), mode="valid")


def _gradient(profile: np.ndarray) -> np.ndarray:
    """Central differences of a profile `(n,)`, one-sided at its ends."""
    found = np.empty_like(profile)
    found[1:-1] = (profile[2:] - profile[:-2]) / 2
    found[0], found[-1] = profile[1] - profile[0], profile[-1] - profile[-2]
    return found
