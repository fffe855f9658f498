"""Random augmentation of a batch of training images, determined by one seed.

The whole batch is augmented at once, and all geometry is one projective transform: the image is
resampled once, not once per operation.
"""

import math
from dataclasses import dataclass

from keras import ops

from alloyk.preprocessing.draws import Draws

# Ranges of the erased rectangle's area (fraction of the image) and of height / width, as in
# Zhong et al., 2017, https://arxiv.org/abs/1708.04896, section 4.
ERASED_AREA = (0.02, 0.33)
ERASED_ASPECT = (0.3, 1 / 0.3)

# Coarse grid of the elastic displacement; its wavelength is about a quarter of the image.
ELASTIC_GRID = 5


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
        draws = Draws(seed, rows, size)
        if self._geometric:
            images = self._transform(images, draws)
        if self.elastic:
            images = self._warp(images, draws)
        if self.contrast or self.brightness:
            images = self._jitter(images, draws)
        if self.cutout:
            images = self._cut_out(images, draws)
        if self.grid_mask:
            from alloyk.preprocessing.grid_mask import mask_by_grid  # KerasCV needs TensorFlow

            images = mask_by_grid(images, draws.new_seed(), self.grid_mask, rows)
        if self.erasing:
            images = self._erase(images, draws)
        if self.noise:
            images = images + self.noise * draws.normal(ops.shape(images))
        images = self._through_detector(images, draws)
        return ops.clip(images, 0.0, 1.0) if self.active else images

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
        batch, rows, columns, _ = ops.shape(images)
        height, width = ops.cast(rows, "float32"), ops.cast(columns, "float32")

        def signs(active):
            coin = draws.uniform([batch], 0.0, 1.0)
            return ops.where(coin < 0.5, -1.0, 1.0) if active else ops.ones([batch])

        limit = math.radians(self.rotation_deg)
        angle = draws.uniform([batch], -limit, limit)
        magnification = draws.uniform([batch], 1 - self.scale, 1 + self.scale)
        window = draws.uniform([batch], 1 - self.crop, 1.0)
        shift = draws.uniform([2, batch], -self.shift, self.shift, axis=1)
        corner = draws.uniform([2, batch], -0.5, 0.5, axis=1) * (1 - window)
        flip_x, flip_y = signs(self.horizontal_flip), signs(self.vertical_flip)

        # Output pixel (x, y) comes from input pixel (a0 x + a1 y + a2, b0 x + b1 y + b2).
        zoom = window / magnification
        a0, a1 = zoom * ops.cos(angle) * flip_x, -zoom * ops.sin(angle) * flip_y
        b0, b1 = zoom * ops.sin(angle) * flip_x, zoom * ops.cos(angle) * flip_y
        centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
        a2 = centre_x - a0 * centre_x - a1 * centre_y + (shift[0] + corner[0]) * width
        b2 = centre_y - b0 * centre_x - b1 * centre_y + (shift[1] + corner[1]) * height
        zero = ops.zeros([batch])
        return ops.image.affine_transform(
            images,
            ops.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1),
            interpolation="bilinear",
            fill_mode=self.fill,
            fill_value=0.0,
            data_format="channels_last",
        )

    def _warp(self, images, draws):
        """Resample at positions displaced by a smooth random field; edge pixels are repeated."""
        batch, height, width, channels = ops.shape(images)
        side = ops.cast(ops.minimum(height, width), "float32")
        coarse = draws.normal([batch, ELASTIC_GRID, ELASTIC_GRID, 2])
        field = ops.image.resize(
            coarse, (height, width), interpolation="bicubic", data_format="channels_last"
        )
        field = field * self.elastic * side
        rows = ops.arange(height, dtype="float32")[None, :, None] + field[..., 0]
        columns = ops.arange(width, dtype="float32")[None, None, :] + field[..., 1]
        rows = ops.clip(rows, 0.0, ops.cast(height - 1, "float32"))
        columns = ops.clip(columns, 0.0, ops.cast(width - 1, "float32"))
        top, left = ops.floor(rows), ops.floor(columns)
        pixels = ops.reshape(images, (batch, height * width, channels))

        def pixel(row, column):
            row = ops.minimum(ops.cast(row, "int32"), height - 1)
            column = ops.minimum(ops.cast(column, "int32"), width - 1)
            places = ops.reshape(row * width + column, (batch, height * width, 1))
            found = ops.take_along_axis(pixels, places, axis=1)
            return ops.reshape(found, (batch, height, width, channels))

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
        side = ops.full([ops.shape(images)[0]], self.cutout)
        inside = _rectangles(images, draws, side, side)
        return ops.where(inside, _means(images), images)

    def _erase(self, images, draws):
        batch = ops.shape(images)[0]
        area = draws.uniform([batch], *ERASED_AREA)
        aspect = ops.exp(draws.uniform([batch], *map(math.log, ERASED_ASPECT)))
        chosen = draws.uniform([batch], 0.0, 1.0) < self.erasing
        area = ops.where(chosen, area, 0.0)
        inside = _rectangles(images, draws, ops.sqrt(area * aspect), ops.sqrt(area / aspect))
        return ops.where(inside, draws.uniform(ops.shape(images), 0.0, 1.0), images)


def _each_channel(images):
    """Shape of a number for each channel of each image, `(batch, 1, 1, channels)`."""
    batch, _, _, channels = ops.shape(images)
    return [batch, 1, 1, channels]


def _means(images):
    """Mean of each channel of each image."""
    axes = (1, 2, 3) if images.shape[3] == 1 else (1, 2)
    return ops.mean(images, axis=axes, keepdims=True)


def _rectangles(images, draws, height, width):
    """Boolean mask `(batch, H, W, 1)` of one rectangle per image, inside the image.

    Args:
        images: The batch; only its shape is used.
        draws: Source of the positions.
        height: `(batch,)` fraction of the image's height; clipped to 1.
        width: `(batch,)` fraction of the image's width; clipped to 1.
    """
    batch, *sides, _ = ops.shape(images)

    def along(length, extent):
        extent = ops.minimum(extent, 1.0)
        start = draws.uniform([batch], 0.0, 1.0) * (1 - extent)
        centres = _centres(length)
        return (centres >= start[:, None]) & (centres < (start + extent)[:, None])

    rows, columns = along(sides[0], height), along(sides[1], width)
    return (rows[:, :, None] & columns[:, None, :])[..., None]


def _centres(length):
    """Centres of pixels along a side, fractions of it, `(length,)`."""
    return (ops.arange(length, dtype="float32") + 0.5) / ops.cast(length, "float32")


def _coins(images, draws):
    """True for each image with probability 1/2, `(batch, 1, 1, 1)`."""
    return draws.uniform([ops.shape(images)[0], 1, 1, 1], 0.0, 1.0) < 0.5


def _oriented(images, draws):
    images = ops.where(_coins(images, draws), ops.flip(images, 1), images)
    images = ops.where(_coins(images, draws), ops.flip(images, 2), images)
    if images.shape[1] is not None and images.shape[1] == images.shape[2]:
        images = ops.where(_coins(images, draws), ops.transpose(images, (0, 2, 1, 3)), images)
    return images


def _blurred(images, draws, largest):
    """Weights `(w, 1 - 2w, w)` along both axes have the variance `2w`: exact up to w = 1/2."""
    deviation = draws.uniform([ops.shape(images)[0], 1, 1, 1], 0.0, largest)
    weight = ops.square(deviation) / 2
    for axis in (1, 2):
        pad = [[0, 0], [int(axis == 1)] * 2, [int(axis == 2)] * 2, [0, 0]]
        padded = ops.pad(images, pad, "symmetric")
        size = ops.shape(images)[axis]
        before = padded[:, :size] if axis == 1 else padded[:, :, :size]
        after = padded[:, 2:] if axis == 1 else padded[:, :, 2:]
        images = images + weight * (before + after - 2 * images)
    return images


def _other_response(images, draws, strength):
    _, height, width, _ = ops.shape(images)
    drawn = draws.uniform([5, *_each_channel(images)], -strength, strength, axis=1)
    gain, offset, tilt_x, tilt_y, vignette = (drawn[number] for number in range(5))
    rows = ops.linspace(-1.0, 1.0, height)[None, :, None, None]
    columns = ops.linspace(-1.0, 1.0, width)[None, None, :, None]
    down = tilt_y * rows + vignette / 2 * ops.square(rows)
    right = tilt_x * columns + vignette / 2 * ops.square(columns)
    return images * ((1 + gain) + down + right) + offset


def _with_defects(images, draws, share):
    chance = draws.uniform(ops.shape(images), 0.0, 1.0)
    share = ops.where(_coins(images, draws), 2 * share, 0.0)
    images = ops.where(chance < share / 2, 0.0, images)
    return ops.where(chance > 1 - share / 2, 1.0, images)


def _with_border(images, draws, deepest):
    batch, height, width, _ = ops.shape(images)
    depths = draws.uniform([4, batch, 1, 1, 1], 0.0, deepest, axis=1)
    chosen = _coins(images, draws)
    rows, columns = _centres(height)[None, :, None, None], _centres(width)[None, None, :, None]
    in_rows = (rows < depths[0]) | (rows > 1 - depths[1])
    in_columns = (columns < depths[2]) | (columns > 1 - depths[3])
    return ops.where(chosen & (in_rows | in_columns), 0.0, images)
