"""Flat-field correction as layers: a saved model takes the detector's raw image."""

import numpy as np
from keras import ops

from alloyk.preprocessing.flat_frames import REPAIRED_FROM, FlatFrames
from alloyk.preprocessing.image_layer import MIN_RELATIVE_RANGE, ImageLayer, register


@register
class FlatField(ImageLayer):
    """`(raw - dark) / (flat - dark)`, dead pixels replaced by the mean of eight good ones.

    With absorber steps, the gain of each pixel depends on its signal, see `gain_curves`.

    The frames are weights, stored in the model file as numbers. `from_frames` builds a layer with
    given frames.

    Args:
        shape: `(height, width)` of the frames, and of every image.
        dead: Number of dead pixels.
        digest: Identifies the frames, so that a cache is not reused with others.
        terms: Number of terms of the gain of each pixel; 0 for a gain that is constant.
    """

    def __init__(self, shape, dead, digest, terms=0, **kwargs):
        super().__init__(**kwargs)
        self.terms = terms
        self.shape = tuple(shape)
        self.dead = dead
        self.digest = digest
        height, width = self.shape
        frame = {"shape": (height, width, 1), "trainable": False, "initializer": "zeros"}
        self.dark = self.add_weight(name="dark", **frame)
        self.answer = self.add_weight(name="answer", **frame)
        if terms:
            curves = {**frame, "shape": (terms, height, width, 1)}
            self.curves = self.add_weight(name="curves", **curves)
        if dead:
            whole = {"dtype": "int32", "trainable": False, "initializer": "zeros"}
            neighbours = (dead, REPAIRED_FROM)
            self.neighbours = self.add_weight(name="neighbours", shape=neighbours, **whole)
            self.source = self.add_weight(name="source", shape=(height * width,), **whole)

    @classmethod
    def from_frames(cls, frames: FlatFrames) -> "FlatField":
        """Build a layer with these frames."""
        dead = int(frames.dead.sum())
        layer = cls(frames.shape, dead, frames.digest, len(frames.curves))
        if layer.terms:
            layer.curves.assign(frames.curves[..., None])
        layer.dark.assign(frames.dark[..., None])
        # The response of a dead pixel may be 0; its value is replaced in any case.
        layer.answer.assign(np.where(frames.dead, 1, frames.flat - frames.dark)[..., None])
        if dead:
            # Source of each pixel: itself, or a repaired pixel, stored after the last one.
            source = np.arange(frames.dead.size, dtype=np.int32)
            source[frames.dead.ravel()] = frames.dead.size + np.arange(dead)
            layer.neighbours.assign(frames.neighbours)
            layer.source.assign(source)
        return layer

    def call(self, images):
        transmission = (images - self.dark) / self.answer
        if self.terms:
            gain = self.curves[self.terms - 1]
            for term in range(self.terms - 2, -1, -1):
                gain = gain * transmission + self.curves[term]
            transmission = transmission * gain
        if not self.dead:
            return transmission
        height, width = self.shape
        pixels = ops.reshape(transmission, (-1, height * width))
        near = ops.take(pixels, self.neighbours, axis=1)
        # Explicit sums: a reduction may add in another order in TFLite.
        total = near[..., 0]
        for place in range(1, REPAIRED_FROM):
            total = total + near[..., place]
        joined = ops.concatenate([pixels, total / REPAIRED_FROM], axis=1)
        return ops.reshape(ops.take(joined, self.source, axis=1), (-1, height, width, 1))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.shape, 1)

    def get_config(self):
        own = {"shape": self.shape, "dead": self.dead, "digest": self.digest, "terms": self.terms}
        return {**super().get_config(), **own}


@register
class Attenuation(ImageLayer):
    """`-ln(transmission)`, proportional to the mass in the beam; thicker metal is brighter.

    Transmissions are clipped below at `MIN_RELATIVE_RANGE`.
    """

    def call(self, images):
        return -ops.log(ops.maximum(images, MIN_RELATIVE_RANGE))
