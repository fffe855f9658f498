"""The neighbours of each pixel, and the range of their values."""

from functools import reduce
from typing import Any, NamedTuple

from keras import ops

from alloyk.preprocessing.strips import is_looped, rows_around, rows_of

REACH = 2
"""Radius of a pixel's neighbourhood, in pixels."""


class Range(NamedTuple):
    """Range of each pixel's neighbourhood: two arrays `(batch, height, width)`."""

    low: Any
    high: Any

    @property
    def middle(self) -> Any:
        return (self.low + self.high) * 0.5

    def outside(self, images: Any) -> Any:
        """Distance of each pixel from the range; negative inside."""
        return ops.maximum(images - self.high, self.low - images)

    def joined(self, other: "Range") -> "Range":
        return Range(ops.minimum(self.low, other.low), ops.maximum(self.high, other.high))


class Neighbours:
    """The pixels one and two steps away from each pixel, in eight directions.

    The image is mirrored at its edges. Each shifted copy is one slice with constant bounds and is
    made once, because the size of the graph affects the start of every training run.

    Args:
        images: `(batch, height, width)`.
        start: First row of the strip; with `stop` not used if the images are visited as a whole.
        stop: The row after its last.

    Attributes:
        images: The rows of the strip.
    """

    def __init__(self, images: Any, start: Any, stop: Any):
        self.images = rows_of(images, start, stop)
        whole = not is_looped()
        rows = _mirrored(images, 1) if whole else rows_around(images, start, stop, REACH)[0]
        padded = _mirrored(rows, 2)
        self._rows = {down: padded[:, _bounds(down)] for down in range(-REACH, REACH + 1)}
        self._copies: dict[tuple[int, int], Any] = {}

    def at(self, down: int, right: int) -> Any:
        """The pixels at the offset `(down, right)`."""
        if (down, right) not in self._copies:
            self._copies[down, right] = self._rows[down][:, :, _bounds(right)]
        return self._copies[down, right]

    def range_along(self, *directions: tuple[int, int]) -> Range:
        """Range of the neighbourhood in the given directions.

        In each direction, of the first and second pixel, the lower one counts for the upper end of
        the range and the higher one for the lower end. A single adjacent defect then does not widen
        the range.
        """
        ranges = []
        for down, right in directions:
            next_to_it, behind = self.at(down, right), self.at(2 * down, 2 * right)
            ranges.append(
                Range(low=ops.maximum(next_to_it, behind), high=ops.minimum(next_to_it, behind))
            )
        return reduce(Range.joined, ranges)

    def pair_means(self) -> tuple[Range, Any]:
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
        return Range(lowest * 0.5, highest * 0.5), total * 0.125

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
