"""Preprocess each channel of a sample as a gray image of its own.

Between the two layers the channels are images of the batch, so that each gray layer repairs, scales
and equalises every channel independently.
"""

from typing import Any

from keras import ops

from alloyk.preprocessing.image_layer import ImageLayer, register


class ChannelLayer(ImageLayer):
    """A layer for samples of several channels.

    Args:
        channels: Int >= 1, number of channels c.
    """

    def __init__(self, channels: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.channels = channels

    def get_config(self) -> dict:
        return {**super().get_config(), "channels": self.channels}


@register
class ChannelsToBatch(ChannelLayer):
    """Make images of channels: `(batch, height, width, c)` to `(batch · c, height, width, 1)`."""

    def call(self, images: Any) -> Any:
        height, width = ops.shape(images)[1:3]
        apart = ops.transpose(images, (0, 3, 1, 2))
        return ops.reshape(apart, (-1, height, width, 1))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (None, *input_shape[1:3], 1)


@register
class BatchToChannels(ChannelLayer):
    """Undo `ChannelsToBatch`: `(batch · c, height, width, 1)` to `(batch, height, width, c)`."""

    def call(self, images: Any) -> Any:
        height, width = ops.shape(images)[1:3]
        apart = ops.reshape(images, (-1, self.channels, height, width))
        return ops.transpose(apart, (0, 2, 3, 1))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (None, *input_shape[1:3], self.channels)
