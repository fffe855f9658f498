"""The preprocessing layers of one data set."""

import keras
import numpy as np

from alloyk.config import Config
from alloyk.data import ImageDataset
from alloyk.imaging import read_image
from alloyk.preprocessing.flat_frames import load_flat_frames
from alloyk.preprocessing.layers import build_preprocessing


def preprocessing_for(config: Config, dataset: ImageDataset) -> keras.Sequential:
    """The layers from a raw image of this data set to a gray one in [0, 1]."""
    settings, data = config.preprocess, config.data
    frames = load_flat_frames(dataset.root, data.flat, data.dark) if data.flat else None
    full_scale = settings.full_scale
    if settings.normalize == "full_scale" and full_scale is None:
        dtype = read_image(dataset.paths("train")[0]).dtype
        counts = dtype.kind in "iu" and frames is None  # transmission ends at 1
        full_scale = float(np.iinfo(dtype).max) if counts else 1.0
    return build_preprocessing(
        settings.image_size,
        normalize=settings.normalize,
        equalize=settings.equalize,
        levels=settings.levels,
        order=settings.order,
        full_scale=full_scale,
        flat_frames=frames,
        attenuation=data.attenuation,
    )
