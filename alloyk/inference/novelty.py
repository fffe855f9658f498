"""Whether an image is unlike all training images: by its raw counts, picture and features.

Four distances. That of the network's pooled features, each scaled to length 1, from the tenth
nearest training image (Sun et al., 2022, https://arxiv.org/abs/2204.06507) finds images that the
network sees differently. That of the features as they are from the mean of training (Mahalanobis,
in the directions in which they vary most) finds what is stronger than anything in training, such as
a thicker plate. That of a coarse image of the preprocessed image from the mean of training
(Mahalanobis) finds scenes that the network has learned to ignore. That of the raw image's wedge
curve from the nearest training image finds plates between those of training, of which the network
keeps only what separates its classes; it exists where training images have a wedge and a plate's
edge. Their thresholds are quantiles over the validation images. Compared by
`scripts/compare_novelty.py`.

NumPy only: a `.tflite` file needs nothing else.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from alloyk.inference.raw_statistics import MARGINS
from alloyk.inference.wedge_curve import NAMES as CURVE

FEATURES = "features"
"""Name of the model output that holds the pooled features, then the coarse image."""

FALSE_ALARMS = 0.01
"""Target false-alarm rate on images like the training images."""

NEIGHBOUR = 10
"""k of the k-th nearest neighbour."""

VARIANCE_FLOOR = 1e-3
"""Minimum variance in any direction that a Mahalanobis distance uses, over the mean variance."""

MAX_DIRECTIONS = 32
"""Principal directions of the pooled features that the Mahalanobis distance uses."""

BANK_DIRECTIONS = 64
"""Directions in which the features of training images are kept; what is outside is less than 1 % of
their length squared."""

MAX_IMAGES = 1000
"""Training images, evenly spaced, that are kept."""

MAX_CURVES = 4096
"""Training images, evenly spaced, whose wedge curves are kept: three numbers each."""

MIN_MEASURED = 0.9
"""Share of the training images whose wedge curve must be measurable for curves to be judged."""

LOCAL = 15
"""Neighbours within which the spread of wedge curves is measured."""

LOCAL_ROUNDS = 4
"""How often neighbours are found anew in units of that spread."""

BLOCK = 4096
"""Images that are compared with all kept ones at once."""

FAR = 100.0
"""Score of an image whose wedge curve cannot be measured though those of training could, and the
largest that a wedge curve gives."""

CURVES_AT_ONCE = 64
"""Images whose wedge curves are compared with all kept ones at once."""


@dataclass(frozen=True, eq=False)
class NoveltyDetector:
    """Scores images by how unlike those of training they are; 1 or more is *unlike*.

    Attributes:
        bank: `(m, k)` float16, pooled features of training images, each scaled to length 1, in
            `bank_directions`.
        threshold: Distance of the features from the neighbour that scores 1.
        lowest: `(7,)` smallest of each of `raw_statistics.NAMES` over training images; of images
            of c channels `(7 · c,)`, channel after channel.
        highest: The same, largest.
        false_alarms: Share of the validation images that score 1 or more.
        picture_mean: `(c,)` mean coarse image of training; empty in files of earlier versions.
        picture_whitening: `(c, c)` float32, makes the variance of coarse images 1 in all
            directions.
        picture_threshold: Distance of the coarse image that scores 1.
        feature_mean: `(d,)` mean of the pooled features of training; empty in files of earlier
            versions.
        feature_whitening: `(d, k)` float32, makes the variance of the features 1 in each of their
            leading directions.
        feature_threshold: Distance of the features from their mean that scores 1.
        bank_directions: `(d, k)` float16, orthonormal; empty if the bank has all d, as in files of
            earlier versions.
        curve_bank: `(k, 3)` float32, whitened logarithms of the wedge curves of training images;
            empty in files of earlier versions and where there is no wedge.
        curve_mean: `(3,)` their mean before whitening.
        curve_whitening: `(3, 3)` float32, makes the variance among neighbours 1 in all directions.
        curve_threshold: Distance of the wedge curve from the nearest one that scores 1.
        missing_curve_score: Score of an image whose wedge curve cannot be measured: `FAR`, or 0
            where that happens to images like those of training.
    """

    bank: np.ndarray
    threshold: float
    lowest: np.ndarray
    highest: np.ndarray
    false_alarms: float = math.nan
    picture_mean: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    picture_whitening: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    picture_threshold: float = 1.0
    feature_mean: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    feature_whitening: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    feature_threshold: float = 1.0
    bank_directions: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float16))
    curve_bank: np.ndarray = field(default_factory=lambda: np.zeros((0, len(CURVE)), np.float32))
    curve_mean: np.ndarray = field(default_factory=lambda: np.zeros(len(CURVE), np.float32))
    curve_whitening: np.ndarray = field(
        default_factory=lambda: np.eye(len(CURVE), dtype=np.float32)
    )
    curve_threshold: float = 1.0
    missing_curve_score: float = FAR

    def neighbour_distances(self, features: np.ndarray) -> np.ndarray:
        """Return the distance `(n,)`, 0 to 2, of features `(n, d + c)` from training images.

        With the bank in k directions, features and training images count as at right angles outside
        of them.
        """
        pooled, bank = features[:, : self.width], self.bank.astype(np.float32).T
        directions = self.bank_directions.astype(np.float32)
        place = min(NEIGHBOUR, len(self.bank)) - 1
        nearest = np.empty(len(features))
        for start in range(0, len(features), BLOCK):
            block = slice(start, start + BLOCK)
            unit = _normalised(pooled[block])
            products = (unit @ directions if directions.size else unit) @ bank
            nearest[block] = -np.partition(-products, place, axis=1)[:, place]
        return np.asarray(np.sqrt(np.maximum(2 - 2 * nearest, 0)))

    @property
    def width(self) -> int:
        """Number d of pooled features."""
        return len(self.bank_directions) or int(self.bank.shape[1])

    def feature_distances(self, features: np.ndarray) -> np.ndarray:
        """Return the Mahalanobis distance `(n,)` of the pooled features in `(n, d + c)`."""
        pooled = features[:, : len(self.feature_mean)]
        return _lengths(pooled, self.feature_mean, self.feature_whitening)

    def picture_distances(self, features: np.ndarray) -> np.ndarray:
        """Return the Mahalanobis distance `(n,)` of the coarse images in `(n, d + c)`."""
        pictures = features[:, self.width : self.width + len(self.picture_mean)]
        return _lengths(pictures, self.picture_mean, self.picture_whitening)

    @property
    def judges_curves(self) -> bool:
        """Whether the wedge curves of images are compared with those of training."""
        return len(self.curve_bank) > 0

    def curve_distances(self, curves: np.ndarray) -> np.ndarray:
        """Return the distance `(n,)` of wedge curves `(n, 3)` from the nearest of training.

        Infinite where a curve could not be measured; 0 if the detector does not judge curves.
        """
        if not self.judges_curves:
            return np.zeros(len(curves))
        whitened = (_logarithms(curves) - self.curve_mean) @ self.curve_whitening
        bank = self.curve_bank.astype(np.float64)
        found = np.full(len(curves), np.inf)
        measured = np.flatnonzero(np.isfinite(whitened).all(axis=1))
        for start in range(0, len(measured), CURVES_AT_ONCE):
            block = measured[start : start + CURVES_AT_ONCE]
            difference = whitened[block, None] - bank
            found[block] = np.sqrt((difference**2).sum(axis=2).min(axis=1))
        return found

    def scores(
        self, features: np.ndarray, statistics: np.ndarray, curves: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the score `(n,)` of images.

        Args:
            features: `(n, d + c)` pooled features and coarse images.
            statistics: `(n, 7)` of the raw images.
            curves: `(n, 3)` wedge curves of the raw images; None leaves them out.
        """
        return self.scores_at(self.distances(features), statistics, curves)

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return the three distances of images, from features `(n, d + c)`.

        Returns:
            `(n, 3)`: from the neighbour, of the features, of the coarse image.
        """
        parts = (self.neighbour_distances, self.feature_distances, self.picture_distances)
        return np.stack([part(features) for part in parts], axis=1)

    def scores_at(
        self, distances: np.ndarray, statistics: np.ndarray, curves: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the score `(n,)` of images with these distances `(n, 3)`; see `scores`."""
        limits = (self.threshold, self.feature_threshold, self.picture_threshold)
        scores = np.maximum(
            (distances / limits).max(axis=1), self.raw_scores(statistics).max(axis=1)
        )
        if curves is None:
            return np.asarray(scores)
        far = self.curve_distances(curves) / self.curve_threshold
        by_curve = np.where(np.isfinite(far), np.minimum(far, FAR), self.missing_curve_score)
        return np.asarray(np.maximum(scores, by_curve))

    def raw_scores(self, statistics: np.ndarray) -> np.ndarray:
        """Return the distance of each statistic `(n, 7)` from the middle of the training range.

        1 is the limit.
        """
        middle, half = (self.highest + self.lowest) / 2, (self.highest - self.lowest) / 2
        margins = np.tile(MARGINS, len(half) // len(MARGINS))
        return np.asarray(np.abs(statistics - middle) / (half + margins))


def _lengths(values: np.ndarray, mean: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """Lengths `(n,)` of values `(n, d)`, centred and whitened."""
    whitened = (values.astype(np.float64) - mean) @ whitening
    return np.asarray(np.sqrt((whitened**2).sum(axis=1)))


def _normalised(features: np.ndarray) -> np.ndarray:
    """Features `(n, d)`, each scaled to length 1."""
    length = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, 1e-12), np.float32)


def _logarithms(curves: np.ndarray) -> np.ndarray:
    """Logarithms of wedge curves `(n, 3)`, which are positive but for odd images."""
    return np.log(np.maximum(curves.astype(np.float64), 1e-6))


def fit_novelty(
    features: np.ndarray,
    statistics: np.ndarray,
    picture_size: int = 0,
    curves: np.ndarray | None = None,
) -> NoveltyDetector:
    """Make a detector from training images, with placeholder thresholds of 1.

    Args:
        features: `(m, d + c)` pooled features and coarse images.
        statistics: `(m, 7)` raw statistics.
        picture_size: c, numbers in a coarse image.
        curves: `(k, 3)` wedge curves of training images, which may be more; None if they are not
            to be judged.
    """
    width = features.shape[1] - picture_size
    pooled, pictures = np.split(features.astype(np.float64), [width], axis=1)
    mean, whitening = _whitening(pictures)
    feature_mean, feature_whitening = _whitening(pooled, MAX_DIRECTIONS)
    unit = _normalised(pooled)
    directions = np.zeros((0, 0))
    if width > BANK_DIRECTIONS:
        directions = np.linalg.svd(unit, full_matrices=False)[2][:BANK_DIRECTIONS].T
    detector = NoveltyDetector(
        bank=(unit @ directions if directions.size else unit).astype(np.float16),
        bank_directions=directions.astype(np.float16),
        threshold=1.0,
        lowest=statistics.min(axis=0),
        highest=statistics.max(axis=0),
        picture_mean=mean.astype(np.float32),
        picture_whitening=whitening.astype(np.float32),
        feature_mean=feature_mean.astype(np.float32),
        feature_whitening=feature_whitening.astype(np.float32),
    )
    return detector if curves is None else _with_curves(detector, curves)


def _with_curves(detector: NoveltyDetector, curves: np.ndarray) -> NoveltyDetector:
    """Add the wedge curves `(k, 3)` of training images, if enough of them could be measured.

    Along a curve of plates of one kind the images differ by the tolerance of the plates; the unit
    of distance is the spread among neighbours, as in local Mahalanobis distances.
    """
    from scipy.spatial import KDTree

    found = _logarithms(curves)
    found = found[np.isfinite(found).all(axis=1)]
    if len(found) < max(MIN_MEASURED * len(curves), LOCAL + 1):
        return detector
    mean = found.mean(axis=0)
    whitening = np.diag(1 / np.maximum(found.std(axis=0), 1e-9))
    for _ in range(LOCAL_ROUNDS):
        whitened = (found - mean) @ whitening
        _, places = KDTree(whitened).query(whitened, LOCAL + 1)
        near = found[places[:, 1:]]
        spread = (near - near.mean(axis=1, keepdims=True)).reshape(-1, len(CURVE))
        variances, directions = np.linalg.eigh(spread.T @ spread / len(spread))
        whitening = directions / np.sqrt(variances + 1e-4 * variances.mean() + 1e-18)
    return replace(
        detector,
        curve_bank=((found - mean) @ whitening).astype(np.float32),
        curve_mean=mean.astype(np.float32),
        curve_whitening=whitening.astype(np.float32),
    )


def _whitening(values: np.ndarray, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(c,)` of values `(m, c)`, and the matrix that whitens them.

    The matrix is `(c, k)`: k is c, or at most `most`, the directions of the largest variances.
    """
    mean = values.mean(axis=0)
    centred = values - mean
    variances, directions = np.linalg.eigh(centred.T @ centred / len(values))
    if not len(variances):
        return mean, directions
    # Noise of few images or of rounding must not become the measure of a direction.
    floor = max(VARIANCE_FLOOR * float(variances.mean()), 1e-12)
    first = max(len(variances) - most, 0) if most is not None else 0
    scale = np.sqrt(np.maximum(variances[first:], 0) + floor)
    return mean, directions[:, first:] / scale


def with_threshold(
    detector: NoveltyDetector,
    distances: np.ndarray,
    statistics: np.ndarray,
    curves: np.ndarray | None = None,
    false_alarms: float = FALSE_ALARMS,
) -> NoveltyDetector:
    """Set the thresholds of the distances for a false-alarm rate.

    Wedge curves, where they are judged, get half of it, because nothing else finds plates between
    those of training; the distances share the rest equally. With two distances alone, the
    threshold of each is the ⌈(n + 1)(1 − rate / 2)⌉-th smallest of the n distances, which bounds
    the rate of both together on average over validation splits; the largest one if there are too
    few images for that. The raw statistics add false alarms of their own: `false_alarms` of the
    result has them too. An image without a wedge curve scores 0, not `FAR`, if more validation
    images than their share have none.

    Args:
        detector: From `fit_novelty`.
        distances: `(n, 3)` of validation images, see `NoveltyDetector.distances`.
        statistics: `(n, 7)` of the same.
        curves: `(n, 3)` wedge curves of the same; None leaves them out.
        false_alarms: The rate, in (0, 1).
    """
    by_curve = np.zeros(0)
    if curves is not None and detector.judges_curves:
        by_curve = detector.curve_distances(curves)
    measured = by_curve[np.isfinite(by_curve)]
    judged = len(measured) > 0
    limit, missing = 1.0, FAR
    if judged:
        limit = _upper_quantile(by_curve, false_alarms / 2)
        if not math.isfinite(limit):
            limit, missing = _upper_quantile(measured, false_alarms / 2), 0.0
    share = false_alarms / (3 if len(detector.picture_mean) else 2) / (2 if judged else 1)
    neighbour, feature, picture = (_upper_quantile(one, share) for one in distances.T)
    chosen = replace(
        detector,
        threshold=neighbour,
        feature_threshold=feature,
        picture_threshold=picture,
        curve_threshold=limit,
        missing_curve_score=missing,
        curve_bank=detector.curve_bank if judged else detector.curve_bank[:0],
    )
    found = float((chosen.scores_at(distances, statistics, curves) >= 1).mean())
    return replace(chosen, false_alarms=found)


def _upper_quantile(distances: np.ndarray, share: float) -> float:
    """A distance that at most this share of new images exceeds on average."""
    place = min(math.ceil((len(distances) + 1) * (1 - share)), len(distances))
    # The next number, because a score of exactly 1 is unlike.
    limit = np.nextafter(np.float32(np.sort(distances)[place - 1]), np.float32(np.inf))
    return max(float(limit), 1e-12)


def evenly_spaced(count: int, most: int = MAX_IMAGES) -> np.ndarray:
    """Numbers of at most `most` of `count` images, evenly spaced.

    >>> evenly_spaced(10, 4)
    array([0, 3, 6, 9])
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
