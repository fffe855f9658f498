"""Preprocessing as Keras layers that are saved with the model.

Every layer takes and returns a batch of images `(batch, height, width, channels)` and processes
each image independently. In training, the layers run in the input pipeline, so that their result
can be cached; the saved model contains them, so that it takes raw images.
"""

import keras
from keras import ops

from alloyk.imaging.gray import LUMA_WEIGHTS
from alloyk.preprocessing.channels import BatchToChannels, ChannelsToBatch
from alloyk.preprocessing.correction import Attenuation, FlatField
from alloyk.preprocessing.flat_frames import FlatFrames
from alloyk.preprocessing.image_layer import (
    MIN_RANGE,
    MIN_RELATIVE_RANGE,
    ImageLayer,
    register,
)
from alloyk.preprocessing.orientation import Upright
from alloyk.preprocessing.repair import Repair
from alloyk.preprocessing.scaling import RobustScale, histogram
from alloyk.preprocessing.strips import is_looped, map_rows, rows_of

# Per-channel mean and standard deviation of ImageNet's training images in [0, 1], as published
# with the torchvision models: https://pytorch.org/vision/stable/models.html
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@register
class Grayscale(ImageLayer):
    """One gray channel from images of 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA) channels.

    The number of channels may be unknown until the call. Alpha is ignored. Gray stored as RGB is
    unchanged, because the luma weights sum to 1.
    """

    def call(self, images):
        channels = ops.shape(images)[-1]
        if images.shape[-1] == 1:
            return images
        if is_looped():  # no copies of a large gray image
            colour = ops.greater_equal(channels, 3)
            return ops.cond(colour, lambda: self._gray(images), lambda: images[..., :1])
        return self._gray(images)

    def _gray(self, images):
        channels = ops.shape(images)[-1]
        is_colour = ops.greater_equal(channels, 3)
        gray = 0.0
        # One product and one sum after the other: a reduction may add in another order in TFLite,
        # and the last bit decides in which bin of the equalised histogram a pixel falls.
        for place, weight in enumerate(LUMA_WEIGHTS):
            channel = ops.minimum(place, channels - 1)
            weight = ops.where(is_colour, weight, float(place == 0))
            gray = gray + ops.take(images, [channel], axis=-1) * weight
        return gray

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 1)


def _range_of(images):
    """Minimum and range of each image, both `(batch, 1, 1, 1)`; the range is never 0."""
    low = ops.min(images, axis=(1, 2, 3), keepdims=True)
    high = ops.max(images, axis=(1, 2, 3), keepdims=True)
    floor = MIN_RELATIVE_RANGE * ops.maximum(ops.abs(low), ops.abs(high))
    return low, ops.maximum(high - low, ops.maximum(floor, MIN_RANGE))


@register
class MinMax(ImageLayer):
    """Scale each image to [0, 1] by its darkest and brightest pixel; a constant image is 0."""

    def call(self, images):
        low, extent = _range_of(images)
        return (images - low) / extent


@register
class FullScale(ImageLayer):
    """Divide by the largest value of the detector's container, for example 255 or 65535."""

    def __init__(self, full_scale, **kwargs):
        super().__init__(**kwargs)
        if full_scale <= 0:
            raise ValueError(f"full_scale must be > 0, got {full_scale}")
        self.full_scale = full_scale

    def call(self, images):
        return images / self.full_scale

    def get_config(self):
        return {**super().get_config(), "full_scale": self.full_scale}


@register
class Log(ImageLayer):
    """Natural logarithm of the counts, so that attenuation becomes a difference.

    Kept for models saved before `RobustScale`. Counts are clipped below at `MIN_RELATIVE_RANGE` of
    the image's largest count, because dead pixels have no logarithm.
    """

    def call(self, images):
        brightest = ops.max(images, axis=(1, 2, 3), keepdims=True)
        floor = ops.maximum(MIN_RELATIVE_RANGE * brightest, MIN_RANGE)
        return ops.log(ops.maximum(images, floor))


@register
class Equalize(ImageLayer):
    """Histogram equalisation of each image over its own range, at full depth.

    The histogram has `levels` bins between the image's darkest and brightest pixel, and the
    cumulative distribution is interpolated between bin centres, as in
    `skimage.exposure.equalize_hist`. The map is continuous, so rounding differences between
    machines stay small.

    Args:
        levels: Int >= 2. With 256, posterisation of 8-bit images reveals their brightness; 4096
            keeps 12 bits.
    """

    def __init__(self, levels=4096, **kwargs):
        super().__init__(**kwargs)
        if levels < 2:
            raise ValueError(f"levels must be >= 2, got {levels}")
        self.levels = levels

    def call(self, images):
        batch = ops.shape(images)[0]
        low, extent = _range_of(images)
        cumulative = ops.cumsum(histogram(images, low, extent, self.levels), axis=1)
        cdf = ops.reshape(cumulative / cumulative[:, -1:], (-1,))
        first = ops.reshape(ops.arange(batch, dtype="int32") * self.levels, (batch, 1, 1, 1))
        last = self.levels - 1

        def equalized(start, stop):
            position = (rows_of(images, start, stop) - low) / extent * self.levels
            from_centre = ops.clip(position - 0.5, 0.0, float(last))
            below = ops.cast(from_centre, "int32")
            fraction = from_centre - ops.cast(below, "float32")
            left = ops.take(cdf, first + below)
            right = ops.take(cdf, first + ops.minimum(below + 1, last))
            return left + fraction * (right - left)

        return map_rows(equalized, images, rank=4)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "levels": self.levels}


def resize_weights(size_in, size_out):
    """Matrix `(size_out, size_in)` of antialiased linear interpolation along one axis.

    A triangle filter as wide as the scale, centred on each output pixel; rows sum to 1. Pillow's
    `BILINEAR` and `tf.image.resize(antialias=True)` compute the same.
    """
    scale = ops.cast(size_in, "float32") / size_out
    centres = (ops.arange(size_out, dtype="float32") + 0.5) * scale
    pixels = ops.arange(size_in, dtype="float32") + 0.5
    distance = ops.abs(pixels[None, :] - centres[:, None]) / ops.maximum(scale, 1.0)
    weights = ops.relu(1.0 - distance)
    return weights / ops.sum(weights, axis=1, keepdims=True)


@register
class Resize(ImageLayer):
    """Antialiased linear resize of gray images of any size to `size`.

    Computed as two matrix products, so that the input pipeline, the saved model and a TFLite file
    give identical values. A fixed input size makes both matrices constants.

    Args:
        size: `(height, width)`. The aspect ratio is not kept.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, images):
        if tuple(images.shape[1:3]) == self.size:  # static: unknown sizes are None
            return images
        height, width = ops.shape(images)[1:3]
        gray = images[..., 0]
        gray = ops.matmul(resize_weights(height, self.size[0]), gray)
        gray = ops.matmul(gray, ops.transpose(resize_weights(width, self.size[1])))
        return gray[..., None]

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.size, 1)

    def get_config(self):
        return {**super().get_config(), "size": self.size}


@register
class Standardize(ImageLayer):
    """`(image - mean) / std` per channel; three means turn a gray image into three channels.

    Args:
        mean: Sequence of 1 float, of 3, or of one for each channel, for images in [0, 1].
        std: Sequence of the same number of positive floats.
    """

    def __init__(self, mean, std, **kwargs):
        super().__init__(**kwargs)
        if len(mean) != len(std) or not mean or min(std) <= 0:
            raise ValueError(
                "mean and std must have the same length and std must be > 0, got "
                f"mean={mean}, std={std}"
            )
        self.mean = tuple(mean)
        self.std = tuple(std)

    def call(self, images):
        return (images - ops.array(self.mean, "float32")) / ops.array(self.std, "float32")

    def compute_output_shape(self, input_shape):
        several = len(self.mean) > 1
        return (*input_shape[:-1], len(self.mean) if several else input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "mean": self.mean, "std": self.std}


def build_preprocessing(
    image_size: tuple[int, int],
    *,
    normalize: str = "min_max",
    repair: bool = False,
    equalize: bool = False,
    levels: int = 4096,
    order: str = "equalize_first",
    full_scale: float | None = None,
    flat_frames: FlatFrames | None = None,
    attenuation: bool = False,
    upright: bool = False,
    channels: int = 1,
) -> keras.Sequential:
    """Build the layers from a raw image of any size and channel count to a gray image in [0, 1].

    With `channels`, each channel is such an image, and all are turned upright together.

    Args:
        image_size: `(height, width)` of the result.
        normalize: `robust`, scaling of each image by two percentiles; `log`, the same for
            ln(counts); `min_max`, scaling by its darkest and brightest pixel; `full_scale`,
            division by `full_scale`; or `none`.
        repair: Whether to replace defective pixels, lines and dark borders first.
        equalize: Whether to equalise the histogram of each image.
        levels: Number of bins of the histogram.
        order: `equalize_first` (the study's) or `resize_first`.
        full_scale: Largest value of the container, for `full_scale`.
        flat_frames: `FlatFrames` for the correction of each image, which must have their size.
        attenuation: Whether to take `-ln` of the corrected image.
        upright: Whether to turn plates upright, whatever way the image lies.
        channels: Number of channels that are images of their own; with 1, colour becomes gray.

    Returns:
        A `keras.Sequential` from `(batch, height, width, channels)` to
        `(batch, *image_size, channels)`, float32.
    """
    scaling = {
        "robust": lambda: [RobustScale()],
        "min_max": lambda: [MinMax()],
        "log": lambda: [RobustScale(logarithm=True)],
        "full_scale": lambda: [FullScale(full_scale)],
        "none": lambda: [],
    }
    levelling = scaling[normalize]() + ([Equalize(levels)] if equalize else [])
    resizing = [Resize(image_size)]
    ordered = levelling + resizing if order == "equalize_first" else resizing + levelling
    correction = [FlatField.from_frames(flat_frames)] if flat_frames else []
    # Before the logarithm, which would make a dark border the brightest part of the image.
    repairing = [Repair()] if repair else []
    attenuating = [Attenuation()] if flat_frames and attenuation else []
    height, width = flat_frames.shape if flat_frames else (None, None)
    return keras.Sequential(
        [
            keras.Input((height, width, channels if channels > 1 else None), name="raw"),
            Grayscale() if channels == 1 else ChannelsToBatch(channels),
            *correction,
            *repairing,
            *attenuating,
            *ordered,
            *([BatchToChannels(channels)] if channels > 1 else []),
            *([Upright()] if upright else []),
        ],
        name="preprocessing",
    )
