"""Base class of the preprocessing layers."""

import keras

register = keras.saving.register_keras_serializable(package="alloyk")

# A range below this fraction of the brightest value counts as no contrast. Without this floor,
# min-max scaling would amplify the rounding errors of a constant image to full contrast.
MIN_RELATIVE_RANGE = 1e-4
# Keeps the range of an image of zeros above 0; far below the values of any unit, doses in Gy too.
MIN_RANGE = 1e-30


class ImageLayer(keras.layers.Layer):
    """A layer that is not trained and always computes in float32.

    Counts of 16-bit images overflow the float16 of mixed precision. The layer is named after its
    class, without Keras' running number, so that equal layers have equal configurations.

    Attributes:
        most_together: Maximum number of images for which a batch gives each image the same bits as
            processing it alone; None for any number.
    """

    most_together: int | None = None

    def __init__(self, **kwargs):
        kwargs.setdefault("name", type(self).__name__.lower())
        super().__init__(**{**kwargs, "dtype": "float32"})
