"""The images of a training run: its data set, its splits as batches want them, their statistics."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import keras
import numpy as np
import tensorflow as tf

from alloyk import pipeline
from alloyk.config import Config
from alloyk.data import SPLITS, ImageDataset
from alloyk.data.depths import depth_notes
from alloyk.data.source import cache_folder, open_dataset
from alloyk.errors import ConfigError
from alloyk.inference.novelty_fitting import evenly_spaced
from alloyk.models import expects_unit_range
from alloyk.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Standardize
from alloyk.preprocessing.augmentation import Augmentation
from alloyk.targets import Target, check_tasks, column_values, target_columns, target_of, task_notes

MOST_EXAMINED = 16
"""Training images whose range is examined before they are augmented."""

CLIPPED_SHARE = 0.01
"""Largest share of pixels below -0.5 or above 1.5: noise and open beam are nearer to [0, 1]."""


@dataclass(frozen=True)
class Split:
    """The images of one split, ready to be put into batches.

    Attributes:
        images: Where batches of preprocessed images come from.
        labels: `(n,)` int class indices.
        values: Column of a task beside the alloy → `(n,)` float64, NaN where not known.
    """

    images: pipeline.KeptImages | pipeline.StreamedImages
    labels: np.ndarray
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self):
        return len(self.labels)


def open_training_data(config: Config) -> ImageDataset:
    """The data set of the configuration, checked for its tasks; notes say what they are.

    Raises:
        AlloykError: The data set cannot be used, or a task has no column to be learned from.
    """
    dataset = open_dataset(config.data_settings())
    check_tasks(config.model.tasks, dataset.table)
    notes = (*task_notes(config.model.tasks, dataset.table), *depth_notes(dataset.paths("train")))
    return replace(dataset, notes=(*dataset.notes, *notes))


def load_splits(
    config: Config,
    dataset: ImageDataset,
    preprocessing: keras.layers.Layer,
    digests: dict[str, str] | None = None,
    *,
    names: Sequence[str] = SPLITS,
) -> list[Split]:
    """The images of splits, kept or streamed as the configuration says.

    Images to keep are read in one pass: setting up a pass takes longer than reading a small split.

    Args:
        config: The experiment.
        dataset: Its data set.
        preprocessing: Layers from a raw image to a gray one of fixed size.
        digests: Path → SHA-256 of the file; filled for plain files as they are read.
        names: The splits.

    Raises:
        AlloykError: An image to keep cannot be read, or there is not enough memory or disk space.
    """
    paths = [dataset.paths(name) for name in names]
    images: Iterable[pipeline.KeptImages | pipeline.StreamedImages]
    if config.data.cache == "none":
        images = [pipeline.StreamedImages(one, preprocessing, digests) for one in paths]
    else:
        folder = cache_folder() / "preprocessed" if config.data.cache == "disk" else None
        key = dataset.fingerprint() if folder else ""
        every = [path for one in paths for path in one]
        kept = pipeline.keep_images(every, preprocessing, folder=folder, key=key, digests=digests)
        images = kept.parts(map(len, paths))
    columns = target_columns(config.model.tasks, dataset.table)
    return [
        Split(
            own,
            dataset.labels(name),
            {column: column_values(dataset.split(name), column) for column in columns},
        )
        for name, own in zip(names, images, strict=True)
    ]


def targets_for(train: Split) -> tuple[Target, ...]:
    """The numbers to estimate, with their statistics over the training split."""
    return tuple(target_of(column, values) for column, values in train.values.items())


def refuse_clipping(augmentation: Augmentation, train: Split) -> None:
    """Require images in [0, 1], to which augmentation clips them.

    Args:
        augmentation: That of the training images.
        train: The training split; some of its images are examined.

    Raises:
        ConfigError: Augmentation would clip a part of them that noise does not explain.
    """
    if not augmentation.active:
        return
    numbers = evenly_spaced(len(train), MOST_EXAMINED)
    (images,) = train.images.batches(tf.data.Dataset.from_tensors(numbers))
    low, high = float(np.min(images)), float(np.max(images))
    if np.mean(np.abs(images - 0.5) > 1) > CLIPPED_SHARE:
        raise ConfigError(
            f"augmentation needs images from 0 to 1, got {low:g} to {high:g} after preprocessing; "
            "set preprocess.normalize=robust, or every key of augment to 0"
        )


def standardization_for(config: Config, train: Split) -> list[keras.layers.Layer]:
    """The layer that standardises the gray image; none before pretrained weights.

    A pretrained backbone carries the normalisation it was trained with inside.

    Raises:
        ConfigError: The settings give another mean for a pretrained backbone.
    """
    settings, weights = config.preprocess, config.model.weights
    standardized = expects_unit_range(weights)
    if settings.mean is not None and standardized:
        raise ConfigError(
            "preprocess.mean and preprocess.std must be unset with model.weights="
            f"{weights}, which has the normalisation it was trained with; remove them"
        )
    if settings.mean is not None:
        return [Standardize(settings.mean, settings.std)]
    if settings.standardize == "none" or standardized:
        return []
    if settings.standardize == "imagenet":
        return [Standardize(IMAGENET_MEAN, IMAGENET_STD)]
    return [Standardize(*pipeline.mean_and_std(train.images, len(train)))]
