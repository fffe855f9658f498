"""Fit the baselines on a run's own training images, and predict with them."""

from collections.abc import Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np

from alloyk.config import Config
from alloyk.data import ImageDataset
from alloyk.errors import AlloykError
from alloyk.evaluation.baselines.noise_statistics import LEAST_SIDE, noise_features
from alloyk.evaluation.baselines.results import control_file
from alloyk.evaluation.baselines.wedge_curve import wedge_features
from alloyk.imaging import read_image
from alloyk.pipeline import keep_images
from alloyk.preprocessing.for_dataset import preprocessing_for
from alloyk.runs.predictions import write_predictions

TREES = 300

NEIGHBOURS = 15
"""Plates in the plane of the two numbers whose labels decide."""

CHUNK = 1024
"""Images in memory at a time."""

LEAST_READ = 0.5
"""Share of the training images whose wedge curve must be readable."""


def judge(
    names: Sequence[str],
    config: Config,
    trained_on: ImageDataset,
    judged: ImageDataset,
    table,
    out: Path,
    split: str,
    *,
    seed: int = 0,
) -> None:
    """Train each control on the training split, and write its predictions for other images.

    Args:
        names: Keys of `alloyk.evaluation.baselines.CONTROLS`.
        config: Of the run, for the preprocessing that its network looks through.
        trained_on: The run's data set.
        judged: Data set of the images to be judged.
        table: Its rows to be judged.
        out: Folder to write to.
        split: Name of the split that the rows are.
        seed: Of the forest.

    Raises:
        AlloykError: An image cannot be read, is too small, or the wedge curve of most images
            cannot be read.
    """
    preprocessing = preprocessing_for(config, trained_on)
    labels, root = trained_on.labels("train"), judged.root.absolute()
    shares = np.bincount(labels, minlength=len(trained_on.classes)) / len(labels)
    for name in names:
        if name == "noise":
            measure, classifier = partial(_noise, preprocessing=preprocessing), _forest(seed)
        else:
            measure, classifier = _wedge_curves, _nearest(len(labels))
        features = measure(trained_on.paths("train"))
        read = np.isfinite(features).all(axis=1)
        if read.mean() < LEAST_READ:
            raise AlloykError(
                f"the {name} control wants a plate's edge and a wedge that gets thicker to the "
                f"right, found them in {read.sum()} of {len(read)} training images of "
                f"{trained_on.root}: it is made for the step layout"
            )
        classifier.fit(features[read], labels[read])
        seen = measure([root / path for path in table["path"]])
        write_predictions(
            Path(out) / control_file(name, split),
            table,
            _probabilities(classifier, seen, shares),
            trained_on.classes,
        )


def _forest(seed: int):
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(TREES, min_samples_leaf=2, n_jobs=-1, random_state=seed)


def _nearest(images: int):
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # At least half of the training images are read, and no class should lose by its size alone.
    neighbours = min(NEIGHBOURS, max(images // 10, 1))
    return make_pipeline(StandardScaler(), KNeighborsClassifier(neighbours))


def _probabilities(classifier, features: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Class shares; an image that could not be measured gets those of the training images."""
    probabilities = np.tile(shares, (len(features), 1))
    read = np.isfinite(features).all(axis=1)
    if read.any():
        found = np.zeros((int(read.sum()), len(shares)))
        found[:, classifier.classes_] = classifier.predict_proba(features[read])
        probabilities[read] = found
    return probabilities


def _noise(paths, preprocessing) -> np.ndarray:
    """Noise statistics of the images as the network sees them."""
    side = min(preprocessing.output_shape[1:3])
    if side < LEAST_SIDE:
        raise AlloykError(
            f"the noise control wants images of {LEAST_SIDE} pixels or more along each side, the "
            f"run's preprocess.image_size gives {side}"
        )
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    images = (keep_images(chunk, preprocessing).array[..., 0] for chunk in chunks)
    return np.concatenate([noise_features(chunk) for chunk in images])


def _wedge_curves(paths) -> np.ndarray:
    """Logarithms of the two numbers of each raw image."""

    def measure(path):
        return wedge_features(read_image(path).mean(axis=-1))

    with ThreadPool() as pool, np.errstate(invalid="ignore"):
        return np.log(np.array(pool.map(measure, paths)))
