"""The preprocessing that travels with the model, as Keras layers.

Every layer takes and returns a batch of images `(batch, height, width, channels)` and works on
each image by itself. The same layers run inside the input pipeline while a model is trained, so
that their result can be cached, and inside the saved model, so that it takes the raw image.
"""

import keras
from keras import ops

from alloyk.imaging.gray import LUMA_WEIGHTS
from alloyk.preprocessing.correction import Attenuation, FlatField
from alloyk.preprocessing.flat_frames import FlatFrames
from alloyk.preprocessing.image_layer import MIN_RELATIVE_RANGE, ImageLayer, register
from alloyk.preprocessing.repair import Repair
from alloyk.preprocessing.scaling import RobustScale

# Per-channel mean and standard deviation of ImageNet's training images in [0, 1], as published
# with the torchvision models: https://pytorch.org/vision/stable/models.html
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@register
class Grayscale(ImageLayer):
    """One gray channel from images of 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA) channels.

    The number of channels may be known as late as the call. Alpha is left out; gray stored as RGB
    comes out as it went in, because the luma weights sum to 1.
    """

    def call(self, images):
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
    """Smallest value and range of each image, both `(batch, 1, 1, 1)`; the range is never 0."""
    low = ops.min(images, axis=(1, 2, 3), keepdims=True)
    high = ops.max(images, axis=(1, 2, 3), keepdims=True)
    floor = MIN_RELATIVE_RANGE * ops.maximum(ops.abs(low), ops.abs(high))
    return low, ops.maximum(high - low, ops.maximum(floor, keras.config.epsilon()))


@register
class MinMax(ImageLayer):
    """Scale each image so that its darkest pixel is 0 and its brightest 1; a flat image is 0."""

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

    Kept for models saved before `RobustScale`. Counts below `MIN_RELATIVE_RANGE` of the image's
    largest are raised to it first: a dead pixel has no logarithm.
    """

    def call(self, images):
        brightest = ops.max(images, axis=(1, 2, 3), keepdims=True)
        floor = ops.maximum(MIN_RELATIVE_RANGE * brightest, keras.config.epsilon())
        return ops.log(ops.maximum(images, floor))


@register
class Equalize(ImageLayer):
    """Histogram equalisation of each image from its own range, at full depth.

    The histogram has `levels` bins between the image's darkest and brightest pixel, and the
    cumulative distribution is interpolated between bin centres, as in
    `skimage.exposure.equalize_hist`. The map is continuous, so that a rounding difference
    between two machines stays a rounding difference.

    Args:
        levels: Int >= 2. 256 from an 8-bit image leaks the brightness through posterisation;
            4096 keeps 12 bits.
    """

    def __init__(self, levels=4096, **kwargs):
        super().__init__(**kwargs)
        if levels < 2:
            raise ValueError(f"levels must be >= 2, got {levels}")
        self.levels = levels

    def call(self, images):
        shape = ops.shape(images)
        batch = shape[0]
        low, extent = _range_of(images)
        position = ops.reshape((images - low) / extent, (batch, -1)) * self.levels
        offset = ops.arange(batch, dtype="int32")[:, None] * self.levels
        last = self.levels - 1

        bins = offset + ops.minimum(ops.cast(position, "int32"), last)
        counts = ops.segment_sum(
            ops.ones_like(ops.reshape(position, (-1,))),
            ops.reshape(bins, (-1,)),
            num_segments=batch * self.levels,
        )
        cumulative = ops.cumsum(ops.reshape(counts, (batch, self.levels)), axis=1)
        cdf = ops.reshape(cumulative / cumulative[:, -1:], (-1,))

        from_centre = ops.clip(position - 0.5, 0.0, float(last))
        below = ops.cast(from_centre, "int32")
        fraction = from_centre - ops.cast(below, "float32")
        left = ops.take(cdf, offset + below)
        right = ops.take(cdf, offset + ops.minimum(below + 1, last))
        return ops.reshape(left + fraction * (right - left), shape)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "levels": self.levels}


def resize_weights(size_in, size_out):
    """Matrix `(size_out, size_in)` of antialiased linear interpolation along one axis.

    A triangle as wide as the scale, centred on each output pixel, its rows summing to 1: what
    Pillow's `BILINEAR` and `tf.image.resize(antialias=True)` compute.
    """
    scale = ops.cast(size_in, "float32") / size_out
    centres = (ops.arange(size_out, dtype="float32") + 0.5) * scale
    pixels = ops.arange(size_in, dtype="float32") + 0.5
    distance = ops.abs(pixels[None, :] - centres[:, None]) / ops.maximum(scale, 1.0)
    weights = ops.relu(1.0 - distance)
    return weights / ops.sum(weights, axis=1, keepdims=True)


@register
class Resize(ImageLayer):
    """Antialiased linear resize of gray images to `size`, whatever size comes in.

    Written as two matrix products, so that the very same numbers come out in the input pipeline,
    in the saved model and in a TFLite file, for which a fixed input size makes both constant.

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
        mean: Sequence of 1 or 3 floats, for images in [0, 1].
        std: Sequence of as many positive floats.
    """

    def __init__(self, mean, std, **kwargs):
        super().__init__(**kwargs)
        if len(mean) != len(std) or len(mean) not in (1, 3) or min(std) <= 0:
            raise ValueError(
                "mean and std must be 1 or 3 numbers each and std must be > 0, got "
                f"mean={mean}, std={std}"
            )
        self.mean = tuple(mean)
        self.std = tuple(std)

    def call(self, images):
        return (images - ops.array(self.mean, "float32")) / ops.array(self.std, "float32")

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], len(self.mean))

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
) -> keras.Sequential:
    """Layers from a raw image of any size and channel count to a gray image in [0, 1].

    Args:
        image_size: `(height, width)` of the result.
        normalize: `robust` scaling of each image by two percentiles; `log`, the same of
            ln(counts); `min_max` by its darkest and brightest pixel; `full_scale`, division by
            `full_scale`; `none`.
        repair: Whether to replace defective pixels, lines and dark borders first.
        equalize: Whether to equalise the histogram of each image.
        levels: Bins of that histogram.
        order: `equalize_first` (the study's) or `resize_first`.
        full_scale: Largest value of the container, for `full_scale`.
        flat_frames: `FlatFrames` to correct each image by, which must then have their size.
        attenuation: Whether to take `-ln` of the corrected image.

    Returns:
        A `keras.Sequential` from `(batch, height, width, channels)` to
        `(batch, *image_size, 1)`, float32.
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
            keras.Input((height, width, None), name="raw"),
            Grayscale(),
            *correction,
            *repairing,
            *attenuating,
            *ordered,
        ],
        name="preprocessing",
    )
