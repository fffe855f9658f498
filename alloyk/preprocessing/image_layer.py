"""What all layers have in common that change an image before the network sees it."""

import keras

register = keras.saving.register_keras_serializable(package="alloyk")

# A range below this part of the brightest value counts as no contrast at all. Without the floor,
# min-max scaling blows the rounding errors of a constant image up to full contrast.
MIN_RELATIVE_RANGE = 1e-4


class ImageLayer(keras.layers.Layer):
    """A layer that is not trained and always computes in float32.

    Counts of 16-bit images do not fit into the float16 of mixed precision. Its name is that of its
    class, without Keras' running number: equal layers have equal configurations.
    """

    def __init__(self, **kwargs):
        kwargs.setdefault("name", type(self).__name__.lower())
        super().__init__(**{**kwargs, "dtype": "float32"})
