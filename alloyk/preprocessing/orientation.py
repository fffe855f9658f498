"""Turn and mirror plate images so that all eight orientations of one image become the same.

The geometry determines the orientation: across the plate's edge the brightness is a step, along
the wedge it is a ramp. Turned upright, the step lies between top and bottom with the plate at the
bottom, and the ramp falls from left to right, whatever the wedge's vertical face does.
"""

from typing import Any

from keras import ops

from alloyk.preprocessing.image_layer import ImageLayer, register

LAG = 1 / 16
"""Distance over which the ramp is measured, part of the side."""

MAX_FALL = 0.02
"""Largest rise or fall over that distance, part of the range, that counts in full: the wedge's
vertical face is the steepest and must not outweigh the ramp."""


@register
class Upright(ImageLayer):
    """Bring images in [0, 1] into one of their eight orientations, that of the simulator.

    Images that are not square are never turned by a quarter: they come in four orientations.

    Several channels are turned together, as their mean lies.

    Shapes: `(batch, height, width, channels)`, in and out.
    """

    def call(self, images: Any) -> Any:
        if images.shape[-1] != 1:
            return _turned_together(images)
        gray = images[..., 0]
        rows, columns = ops.mean(gray, axis=2), ops.mean(gray, axis=1)
        if images.shape[1] is not None and images.shape[1] == images.shape[2]:
            turned = step_share(columns) > step_share(rows)
            gray = ops.where(turned[:, :, None], ops.transpose(gray, (0, 2, 1)), gray)
            rows, columns = ops.where(turned, columns, rows), ops.where(turned, rows, columns)
        upside_down = tilt(rows) > 0
        gray = ops.where(upside_down[:, :, None], ops.flip(gray, axis=1), gray)
        mirrored = ramp(columns) > 0
        gray = ops.where(mirrored[:, :, None], ops.flip(gray, axis=2), gray)
        return gray[..., None]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape


def _turned_together(images: Any) -> Any:
    """The same as for a gray image, for all channels by their mean."""
    gray = ops.mean(images, axis=-1)
    rows, columns = ops.mean(gray, axis=2), ops.mean(gray, axis=1)
    if images.shape[1] is not None and images.shape[1] == images.shape[2]:
        turned = step_share(columns) > step_share(rows)
        quarter = ops.transpose(images, (0, 2, 1, 3))
        images = ops.where(turned[:, :, None, None], quarter, images)
        rows, columns = ops.where(turned, columns, rows), ops.where(turned, rows, columns)
    upside_down = (tilt(rows) > 0)[:, :, None, None]
    images = ops.where(upside_down, ops.flip(images, axis=1), images)
    mirrored = (ramp(columns) > 0)[:, :, None, None]
    return ops.where(mirrored, ops.flip(images, axis=2), images)


def step_share(profile: Any) -> Any:
    """Share of the variance of a profile `(batch, n)` that one step explains, `(batch, 1)`.

    This is Otsu's criterion along the profile: the variance between the two sides of the best cut
    over the total variance; 1 for a step, 0.75 for a ramp.
    """
    size = profile.shape[1]
    difference = profile - ops.mean(profile, axis=1, keepdims=True)
    left = ops.cumsum(difference, axis=1)[:, :-1]
    count = ops.arange(1, size, dtype="float32")[None, :]
    between = ops.square(left) * (size / (count * (size - count)))
    whole = ops.sum(ops.square(difference), axis=1, keepdims=True)
    return ops.max(between, axis=1, keepdims=True) / ops.maximum(whole, 1e-12)


def tilt(profile: Any) -> Any:
    """First moment of a profile `(batch, n)`, `(batch, 1)`: positive if its end is brighter."""
    size = profile.shape[1]
    places = ops.arange(size, dtype="float32")[None, :] - (size - 1) / 2
    return ops.mean(profile * places, axis=1, keepdims=True)


def ramp(profile: Any) -> Any:
    """Rises minus falls of a profile `(batch, n)`, each clipped to a limit, `(batch, 1)`."""
    lag = max(1, round(LAG * profile.shape[1]))
    change = profile[:, lag:] - profile[:, :-lag]
    limited = ops.clip(change / MAX_FALL, -1.0, 1.0)
    return ops.mean(limited, axis=1, keepdims=True)
