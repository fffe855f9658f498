"""Fit the baselines on a run's own training images, and predict."""

from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from alloyk.data import ImageDataset
from alloyk.errors import DataError
from alloyk.evaluation.baselines.noise_statistics import MIN_SIDE, noise_features
from alloyk.imaging import read_image
from alloyk.inference.wedge_curve import wedge_curve
from alloyk.messages import shown
from alloyk.pipeline import keep_images
from alloyk.runs.folder import RunFolder
from alloyk.runs.predictions import write_predictions

if TYPE_CHECKING:
    import pandas as pd

TREES = 300

NEIGHBOURS = 15
"""Number of nearest training images whose labels decide."""

CHUNK = 1024
"""Maximum number of images in memory at a time."""

MIN_MEASURED = 0.5
"""Share of the training images whose wedge curve must be measurable."""

Features = Callable[[Sequence[Path]], np.ndarray]


def fit_baselines(
    names: Sequence[str],
    preprocessing: keras.Model,
    trained_on: ImageDataset,
    evaluated: ImageDataset,
    table: "pd.DataFrame",
    out: RunFolder,
    split: str,
    *,
    seed: int = 0,
) -> None:
    """Fit each baseline on the training split, and write its predictions for other images.

    Args:
        names: Keys of `alloyk.evaluation.baselines.BASELINES`.
        preprocessing: The run's own layers from a raw image to what its network sees.
        trained_on: The run's data set.
        evaluated: Data set of the images to predict.
        table: Its rows to predict.
        out: Folder to write to.
        split: Name of the split that the rows belong to.
        seed: Seed of the forest.

    Raises:
        DataError: An image cannot be read, is too small, or the wedge curve of most images
            cannot be measured.
    """
    labels, root = trained_on.labels("train"), evaluated.root.absolute()
    shares = np.bincount(labels, minlength=len(trained_on.classes)) / len(labels)
    for name in names:
        measure, classifier = _baseline(name, preprocessing, len(labels), seed)
        features = measure(trained_on.paths("train"))
        measured = np.isfinite(features).all(axis=1)
        if measured.mean() < MIN_MEASURED:
            raise DataError(
                f"the {name} baseline needs a plate's edge and a wedge that gets thicker to the "
                f"right in half of the training images, got {measured.sum()} of {measured.size} in "
                f"{shown(trained_on.root)}; it is made for the step layout"
            )
        classifier.fit(features[measured], labels[measured])
        write_predictions(
            out.baseline_file(name, split),
            table,
            _probabilities(classifier, measure([root / path for path in table["path"]]), shares),
            trained_on.classes,
        )


def _baseline(
    name: str, preprocessing: keras.Model, images: int, seed: int
) -> tuple[Features, Any]:
    """The features of a baseline, and its classifier."""
    if name == "noise":
        return partial(_noise, preprocessing=preprocessing), _forest(seed)
    return _wedge_curves, _nearest(images)


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(TREES, min_samples_leaf=2, n_jobs=-1, random_state=seed)


def _nearest(images: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Half of the images may not be measurable, and a small class must not be outvoted by its size.
    neighbours = min(NEIGHBOURS, max(images // 10, 1))
    return make_pipeline(StandardScaler(), KNeighborsClassifier(neighbours))


def _probabilities(classifier: Any, features: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Class shares; an image that cannot be measured gets those of the training images."""
    probabilities = np.tile(shares, (len(features), 1))
    measured = np.isfinite(features).all(axis=1)
    if measured.any():
        found = np.zeros((int(measured.sum()), len(shares)))
        found[:, classifier.classes_] = classifier.predict_proba(features[measured])
        probabilities[measured] = found
    return probabilities


def _noise(paths: Sequence[Path], preprocessing: keras.Model) -> np.ndarray:
    """Noise statistics of the images as the network sees them."""
    side = min(preprocessing.output_shape[1:3])
    if side < MIN_SIDE:
        raise DataError(
            f"the noise baseline needs images of {MIN_SIDE} pixels or more along each side, got "
            f"{side} in preprocess.image_size of the run"
        )
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    images = (keep_images(chunk, preprocessing).array[..., 0] for chunk in chunks)
    return np.concatenate([noise_features(chunk) for chunk in images])


def _wedge_curves(paths: Sequence[Path]) -> np.ndarray:
    """Logarithms of the two numbers of each raw image."""

    def measure(path: Path) -> np.ndarray:
        thickness, contrast, _ = wedge_curve(read_image(path).mean(axis=-1))
        return np.array([thickness, contrast / thickness])

    with ThreadPool() as pool, np.errstate(invalid="ignore"):
        return np.log(np.array(pool.map(measure, paths)))
