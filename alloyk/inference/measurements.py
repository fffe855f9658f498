"""What is measured on a raw image `(height, width, c)`, gray or one channel for each exposure."""

import numpy as np

from alloyk.inference.raw_statistics import raw_statistics
from alloyk.inference.wedge_curve import wedge_curve


def statistics_of(image: np.ndarray) -> np.ndarray:
    """Return `raw_statistics` of each channel, `(7 · c,)` one after the other."""
    channels = [np.ascontiguousarray(one) for one in np.moveaxis(image, -1, 0)]
    return np.concatenate([raw_statistics(one) for one in channels])


def curve_of(image: np.ndarray) -> np.ndarray:
    """Return `wedge_curve` of the mean of the channels, `(3,)`."""
    gray = image[..., 0] if image.shape[-1] == 1 else image.mean(axis=-1)
    return wedge_curve(gray)
