"""Scaling of each image by percentiles instead of its darkest and brightest pixel."""

from typing import Any

from keras import ops

from alloyk.preprocessing.image_layer import (
    MIN_RANGE,
    MIN_RELATIVE_RANGE,
    ImageLayer,
    register,
)
from alloyk.preprocessing.strips import rows_of, sum_rows

LOW, HIGH = 0.005, 0.995
"""Fractions of the pixels below the two percentiles."""

MARGIN = 0.05
"""Part of [0, 1] reserved for pixels beyond each percentile, so that they still differ."""

LEVELS = 4096
"""Number of histogram bins for the percentiles, with linear interpolation within a bin."""


@register
class RobustScale(ImageLayer):
    """Scale each image so that two of its percentiles become `margin` and `1 - margin`.

    The result is clipped to [0, 1]. A defective pixel that repair missed hardly moves the others:
    only if it is far outside, because bins between smallest and largest count are wide then. An
    image without contrast becomes `margin`.

    Args:
        low: Float, fraction of the pixels below the lower percentile.
        high: Float, fraction of the pixels below the upper percentile.
        margin: Float in [0, 0.5).
        logarithm: Whether to scale `ln(counts)`, so that attenuation becomes a difference.

    Shapes: `(batch, height, width, 1)`, in and out.
    Raises: ValueError if not `0 <= low < high <= 1` or `margin` is out of range.
    """

    def __init__(
        self,
        low: float = LOW,
        high: float = HIGH,
        margin: float = MARGIN,
        logarithm: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not 0 <= low < high <= 1:
            raise ValueError(f"0 <= low < high <= 1 must hold, got low={low}, high={high}")
        if not 0 <= margin < 0.5:
            raise ValueError(f"margin must be >= 0 and < 0.5, got {margin}")
        self.low, self.high, self.margin, self.logarithm = low, high, margin, logarithm
        if logarithm:  # of 4 percentiles or more, TensorFlow takes it by another routine
            self.most_together = 3

    def call(self, images: Any) -> Any:
        low, high = percentiles(images, (self.low, self.high))
        brightest = ops.maximum(ops.abs(low), ops.abs(high))
        floor = ops.maximum(MIN_RELATIVE_RANGE * brightest, MIN_RANGE)
        if self.logarithm:
            images = ops.log(ops.maximum(images, floor))
            low, high = ops.log(ops.maximum(low, floor)), ops.log(ops.maximum(high, floor))
            floor = MIN_RELATIVE_RANGE
        scaled = (images - low) / ops.maximum(high - low, floor)
        return ops.clip(scaled * (1 - 2 * self.margin) + self.margin, 0.0, 1.0)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        own = {"low": self.low, "high": self.high, "margin": self.margin}
        return {**super().get_config(), **own, "logarithm": self.logarithm}


def percentiles(images: Any, parts: tuple[float, ...], levels: int = LEVELS) -> list[Any]:
    """Percentiles of each image.

    Args:
        images: `(batch, height, width, 1)`.
        parts: Fractions of the pixels, in [0, 1].
        levels: Number of bins between the darkest and the brightest pixel.

    Returns:
        A tensor `(batch, 1, 1, 1)` for each fraction.
    """
    darkest = ops.min(images, axis=(1, 2, 3), keepdims=True)
    extent = ops.max(images, axis=(1, 2, 3), keepdims=True) - darkest
    counts = histogram(images, darkest, ops.where(extent > 0, extent, 1.0), levels)
    upto = ops.cumsum(counts, axis=1)
    return [
        darkest + extent / levels * _place(upto, part * upto[:, -1:])[..., None, None]
        for part in parts
    ]


def histogram(images: Any, darkest: Any, extent: Any, levels: int) -> Any:
    """Number of pixels in each of `levels` bins of equal width, `(batch, levels)` float32.

    Args:
        images: `(batch, height, width, 1)`.
        darkest: `(batch, 1, 1, 1)`, lower end of the first bin.
        extent: `(batch, 1, 1, 1)` > 0, from there to the upper end of the last.
        levels: Number of bins.
    """
    batch = ops.shape(images)[0]
    first = ops.arange(batch, dtype="int32")[:, None] * levels

    def counts(start: Any, stop: Any) -> Any:
        position = (rows_of(images, start, stop) - darkest) / extent
        position = ops.reshape(position, (batch, -1)) * levels
        bins = first + ops.minimum(ops.cast(position, "int32"), levels - 1)
        bins = ops.reshape(bins, (-1,))
        # A float32 sum of ones stops growing at 2^24.
        found = ops.segment_sum(ops.ones_like(bins), bins, num_segments=batch * levels)
        return ops.cast(ops.reshape(found, (batch, levels)), "float32")

    return sum_rows(counts, images, (batch, levels))


def _place(upto: Any, count: Any) -> Any:
    """Bin position at which the cumulative histogram reaches a count, `(batch, 1)`, interpolated.

    Args:
        upto: `(batch, levels)`, number of pixels below the upper edge of each bin.
        count: `(batch, 1)`, number of pixels.
    """
    below = ops.cast(upto < count, "float32")
    whole = ops.sum(below, axis=1, keepdims=True)
    start = ops.max(below * upto, axis=1, keepdims=True)
    end = ops.min(ops.where(upto < count, upto[:, -1:], upto), axis=1, keepdims=True)
    inside = (count - start) / ops.maximum(end - start, 1.0)
    return whole + inside
