"""What the images of a split must be before they are trained on."""

import numpy as np
import pytest

from alloyk.errors import ConfigError
from alloyk.pipeline import KeptImages
from alloyk.preprocessing.augmentation import Augmentation
from alloyk.training.splits import Split, refuse_clipping


def split(low, high):
    images = np.random.default_rng(0).uniform(low, high, (40, 8, 8, 1)).astype(np.float32)
    return Split(KeptImages(images), np.zeros(40, int))


def test_counts_are_not_augmented():
    """Augmentation clips to [0, 1]: every pixel would become 1."""
    brighter = Augmentation(brightness=0.05)
    with pytest.raises(
        ConfigError, match=r"images from 0 to 1, got 9\d\d\.?\d* to 5\d+\.?\d* after"
    ):
        refuse_clipping(brighter, split(900, 60_000))
    with pytest.raises(ConfigError, match=r"set preprocess\.normalize=robust, or every key"):
        refuse_clipping(brighter, split(0, 2.3))  # attenuation
    refuse_clipping(Augmentation(), split(900, 60_000))


@pytest.mark.parametrize("high", [1.0, 1.2])
def test_noise_around_the_open_beam_may_be_clipped(high):
    refuse_clipping(Augmentation(brightness=0.05), split(-0.1, high))
