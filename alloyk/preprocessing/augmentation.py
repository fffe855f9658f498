"""Random augmentation of a batch of training images, determined by one seed.

The whole batch is augmented at once, and all geometry is one projective transform: the image is
resampled once, not once per operation.
"""

import math
from dataclasses import dataclass

import tensorflow as tf

from alloyk.preprocessing.grid_mask import mask_by_grid

# Ranges of the erased rectangle's area (fraction of the image) and of height / width, as in
# Zhong et al., 2017, https://arxiv.org/abs/1708.04896, section 4.
ERASED_AREA = (0.02, 0.33)
ERASED_ASPECT = (0.3, 1 / 0.3)

# Coarse grid of the elastic displacement; its wavelength is about a quarter of the image.
ELASTIC_GRID = 5


class _Draws:
    """Stateless random numbers; each draw of a batch uses the next seed.

    Args:
        seed: `(2,)` int tensor.
        rows: Places in the batch of the images that are augmented here; None if these are all.
        size: Images of the whole batch, for which the numbers are drawn.
    """

    def __init__(self, seed, rows=None, size=None):
        self.seed = tf.cast(seed, tf.int32)
        self.rows, self.size = rows, size
        self.drawn = 0

    def new_seed(self):
        self.drawn += 1
        return tf.random.experimental.stateless_fold_in(self.seed, self.drawn)

    def uniform(self, shape, low, high, axis=0):
        """Uniform numbers; `axis` is that of the images."""
        shape = self._of_all(shape, axis)
        drawn = tf.random.stateless_uniform(shape, self.new_seed(), low, high)
        return self._of_these(drawn, axis)

    def normal(self, shape):
        """Normal numbers; the images are along the first axis."""
        return self._of_these(tf.random.stateless_normal(self._of_all(shape), self.new_seed()))

    def _of_all(self, shape, axis=0):
        if self.rows is None:
            return shape
        lengths = list(shape) if isinstance(shape, list) else tf.unstack(shape)
        lengths[axis] = self.size
        return lengths

    def _of_these(self, drawn, axis=0):
        return drawn if self.rows is None else tf.gather(drawn, self.rows, axis=axis)


@dataclass(frozen=True)
class Augmentation:
    """Strengths of the augmentations; 0 or False turns one off.

    Call it with images `(batch, height, width, 1)` in [0, 1] and a seed of two integers; the
    same seed gives the same result. The result stays in [0, 1]. With `rows`, the places of the
    images in a batch of `size`, the result is that of these images in the whole batch.

    Attributes:
        horizontal_flip: Mirror left and right with probability 1/2.
        vertical_flip: Mirror top and bottom with probability 1/2.
        rotation_deg: Angle uniform within ± this.
        scale: Magnification uniform in 1 ± this.
        shift: Displacement along each axis, uniform within ± this fraction of the side.
        crop: Crop a window at a random position, with a side uniform in [1 - this, 1], and
            enlarge it to the image size.
        elastic: Root-mean-square displacement of a smooth random warp, fraction of the side.
        brightness: Offset uniform within ± this.
        contrast: Factor about the image's mean, uniform in 1 ± this.
        cutout: Side of a square that is set to the image's mean, fraction of the image's side.
        grid_mask: Side of the squares of a grid that are set to the image's mean, fraction of its
            period.
        erasing: Probability that a random rectangle is replaced by uniform noise.
        noise: Standard deviation of Gaussian noise.
        orientation: Turn and mirror each image into one of its eight orientations, equally
            likely; a non-square image into one of the four without a quarter turn.
        blur: Largest standard deviation of a Gaussian blur in pixels, uniform from 0; at most
            1, because the kernel is three pixels wide.
        response: Largest change of the detector's response, fraction of the range: gain, offset,
            a gradient across the image and a vignette, each uniform within ± this.
        defects: Mean fraction of dead (0) and hot (1) pixels, as repair may miss them; half of
            the images have none.
        border: Width of a dark border, fraction of the side, uniform from 0 to this on each
            side; half of the images have none.
        mixup: Parameter of the Beta distribution by which pairs of images and their classes are
            mixed, see `alloyk.preprocessing.mixup`. Not done by the call, which has no classes.
        fill: How the image continues beyond its edge: `reflect`, `nearest` or `constant` (0).
    """

    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation_deg: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    crop: float = 0.0
    elastic: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    cutout: float = 0.0
    grid_mask: float = 0.0
    erasing: float = 0.0
    noise: float = 0.0
    orientation: bool = False
    blur: float = 0.0
    response: float = 0.0
    defects: float = 0.0
    border: float = 0.0
    mixup: float = 0.0
    fill: str = "reflect"

    @property
    def _geometric(self):
        return any(
            (self.horizontal_flip, self.vertical_flip, self.rotation_deg, self.scale, self.shift,
             self.crop)
        )  # fmt: skip

    @property
    def active(self) -> bool:
        """Whether any augmentation is on."""
        photometric = (
            self.brightness, self.contrast, self.cutout, self.grid_mask, self.erasing, self.noise
        )  # fmt: skip
        detector = (self.orientation, self.blur, self.response, self.defects, self.border)
        return self._geometric or bool(self.elastic) or any(photometric) or any(detector)

    def __call__(self, images, seed, rows=None, size=None):
        draws = _Draws(seed, rows, size)
        if self._geometric:
            images = self._transform(images, draws)
        if self.elastic:
            images = self._warp(images, draws)
        if self.contrast or self.brightness:
            images = self._jitter(images, draws)
        if self.cutout:
            images = self._cut_out(images, draws)
        if self.grid_mask:
            images = mask_by_grid(images, draws.new_seed(), self.grid_mask, rows)
        if self.erasing:
            images = self._erase(images, draws)
        if self.noise:
            images = images + self.noise * draws.normal(tf.shape(images))
        images = self._through_detector(images, draws)
        return tf.clip_by_value(images, 0.0, 1.0) if self.active else images

    def _through_detector(self, images, draws):
        """Orientation, blur, response, defects and border, in this order."""
        if self.orientation:
            images = _oriented(images, draws)
        if self.blur:
            images = _blurred(images, draws, self.blur)
        if self.response:
            images = _other_response(images, draws, self.response)
        if self.defects:
            images = _with_defects(images, draws, self.defects)
        if self.border:
            images = _with_border(images, draws, self.border)
        return images

    def _transform(self, images, draws):
        """Flip, rotation, scale, shift and crop as one projective transform."""
        shape = tf.shape(images)
        batch = shape[0]
        height, width = tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32)

        def signs(active):
            coin = draws.uniform([batch], 0.0, 1.0)
            return tf.where(coin < 0.5, -1.0, 1.0) if active else tf.ones([batch])

        limit = math.radians(self.rotation_deg)
        angle = draws.uniform([batch], -limit, limit)
        magnification = draws.uniform([batch], 1 - self.scale, 1 + self.scale)
        window = draws.uniform([batch], 1 - self.crop, 1.0)
        shift = draws.uniform([2, batch], -self.shift, self.shift, axis=1)
        corner = draws.uniform([2, batch], -0.5, 0.5, axis=1) * (1 - window)
        flip_x, flip_y = signs(self.horizontal_flip), signs(self.vertical_flip)

        # Output pixel (x, y) comes from input pixel (a0 x + a1 y + a2, b0 x + b1 y + b2).
        zoom = window / magnification
        a0, a1 = zoom * tf.cos(angle) * flip_x, -zoom * tf.sin(angle) * flip_y
        b0, b1 = zoom * tf.sin(angle) * flip_x, zoom * tf.cos(angle) * flip_y
        centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
        a2 = centre_x - a0 * centre_x - a1 * centre_y + (shift[0] + corner[0]) * width
        b2 = centre_y - b0 * centre_x - b1 * centre_y + (shift[1] + corner[1]) * height
        zero = tf.zeros([batch])
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=tf.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1),
            output_shape=shape[1:3],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode=self.fill.upper(),
        )

    def _warp(self, images, draws):
        """Resample at positions displaced by a smooth random field; edge pixels are repeated."""
        shape = tf.shape(images)
        batch, height, width = shape[0], shape[1], shape[2]
        side = tf.cast(tf.minimum(height, width), tf.float32)
        coarse = draws.normal([batch, ELASTIC_GRID, ELASTIC_GRID, 2])
        field = tf.image.resize(coarse, [height, width], method="bicubic") * self.elastic * side
        rows = tf.cast(tf.range(height), tf.float32)[None, :, None] + field[..., 0]
        columns = tf.cast(tf.range(width), tf.float32)[None, None, :] + field[..., 1]
        rows = tf.clip_by_value(rows, 0.0, tf.cast(height - 1, tf.float32))
        columns = tf.clip_by_value(columns, 0.0, tf.cast(width - 1, tf.float32))
        top, left = tf.floor(rows), tf.floor(columns)

        def pixel(row, column):
            row = tf.minimum(tf.cast(row, tf.int32), height - 1)
            column = tf.minimum(tf.cast(column, tf.int32), width - 1)
            return tf.gather_nd(images, tf.stack([row, column], axis=-1), batch_dims=1)

        down, right = (rows - top)[..., None], (columns - left)[..., None]
        upper = pixel(top, left) * (1 - right) + pixel(top, left + 1) * right
        lower = pixel(top + 1, left) * (1 - right) + pixel(top + 1, left + 1) * right
        return upper * (1 - down) + lower * down

    def _jitter(self, images, draws):
        each = _each_channel(images)
        factor = draws.uniform(each, 1 - self.contrast, 1 + self.contrast)
        offset = draws.uniform(each, -self.brightness, self.brightness)
        mean = _means(images)
        return images * factor + (mean * (1 - factor) + offset)

    def _cut_out(self, images, draws):
        side = tf.fill([tf.shape(images)[0]], self.cutout)
        inside = _rectangles(images, draws, side, side)
        return tf.where(inside, _means(images), images)

    def _erase(self, images, draws):
        batch = tf.shape(images)[0]
        area = draws.uniform([batch], *ERASED_AREA)
        aspect = tf.exp(draws.uniform([batch], *map(math.log, ERASED_ASPECT)))
        chosen = draws.uniform([batch], 0.0, 1.0) < self.erasing
        area = tf.where(chosen, area, 0.0)
        inside = _rectangles(images, draws, tf.sqrt(area * aspect), tf.sqrt(area / aspect))
        return tf.where(inside, draws.uniform(tf.shape(images), 0.0, 1.0), images)


def _each_channel(images):
    """Shape of a number for each channel of each image, `(batch, 1, 1, channels)`."""
    shape = tf.shape(images)
    return [shape[0], 1, 1, shape[3]]


def _means(images):
    """Mean of each channel of each image."""
    axes = (1, 2, 3) if images.shape[3] == 1 else (1, 2)
    return tf.reduce_mean(images, axis=axes, keepdims=True)


def _rectangles(images, draws, height, width):
    """Boolean mask `(batch, H, W, 1)` of one rectangle per image, inside the image.

    Args:
        images: The batch; only its shape is used.
        draws: Source of the positions.
        height: `(batch,)` fraction of the image's height; clipped to 1.
        width: `(batch,)` fraction of the image's width; clipped to 1.
    """
    shape = tf.shape(images)

    def along(length, extent):
        extent = tf.minimum(extent, 1.0)
        start = draws.uniform([shape[0]], 0.0, 1.0) * (1 - extent)
        centres = (tf.cast(tf.range(length), tf.float32) + 0.5) / tf.cast(length, tf.float32)
        return (centres >= start[:, None]) & (centres < (start + extent)[:, None])

    rows, columns = along(shape[1], height), along(shape[2], width)
    return (rows[:, :, None] & columns[:, None, :])[..., None]


def _coins(images, draws):
    """True for each image with probability 1/2, `(batch, 1, 1, 1)`."""
    return draws.uniform([tf.shape(images)[0], 1, 1, 1], 0.0, 1.0) < 0.5


def _oriented(images, draws):
    images = tf.where(_coins(images, draws), tf.reverse(images, [1]), images)
    images = tf.where(_coins(images, draws), tf.reverse(images, [2]), images)
    if images.shape[1] is not None and images.shape[1] == images.shape[2]:
        images = tf.where(_coins(images, draws), tf.transpose(images, [0, 2, 1, 3]), images)
    return images


def _blurred(images, draws, largest):
    """Weights `(w, 1 - 2w, w)` along both axes have the variance `2w`: exact up to w = 1/2."""
    deviation = draws.uniform([tf.shape(images)[0], 1, 1, 1], 0.0, largest)
    weight = tf.square(deviation) / 2
    for axis in (1, 2):
        pad = [[0, 0], [int(axis == 1)] * 2, [int(axis == 2)] * 2, [0, 0]]
        padded = tf.pad(images, pad, "SYMMETRIC")
        size = tf.shape(images)[axis]
        before = padded[:, :size] if axis == 1 else padded[:, :, :size]
        after = padded[:, 2:] if axis == 1 else padded[:, :, 2:]
        images = images + weight * (before + after - 2 * images)
    return images


def _other_response(images, draws, strength):
    shape = tf.shape(images)
    gain, offset, tilt_x, tilt_y, vignette = tf.unstack(
        draws.uniform([5, *_each_channel(images)], -strength, strength, axis=1)
    )
    rows = tf.linspace(-1.0, 1.0, shape[1])[None, :, None, None]
    columns = tf.linspace(-1.0, 1.0, shape[2])[None, None, :, None]
    down = tilt_y * rows + vignette / 2 * tf.square(rows)
    right = tilt_x * columns + vignette / 2 * tf.square(columns)
    return images * ((1 + gain) + down + right) + offset


def _with_defects(images, draws, share):
    chance = draws.uniform(tf.shape(images), 0.0, 1.0)
    share = tf.where(_coins(images, draws), 2 * share, 0.0)
    images = tf.where(chance < share / 2, 0.0, images)
    return tf.where(chance > 1 - share / 2, 1.0, images)


def _with_border(images, draws, deepest):
    shape = tf.shape(images)
    depths = tf.unstack(draws.uniform([4, shape[0], 1, 1, 1], 0.0, deepest, axis=1))
    chosen = _coins(images, draws)
    rows = (tf.cast(tf.range(shape[1]), tf.float32) + 0.5) / tf.cast(shape[1], tf.float32)
    columns = (tf.cast(tf.range(shape[2]), tf.float32) + 0.5) / tf.cast(shape[2], tf.float32)
    rows, columns = rows[None, :, None, None], columns[None, None, :, None]
    in_rows = (rows < depths[0]) | (rows > 1 - depths[1])
    in_columns = (columns < depths[2]) | (columns > 1 - depths[3])
    return tf.where(chosen & (in_rows | in_columns), 0.0, images)
