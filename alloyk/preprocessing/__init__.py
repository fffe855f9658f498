"""Preprocessing and augmentation of images.

Keras layers that are part of the saved model: `correction` by the frames of `flat_frames`,
`repair`, `scaling` and `layers`; `image_layer` is their base class. Training only: `augmentation`.
"""

from alloyk.preprocessing.layers import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Standardize,
    build_preprocessing,
    resize_weights,
)

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Standardize", "build_preprocessing", "resize_weights"]
