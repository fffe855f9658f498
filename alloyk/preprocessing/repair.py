"""Repair of detector defects in a single raw image, without a defect map.

A dead or hot pixel, a pair, a 2×2 cluster, or a line up to two pixels wide is outside the range of
its neighbourhood in every direction. An edge of the object is not, because the object continues
along the edge. On a slope, where the range of the neighbourhood is wide, a defect differs from the
means of opposite neighbours in all directions. A dark border is the shadow of a collimator at the
edge of the field.

Only shifted copies, minima, maxima, sums and gathers are used, so that the input pipeline, the
saved model and a TensorFlow Lite file give identical values.
"""

from typing import Any

from keras import ops

from alloyk.preprocessing.borders import fill_borders
from alloyk.preprocessing.image_layer import MIN_RELATIVE_RANGE, ImageLayer, register
from alloyk.preprocessing.neighbours import Neighbours, Range
from alloyk.preprocessing.strips import (
    is_looped,
    map_rows,
    mean,
    mean_of_rows,
    rows_around,
    rows_of,
    sum_rows,
)

PIXEL_THRESHOLD = 4.2
"""A pixel is defective if it is this many noise deviations outside its neighbourhood's range."""

# Half the range of the neighbourhood that counts as noise, in noise deviations. A wider range is
# structure of the object, and a defect must be outside it.
NOISE_RANGE = 0.9

SLOPE_THRESHOLD = 4.7
"""… or this many from the means of opposite neighbours, if these agree."""

AGREEMENT = 3.0
"""Noise deviations within which the means must agree; at a corner of the object they do not."""

LINE_THRESHOLD = 2.0
"""Noise deviations by which pixels of a defective line are outside the adjacent lines."""

SLOPES = 2.0
"""Multiple of the object's slope, per pixel, that is subtracted first."""

LINE_SHARE = 0.4
"""Fraction of a line's pixels that must exceed the threshold."""

ROUNDING_NOISE = 0.5
"""Minimum noise of integer counts; without it, one step in an 8-bit image would be a defect."""

# Deviation of Gaussian noise for a mean of 1 of `_smaller_difference`, clipped at `CLIP` means.
# Measured on normal random numbers by scripts/repair_check.py.
NOISE_PER_DIFFERENCE = 1 / 1.291
CLIP = 3.0

WINDOW = 16
"""Side of the square, in pixels, over which the noise is averaged; a power of two."""

MIN_LEVEL = 0.05
"""Fraction of the mean level below which the noise is constant."""


@register
class Repair(ImageLayer):
    """Replace defective pixels, lines and dark borders of gray raw images.

    A defect is replaced by the middle of its neighbourhood's range, a border by the nearest line
    inside it. All other pixels are unchanged.

    Args:
        pixel_threshold: Float > 0, in standard deviations of the local noise.
        border: Whether to fill dark borders.

    Shapes: `(batch, height, width, 1)`, in and out.
    Raises: ValueError if `pixel_threshold` is not positive.
    """

    def __init__(
        self, pixel_threshold: float = PIXEL_THRESHOLD, border: bool = True, **kwargs: Any
    ):
        super().__init__(**kwargs)
        if pixel_threshold <= 0:
            raise ValueError(f"pixel_threshold must be > 0, got {pixel_threshold}")
        self.pixel_threshold = pixel_threshold
        self.border = border

    def call(self, images: Any) -> Any:
        gray = images[..., 0]
        if self.border:  # before the pixels beside it are judged by it
            gray = fill_borders(gray)
        gray = repair_pixels(gray, self.pixel_threshold)
        if self.border:  # one that a hot pixel hid
            gray = fill_borders(gray)
        return gray[..., None]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        own = {"pixel_threshold": self.pixel_threshold, "border": self.border}
        return {**super().get_config(), **own}


def repair_pixels(images: Any, threshold: float = PIXEL_THRESHOLD) -> Any:
    """Replace defective pixels and lines of `(batch, height, width)` images."""
    found = _Noise(images)
    batch, height, width = ops.shape(images)

    def in_columns(start: Any, stop: Any) -> Any:
        outside = found.strip(start, stop).outside_columns(found)
        return ops.sum(ops.cast(outside, "float32"), axis=1, keepdims=True)

    count = sum_rows(in_columns, images, (batch, 1, width))
    columns = count / ops.cast(height, "float32") >= LINE_SHARE
    return map_rows(
        lambda start, stop: found.strip(start, stop).repaired(found, columns, threshold), images
    )


def noise_deviation(images: Any) -> Any:
    """Standard deviation of the noise at each pixel, `(batch, height, width)`, in and out.

    The noise is assumed to be proportional to the square root of the level, like that of photons,
    and is averaged over a window after division by that root. Second differences of the object have
    little effect, because the smaller of two directions is used.
    """
    found = _Noise(images)
    return map_rows(lambda start, stop: found.strip(start, stop).noise(found), images)


class _Noise:
    """What the noise of images is estimated from: numbers of the whole images.

    Attributes:
        images: `(batch, height, width)`.
        range: Lowest and highest level of each image, `(batch, 1, 1)`.
    """

    def __init__(self, images: Any):
        self.images = images
        self._whole = None if is_looped() else _Strip(images, 0, None)
        levels = map_rows(lambda start, stop: self.strip(start, stop).levels(), images)
        self._level = mean_of_rows(levels[:, :, 0])
        lowest = ops.min(levels[:, :, 1], axis=1)[:, None, None]
        self.range = Range(lowest, ops.max(levels[:, :, 2], axis=1)[:, None, None])
        self._differences = map_rows(self._difference, images)
        self._mean = mean(self._differences)
        for _ in range(2):
            self._mean = mean_of_rows(map_rows(self._clipped_means, images, rank=2))
        sample = images[:, ::8]
        fraction = ops.max(ops.abs(sample - ops.round(sample)), axis=(1, 2), keepdims=True)
        least = MIN_RELATIVE_RANGE * self._level
        self.least = ops.where(fraction > 0, least, ROUNDING_NOISE)

    def strip(self, start: Any, stop: Any) -> "_Strip":
        """The rows `start` to `stop - 1`."""
        return self._whole or _Strip(self.images, start, stop)

    def root(self, middle: Any) -> Any:
        """Square root of the level, given the level around each pixel."""
        least = ops.maximum(MIN_LEVEL * self._level, 1e-12)
        return ops.sqrt(ops.maximum(middle, least))

    def local(self, start: Any, stop: Any) -> Any:
        """Mean clipped difference around each pixel of a strip."""
        half = WINDOW // 2
        if not is_looped():
            excess = self._clipped(self._differences) - self._mean
            total = ops.pad(excess, ((0, 0), (half, half), (half, half)))
            return _window_mean(total) + self._mean
        differences, places = rows_around(self._differences, start, stop, half)
        inside = ops.logical_and(places >= 0, places < ops.shape(self.images)[1])
        excess = ops.where(inside[:, None], self._clipped(differences) - self._mean, 0.0)
        return _window_mean(ops.pad(excess, ((0, 0), (0, 0), (half, half)))) + self._mean

    def _difference(self, start: Any, stop: Any) -> Any:
        strip = self.strip(start, stop)
        return strip.near.smaller_difference() / self.root(strip.middle)

    def _clipped(self, differences: Any) -> Any:
        return ops.minimum(differences, CLIP * self._mean)

    def _clipped_means(self, start: Any, stop: Any) -> Any:
        return ops.mean(self._clipped(rows_of(self._differences, start, stop)), axis=2)


class _Strip:
    """Rows of images, compared with their neighbours.

    Args:
        images: `(batch, height, width)`.
        start: First row.
        stop: The row after the last; not used if the images are visited as a whole.
    """

    def __init__(self, images: Any, start: Any, stop: Any):
        self._start, self._stop, self._height = start, stop, ops.shape(images)[1]
        self.near = near = Neighbours(images, start, stop)
        self._above_below = near.range_along((1, 0), (-1, 0))
        self._beside = near.range_along((0, 1), (0, -1))
        self._diagonal = near.range_along((1, 1), (-1, -1), (1, -1), (-1, 1))
        self._around = self._above_below.joined(self._beside).joined(self._diagonal)
        self.middle = self._around.middle
        self._noise: Any = None
        self._columns: Any = None

    def levels(self) -> Any:
        """Mean, lowest and highest level of each row, `(batch, rows, 3)`."""
        middle = self.middle
        mean_level = ops.mean(ops.abs(middle), axis=2)
        return ops.stack([mean_level, ops.min(middle, axis=2), ops.max(middle, axis=2)], axis=2)

    def noise(self, found: _Noise) -> Any:
        """Standard deviation of the noise at each pixel."""
        if self._noise is None:
            local = found.local(self._start, self._stop)
            noise = NOISE_PER_DIFFERENCE * local * found.root(self.middle)
            self._noise = ops.maximum(noise, found.least)
        return self._noise

    def outside_columns(self, found: _Noise) -> Any:
        """Whether each pixel is outside the columns beside it, like one of a defective column."""
        if self._columns is None:
            width = ops.shape(self.near.images)[2]
            places = ops.arange(width, dtype="int32")[None, None, :]
            across = _with_ends(self._beside, found.range, places, width - 1)
            sides = ((0, 1), (0, 2)), ((0, -1), (0, -2))
            self._columns = self._outside_lines(across, found, *sides)
        return self._columns

    def _outside_rows(self, found: _Noise) -> Any:
        rows = ops.arange(ops.shape(self.near.images)[1], dtype="int32")
        places = (self._start + rows)[None, :, None]
        across = _with_ends(self._above_below, found.range, places, self._height - 1)
        return self._outside_lines(across, found, ((1, 0), (2, 0)), ((-1, 0), (-2, 0)))

    def _outside_lines(self, across: Range, found: _Noise, *sides: tuple) -> Any:
        """Whether each pixel is outside the adjacent lines.

        The slope of the object is subtracted, because a line of the object where two slopes meet is
        darker or brighter than both neighbours.
        """
        near = self.near
        slope = ops.minimum(*(ops.abs(near.at(*one) - near.at(*two)) for one, two in sides))
        limit = LINE_THRESHOLD * self.noise(found)
        return across.outside(near.images) - SLOPES * slope > limit

    def repaired(self, found: _Noise, columns: Any, threshold: float) -> Any:
        """The rows without defects.

        Args:
            found: Result for the whole images.
            columns: `(batch, 1, width)`, whether enough pixels of a column are outside.
            threshold: `PIXEL_THRESHOLD`.
        """
        images, noise = self.near.images, self.noise(found)
        tolerated = NOISE_RANGE * noise
        half_range = (self._around.high - self._around.low) * 0.5
        distance = self._around.outside(images) + ops.minimum(half_range, tolerated)
        repaired = ops.where(distance > threshold * noise, self.middle, images)

        pairs, level = self.near.pair_means()
        distance = ops.minimum(ops.abs(images - level), pairs.outside(images) + tolerated)
        agree = pairs.high - pairs.low < AGREEMENT * noise
        on_slope = ops.logical_and(distance > SLOPE_THRESHOLD * noise, agree)
        repaired = ops.where(on_slope, level, repaired)

        outside = self._outside_rows(found)
        share = ops.mean(ops.cast(outside, "float32"), axis=2, keepdims=True)
        row = ops.logical_and(outside, share >= LINE_SHARE)
        repaired = ops.where(row, self._above_below.middle, repaired)
        column = ops.logical_and(self.outside_columns(found), columns)
        crossing = ops.where(row, self._diagonal.middle, self._beside.middle)
        return ops.where(column, crossing, repaired)


def _with_ends(across: Range, whole: Range, places: Any, last: Any) -> Range:
    """Widen `across` to the range of the whole image in the outermost lines, 0 and `last`.

    These have neighbours on one side only; a slope of the object would look like a defect.
    """
    outermost = ops.logical_or(ops.equal(places, 0), ops.equal(places, last))
    wider = across.joined(whole)
    return Range(
        ops.where(outermost, wider.low, across.low), ops.where(outermost, wider.high, across.high)
    )


def _window_mean(total: Any) -> Any:
    """Mean over a square of `WINDOW` pixels around each pixel.

    Args:
        total: Images with half a window more on each side.
    """
    reach = 1
    while reach < WINDOW:  # sums of 2, 4, 8 and 16 pixels
        total = total[:, :-reach] + total[:, reach:]
        total = total[:, :, :-reach] + total[:, :, reach:]
        reach *= 2
    return total[:, :-1, :-1] / float(WINDOW * WINDOW)
