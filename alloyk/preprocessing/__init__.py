"""What happens to an image before the network sees it.

What travels with the model, as Keras layers: `correction` by the frames of `flat_frames`, then
`layers`; `image_layer` is what they share. What happens in training only: `augmentation`.
"""

from alloyk.preprocessing.layers import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Standardize,
    build_preprocessing,
    resize_weights,
)

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Standardize", "build_preprocessing", "resize_weights"]
