"""Repair of detector defects in a single raw image, without a defect map.

A dead or hot pixel, a pair, a 2×2 cluster, or a line up to two pixels wide is outside the range of
its neighbourhood in every direction. An edge of the object is not, because the object continues
along the edge. On a slope, where the range of the neighbourhood is wide, a defect differs from the
means of opposite neighbours in all directions. A dark border is the shadow of a collimator at the
edge of the field.

Only shifted copies, minima, maxima, sums and gathers are used, so that the input pipeline, the
saved model and a TensorFlow Lite file give identical values.
"""

from functools import reduce
from typing import Any, NamedTuple

from keras import ops

from alloyk.preprocessing.image_layer import MIN_RELATIVE_RANGE, ImageLayer, register

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

REACH = 2
"""Radius of a pixel's neighbourhood, in pixels."""

WINDOW = 16
"""Side of the square, in pixels, over which the noise is averaged; a power of two."""

LEAST_LEVEL = 0.05
"""Fraction of the mean level below which the noise is constant."""

BORDER_LEVEL = 0.125
"""The brightest pixel of a border is below this fraction of the image's mean."""

BORDER_DEPTH = 0.1
"""Widest border that is repaired, fraction of the side; a wider one may be the object."""


class _Range(NamedTuple):
    """Range of each pixel's neighbourhood: two arrays `(batch, height, width)`."""

    low: Any
    high: Any

    @property
    def middle(self) -> Any:
        return (self.low + self.high) * 0.5

    def outside(self, images: Any) -> Any:
        """Distance of each pixel from the range; negative inside."""
        return ops.maximum(images - self.high, self.low - images)

    def joined(self, other: "_Range") -> "_Range":
        return _Range(ops.minimum(self.low, other.low), ops.maximum(self.high, other.high))


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
    near = _Neighbours(images)
    above_below = near.range_along((1, 0), (-1, 0))
    beside = near.range_along((0, 1), (0, -1))
    diagonal = near.range_along((1, 1), (-1, -1), (1, -1), (-1, 1))
    around = above_below.joined(beside).joined(diagonal)
    middle = around.middle
    noise = _noise_deviation(near, middle)
    limit = threshold * noise
    tolerated = NOISE_RANGE * noise

    half_range = (around.high - around.low) * 0.5
    outside = around.outside(images) + ops.minimum(half_range, tolerated) > limit
    pairs, level = near.pair_means()
    distance = ops.minimum(ops.abs(images - level), pairs.outside(images) + tolerated)
    agree = pairs.high - pairs.low < AGREEMENT * noise
    on_slope = ops.logical_and(distance > SLOPE_THRESHOLD * noise, agree)
    darkest = ops.min(middle, axis=(1, 2), keepdims=True)
    brightest = ops.max(middle, axis=(1, 2), keepdims=True)
    whole = _Range(darkest, brightest)
    row = _in_line(near, _with_ends(above_below, whole, 1), noise, along=2)
    column = _in_line(near, _with_ends(beside, whole, 2), noise, along=1)

    repaired = ops.where(outside, middle, images)
    repaired = ops.where(on_slope, level, repaired)
    repaired = ops.where(row, above_below.middle, repaired)
    crossing = ops.where(row, diagonal.middle, beside.middle)
    return ops.where(column, crossing, repaired)


def noise_deviation(images: Any) -> Any:
    """Standard deviation of the noise at each pixel, `(batch, height, width)`, in and out.

    The noise is assumed to be proportional to the square root of the level, like that of photons,
    and is averaged over a window after division by that root. Second differences of the object have
    little effect, because the smaller of two directions is used.
    """
    near = _Neighbours(images)
    directions = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]
    return _noise_deviation(near, near.range_along(*directions).middle)


def _noise_deviation(near: "_Neighbours", middle: Any) -> Any:
    """`noise_deviation`, given the level `middle` around each pixel."""
    images = near.images
    root = _root_of_level(middle)
    difference = near.smaller_difference() / root
    mean = _mean(difference)
    for _ in range(2):
        mean = _mean(ops.minimum(difference, CLIP * mean))
    local = _window_mean(ops.minimum(difference, CLIP * mean) - mean) + mean
    noise = NOISE_PER_DIFFERENCE * local * root
    sample = images[:, ::8]
    fraction = ops.max(ops.abs(sample - ops.round(sample)), axis=(1, 2), keepdims=True)
    least = ops.where(fraction > 0, MIN_RELATIVE_RANGE * _mean(ops.abs(middle)), ROUNDING_NOISE)
    return ops.maximum(noise, least)


def fill_borders(images: Any) -> Any:
    """Extend `(batch, height, width)` images over dark rows and columns at their edges."""
    batch, height, width = ops.shape(images)
    dark_below = BORDER_LEVEL * ops.mean(images, axis=(1, 2))[:, None]
    rows = _inside(ops.max(images, axis=2) < dark_below, height)
    columns = _inside(ops.max(images, axis=1) < dark_below, width)
    first = ops.arange(batch, dtype="int32")[:, None] * height
    places = ((first + rows) * width)[:, :, None] + columns[:, None, :]
    return ops.take(ops.reshape(images, (-1,)), places)


def _inside(dark: Any, size: Any) -> Any:
    """Source line of each line, `(batch, size)`: itself, or the nearest one inside a border.

    Args:
        dark: `(batch, size)` bool, whether the whole line is dark.
        size: Number of lines.
    """
    places = ops.arange(size, dtype="int32")[None, :]
    deepest = ops.cast(ops.cast(size, "float32") * BORDER_DEPTH, "int32")
    bright = ops.where(dark, size, places)
    first = ops.min(bright, axis=1, keepdims=True)
    last = ops.max(ops.where(dark, -1, places), axis=1, keepdims=True)
    first = ops.where(first <= deepest, first, 0)
    last = ops.where(last >= size - 1 - deepest, last, size - 1)
    return ops.minimum(ops.maximum(places, first), last)


class _Neighbours:
    """The pixels one and two steps away from each pixel, in eight directions.

    The image is mirrored at its edges. Each shifted copy is one slice with constant bounds and is
    made once, because the size of the graph affects the start of every training.

    Args:
        images: `(batch, height, width)`.
    """

    def __init__(self, images: Any):
        self.images = images
        padded = _mirrored(_mirrored(images, 1), 2)
        self._rows = {down: padded[:, _bounds(down)] for down in range(-REACH, REACH + 1)}
        self._copies: dict[tuple[int, int], Any] = {}

    def at(self, down: int, right: int) -> Any:
        """The pixels at the offset `(down, right)`."""
        if (down, right) not in self._copies:
            self._copies[down, right] = self._rows[down][:, :, _bounds(right)]
        return self._copies[down, right]

    def range_along(self, *directions: tuple[int, int]) -> _Range:
        """Range of the neighbourhood in the given directions.

        In each direction, of the first and second pixel, the lower one counts for the upper end of
        the range and the higher one for the lower end. A single adjacent defect then does not widen
        the range.
        """
        ranges = []
        for down, right in directions:
            next_to_it, behind = self.at(down, right), self.at(2 * down, 2 * right)
            ranges.append(
                _Range(low=ops.maximum(next_to_it, behind), high=ops.minimum(next_to_it, behind))
            )
        return reduce(_Range.joined, ranges)

    def pair_means(self) -> tuple[_Range, Any]:
        """Range and mean of the means of opposite neighbours.

        On a uniform slope all four means equal the pixel's value.
        """
        sums = [
            self.at(down, right) + self.at(-down, -right)
            for down, right in ((1, 0), (0, 1), (1, 1), (1, -1))
        ]
        highest = ops.maximum(ops.maximum(sums[0], sums[1]), ops.maximum(sums[2], sums[3]))
        lowest = ops.minimum(ops.minimum(sums[0], sums[1]), ops.minimum(sums[2], sums[3]))
        total = (sums[0] + sums[1]) + (sums[2] + sums[3])
        return _Range(lowest * 0.5, highest * 0.5), total * 0.125

    def smaller_difference(self) -> Any:
        """Absolute second difference of each pixel, the smaller of two directions."""
        twice = self.images + self.images
        vertical, horizontal = (
            ops.abs(twice - self.at(-down, -right) - self.at(down, right))
            for down, right in ((1, 0), (0, 1))
        )
        return ops.minimum(vertical, horizontal)


def _bounds(shift: int) -> slice:
    """Slice of a copy shifted by `shift` along an axis padded by `REACH` on both sides."""
    return slice(REACH + shift, shift - REACH or None)


def _mirrored(images: Any, axis: int) -> Any:
    """Extend images by `REACH` pixels along `axis`, mirrored about the outermost pixel."""
    last = ops.shape(images)[axis] - 1
    distances = ops.minimum(ops.arange(1, REACH + 1, dtype="int32"), last)  # 0 for one pixel
    before = ops.take(images, distances[::-1], axis=axis)
    after = ops.take(images, last - distances, axis=axis)
    return ops.concatenate([before, images, after], axis=axis)


def _with_ends(across: _Range, whole: _Range, axis: int) -> _Range:
    """Widen `across` to the range of the whole image in the outermost lines along `axis`.

    These have neighbours on one side only; a slope of the object would look like a defect.
    """
    size = ops.shape(across.low)[axis]
    places = ops.arange(size, dtype="int32")
    outermost = ops.logical_or(ops.equal(places, 0), ops.equal(places, size - 1))
    outermost = outermost[None, :, None] if axis == 1 else outermost[None, None, :]
    wider = across.joined(whole)
    return _Range(
        ops.where(outermost, wider.low, across.low), ops.where(outermost, wider.high, across.high)
    )


def _in_line(near: "_Neighbours", across: _Range, noise: Any, along: int) -> Any:
    """Find the pixels that are part of a defective line, bool.

    The slope of the object is subtracted, because a line of the object where two slopes meet is
    darker or brighter than both neighbours.
    """
    slopes = []
    for step in (1, -1):
        one, two = ((step, 0), (2 * step, 0)) if along == 2 else ((0, step), (0, 2 * step))
        slopes.append(ops.abs(near.at(*one) - near.at(*two)))
    slope = ops.minimum(*slopes)
    stands_out = across.outside(near.images) - SLOPES * slope > LINE_THRESHOLD * noise
    share = ops.mean(ops.cast(stands_out, "float32"), axis=along, keepdims=True)
    return ops.logical_and(stands_out, share >= LINE_SHARE)


def _root_of_level(middle: Any) -> Any:
    mean = _mean(ops.abs(middle))
    least = ops.maximum(LEAST_LEVEL * mean, 1e-12)
    return ops.sqrt(ops.maximum(middle, least))


def _mean(images: Any) -> Any:
    return ops.mean(images, axis=(1, 2), keepdims=True)


def _window_mean(images: Any) -> Any:
    """Mean over a square of `WINDOW` pixels around each pixel, with zeros outside the image."""
    half = WINDOW // 2
    total = ops.pad(images, ((0, 0), (half, half), (half, half)))
    reach = 1
    while reach < WINDOW:  # sums of 2, 4, 8 and 16 pixels
        total = total[:, :-reach] + total[:, reach:]
        total = total[:, :, :-reach] + total[:, :, reach:]
        reach *= 2
    return total[:, :-1, :-1] / float(WINDOW * WINDOW)
