"""Predict a split with a trained network, and fit the detector of unlike images."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy.special import softmax

from alloyk import pipeline
from alloyk.data import ImageDataset
from alloyk.imaging import several
from alloyk.inference.measuring import read_curves, read_statistics
from alloyk.inference.novelty import FEATURES, NoveltyDetector
from alloyk.inference.novelty_fitting import MAX_CURVES, evenly_spaced, fit_novelty
from alloyk.models.pooled import COARSE_SIDE
from alloyk.targets import LOGITS
from alloyk.training.splits import Split

PREDICTION_BATCH = 64

CHUNK_IMAGES = 2**14
"""Images whose outputs are in memory together; features take some 3 kB each."""

MIN_IMAGES = 20
"""Fewest training images to which a detector of unlike images is fitted."""


class SplitOutputs(NamedTuple):
    """Outputs of a network for every image of a split, in order.

    Attributes:
        probabilities: `(n, num_classes)` float64.
        estimates: Column → `(n,)` float64; none without further tasks.
        distances: `(n, 3)` distances from the training images, see `NoveltyDetector.distances`;
            None without a detector.
    """

    probabilities: np.ndarray
    estimates: dict[str, np.ndarray]
    distances: np.ndarray | None


@pipeline.reading_errors()
def predict_split(
    network: keras.Model, split: Split, detector: NoveltyDetector | None = None
) -> SplitOutputs:
    """Predict all images of a split.

    Args:
        network: With `FEATURES` among its outputs, if there is a detector.
        split: The split.
        detector: Measures the distances from the training images.
    """
    parts: list[SplitOutputs] = []
    for start in range(0, len(split), CHUNK_IMAGES):
        numbers = np.arange(start, min(start + CHUNK_IMAGES, len(split)))
        outputs = network.predict(_batches(split, numbers), verbose=0)
        if not isinstance(outputs, dict):
            outputs = {LOGITS: outputs}
        parts.append(
            SplitOutputs(
                softmax(outputs[LOGITS].astype(np.float64), axis=1),
                {name: outputs[name][:, 0].astype(np.float64) for name in split.values},
                None if detector is None else detector.distances(outputs[FEATURES]),
            )
        )
    probabilities, estimates, distances = zip(*parts, strict=True)
    return SplitOutputs(
        np.concatenate(probabilities),
        {name: np.concatenate([one[name] for one in estimates]) for name in split.values},
        None if detector is None else np.concatenate(distances),
    )


def _batches(split: Split, numbers: np.ndarray) -> tf.data.Dataset:
    """Batches of the images with these numbers."""
    batched = tf.data.Dataset.from_tensor_slices(numbers).batch(PREDICTION_BATCH)
    known = tf.data.experimental.assert_cardinality(
        pipeline.steps_per_epoch(len(numbers), PREDICTION_BATCH)
    )
    # A batch of images alone would be taken for images and labels.
    return split.images.batches(batched).map(lambda images: (images,)).apply(known)


@pipeline.reading_errors()
def fit_detector(
    network: keras.Model, train: Split, dataset: ImageDataset
) -> NoveltyDetector | None:
    """Fit a detector of unlike images to the training split; see `fit_novelty`.

    Args:
        network: With `FEATURES` among its outputs.
        train: The training split, without augmentation.
        dataset: The data set of its raw images.

    Returns:
        None if the network has no pooled features, or there are too few images.
    """
    has_features = isinstance(network.output, dict) and FEATURES in network.output
    if not has_features or len(train) < MIN_IMAGES:
        return None
    chosen = evenly_spaced(len(train))
    features = network.predict(_batches(train, chosen), verbose=0)[FEATURES]
    paths = dataset.paths("train")
    chosen_paths = [paths[number] for number in chosen]
    by_channel = several(dataset.channels)
    of_curves = [paths[number] for number in evenly_spaced(len(paths), MAX_CURVES)]
    return fit_novelty(
        features,
        read_statistics(chosen_paths, by_channel),
        COARSE_SIDE**2,
        read_curves(of_curves, by_channel),
    )
