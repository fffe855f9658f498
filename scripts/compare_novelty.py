"""Six distances that tell whether an image is unlike those of training, on one run.

    .venv/bin/python scripts/compare_novelty.py RUN [--images 600] [--write]

Of the network's pooled features: Mahalanobis (Lee et al., 2018), relative Mahalanobis (Ren et al.,
2021), both with a mean of each class, the Mahalanobis distance from the mean of all in the leading
directions, and the distance to the tenth neighbour of normalised features (Sun et al., 2022); the
Mahalanobis distance of the coarse image, the preprocessed image in 8 × 8 means; and the distance of
the wedge curve to the nearest of training, in units of the spread among neighbours. Each is
fitted to training images and gets its threshold from the first half of validation, for 1 % of false
alarms, which are counted on the second half and on the test images. What they should flag is made
from validation images by changes that are not in `alloyk stress`: patches shuffled, quadrants
swapped, two images mixed, a quarter occluded, rotated by 45°, a gamma of 3, averaged over 8 × 8
pixels; of a run on simulated plates also plates of 1.5, 3.5 and 7 mm, where training has others.
Prints the share flagged and the area under the ROC curve.

`--write` puts the chosen detector into the `model.keras` of a run whose version had none.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

FALSE_ALARMS = 0.01
CURVE_SIZE = 3
OTHER_PLATES_MM = (1.5, 3.5, 7.0)
DIRECTIONS = 64


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--write", action="store_true")
    return parser.parse_args()


def shuffled(image, rng, other):
    pieces = [part for row in np.split(image, 4) for part in np.split(row, 4, axis=1)]
    order = rng.permutation(len(pieces))
    rows = [np.concatenate([pieces[i] for i in order[at : at + 4]], axis=1) for at in (0, 4, 8, 12)]
    return np.concatenate(rows)


def swapped(image, rng, other):
    return np.roll(image, (image.shape[0] // 2, image.shape[1] // 2), (0, 1))


def mixed(image, rng, other):
    return (image + other[::-1]) / 2


def covered(image, rng, other):
    changed = image.copy()
    top, left = (int(rng.integers(0, side // 3)) for side in image.shape)
    changed[top : top + image.shape[0] // 2, left : left + image.shape[1] // 2] = image.mean()
    return changed


def turned(image, rng, other):
    from scipy.ndimage import rotate

    return rotate(image, 45, reshape=False, order=1, mode="nearest")


def gamma(image, rng, other):
    return image.max() * (image / image.max()) ** 3


def coarse(image, rng, other):
    height, width = (side // 8 for side in image.shape)
    return image.reshape(height, 8, width, 8).mean(axis=(1, 3)).repeat(8, 0).repeat(8, 1)


SURROGATES = {
    "patches shuffled": shuffled, "quadrants swapped": swapped, "two mixed": mixed,
    "a quarter occluded": covered, "rotated 45°": turned, "gamma 3": gamma,
    "8 × 8 averaged": coarse,
}  # fmt: skip


def squared_distances(features, labels) -> Callable:
    """Squared Mahalanobis distance from the nearest class mean, one covariance for all classes.

    The 64 largest principal directions have a variance of their own, the others share one.
    """
    features = features.astype(np.float64)
    means = np.stack([features[labels == label].mean(axis=0) for label in np.unique(labels)])
    within = features - means[np.searchsorted(np.unique(labels), labels)]
    variances, vectors = np.linalg.eigh(within.T @ within / len(within))
    kept, rest = slice(-DIRECTIONS, None), max(variances[:-DIRECTIONS].mean(), 1e-12)

    def distance(new):
        found = []
        for mean in means:
            difference = new - mean
            along = difference @ vectors[:, kept]
            outside = (difference**2).sum(axis=1) - (along**2).sum(axis=1)
            found.append((along**2 / variances[kept]).sum(axis=1) + outside / rest)
        return np.min(found, axis=0)

    return distance


def mahalanobis(features, labels) -> Callable:
    distance = squared_distances(pooled(features), labels)
    return lambda new: distance(pooled(new))


def relative_mahalanobis(features, labels) -> Callable:
    own = squared_distances(pooled(features), labels)
    whole = squared_distances(pooled(features), np.zeros(len(features), int))
    return lambda new: own(pooled(new)) - whole(pooled(new))


def pooled(features):
    from alloyk.models.pooled import COARSE_SIDE

    return features[:, : -(COARSE_SIDE**2 + CURVE_SIZE)]


def detector(features):
    from alloyk.inference.novelty_fitting import fit_novelty
    from alloyk.models.pooled import COARSE_SIDE

    network, curves = features[:, :-CURVE_SIZE], features[:, -CURVE_SIZE:]
    return fit_novelty(network, np.zeros((1, 6)), COARSE_SIDE**2, curves)


def neighbour(features, labels) -> Callable:
    return detector(features).neighbour_distances


def leading_directions(features, labels) -> Callable:
    return detector(features).feature_distances


def coarse_image(features, labels) -> Callable:
    known = detector(features)
    return lambda new: known.picture_distances(new[:, :-CURVE_SIZE])


def wedge_curve(features, labels) -> Callable:
    known = detector(features)
    return lambda new: known.curve_distances(new[:, -CURVE_SIZE:])


DISTANCES = {
    "Mahalanobis": mahalanobis,
    "relative Mahalanobis": relative_mahalanobis,
    "leading directions": leading_directions,
    "tenth neighbour": neighbour,
    "coarse image": coarse_image,
    "wedge curve": wedge_curve,
}


class Features:
    """Pooled features, coarse image and wedge curve of raw images, by a run's `model.keras`."""

    def __init__(self, run: Path):
        import keras

        import alloyk.preprocessing  # noqa: F401 - registers the layers
        from alloyk.inference.novelty import FEATURES
        from alloyk.models.pooled import with_features

        model = keras.saving.load_model(run / "model.keras", compile=False)
        self.model, self.name = with_features(model, FEATURES), FEATURES

    def __call__(self, images):
        from alloyk.inference.wedge_curve import wedge_curve

        batch = np.stack(images).astype(np.float32)[..., None]
        found = self.model.predict(batch, batch_size=64, verbose=0)[self.name]
        return np.concatenate([found, [wedge_curve(image) for image in images]], axis=1)


def gray_images(dataset, split, numbers):
    from alloyk.imaging import read_image
    from alloyk.imaging.gray import to_gray

    paths = dataset.paths(split)
    return [to_gray(read_image(paths[n]))[..., 0].astype(np.float64) for n in numbers]


def other_plates(root: Path, count: int) -> dict[str, list]:
    """Images of plates of other thicknesses, if the data set in `root` was simulated."""
    from alloyk.robustness.simulated import SETUPS, setups_of, simulated_images

    if not setups_of(root):
        return {}
    return {
        f"plates of {mm:g} mm": [
            image[..., 0].astype(np.float64)
            for image in simulated_images(root, SETUPS["other thickness"], mm, count, seed=1)[0]
        ]
        for mm in OTHER_PLATES_MM
    }


def main() -> None:
    from sklearn.metrics import roc_auc_score

    from alloyk.inference.novelty_fitting import evenly_spaced
    from alloyk.runs.run_data import open_run_data
    from alloyk.runtime.tensorflow import load_tensorflow

    arguments = parse_arguments()
    load_tensorflow()
    dataset = open_run_data(arguments.run, split=None)
    features = Features(arguments.run)
    chosen = evenly_spaced(len(dataset.split("train")))
    train = features(gray_images(dataset, "train", chosen))
    labels = dataset.labels("train")[chosen]
    numbers = evenly_spaced(len(dataset.split("val")))
    val_images = gray_images(dataset, "val", numbers)
    val = features(val_images)
    test_numbers = evenly_spaced(len(dataset.split("test")))
    test = features(gray_images(dataset, "test", test_numbers))
    rng = np.random.default_rng(0)
    few = val_images[1 :: max(1, len(val_images) // arguments.images)][: arguments.images]
    strange = {
        name: features([change(image, rng, few[-1 - n]) for n, image in enumerate(few)])
        for name, change in SURROGATES.items()
    }
    others = other_plates(dataset.root, arguments.images)
    strange |= {name: features(images) for name, images in others.items()}
    print("| unlike | " + " | ".join(f"{name}, % (AUC)" for name in DISTANCES) + " |")
    print("|---|" + "---|" * len(DISTANCES))
    found = {}
    for name, fit in DISTANCES.items():
        distance = fit(train, labels)
        limit = np.quantile(distance(val[::2]), 1 - FALSE_ALARMS, method="higher")
        clean = distance(test)
        column = [f"{100 * (distance(val[1::2]) > limit).mean():.1f}"]
        column += [f"{100 * (clean > limit).mean():.1f}"]
        for images in strange.values():
            far = distance(images)
            truth = np.r_[np.zeros(len(clean)), np.ones(len(far))]
            area = roc_auc_score(truth, np.minimum(np.r_[clean, far], 1e9))
            column.append(f"{100 * (far > limit).mean():.1f} ({area:.3f})")
        found[name] = column
    for n, row in enumerate(["validation, second half", "test images", *strange]):
        print(f"| {row} | " + " | ".join(found[name][n] for name in DISTANCES) + " |")
    if arguments.write:
        write(arguments.run, dataset, train, val, chosen, numbers)


def write(run, dataset, train, val, chosen, numbers) -> None:
    """Put a detector into the run's `model.keras`, fitted as training fits it."""
    from alloyk.inference.measuring import read_curves, read_measurements, read_statistics
    from alloyk.inference.novelty_file import write_detector
    from alloyk.inference.novelty_fitting import (
        MAX_CURVES,
        evenly_spaced,
        fit_novelty,
        with_threshold,
    )
    from alloyk.models.pooled import COARSE_SIDE

    paths, val_paths = dataset.paths("train"), dataset.paths("val")
    raw = read_statistics([paths[n] for n in chosen])
    curves = read_curves([paths[n] for n in evenly_spaced(len(paths), MAX_CURVES)])
    train, val = train[:, :-CURVE_SIZE], val[:, :-CURVE_SIZE]
    fitted = fit_novelty(train, raw, COARSE_SIDE**2, curves)
    measured = read_measurements([val_paths[n] for n in numbers])
    write_detector(run / "model.keras", with_threshold(fitted, fitted.distances(val), *measured))


if __name__ == "__main__":
    main()
