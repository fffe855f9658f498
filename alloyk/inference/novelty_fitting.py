"""Fit the detector of unlike images, `alloyk.inference.novelty`, to images of the training run."""

import math
from dataclasses import replace

import numpy as np

from alloyk.inference.novelty import FALSE_ALARMS, FAR, NoveltyDetector, log_curves, unit_length
from alloyk.inference.wedge_curve import NAMES as CURVE

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
    unit = unit_length(pooled)
    directions = np.zeros((0, 0))
    if width > BANK_DIRECTIONS:
        most = min(BANK_DIRECTIONS, len(unit))
        _, directions = _leading_eigenvectors(unit.T @ unit, most)  # right singular vectors
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

    found = log_curves(curves)
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
    if not len(mean):
        return mean, np.zeros((0, 0))
    centred = values - mean
    covariance = centred.T @ centred / len(values)
    variances, directions = _leading_eigenvectors(covariance, min(most or len(mean), len(mean)))
    # Noise of few images or of rounding must not become the measure of a direction.
    floor = max(VARIANCE_FLOOR * float(np.trace(covariance)) / len(mean), 1e-12)
    return mean, directions / np.sqrt(np.maximum(variances, 0) + floor)


def _leading_eigenvectors(matrix: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues `(count,)` of a symmetric matrix `(c, c)`, and their vectors.

    The vectors are the columns of a `(c, count)` matrix. In one thread, because OpenBLAS takes up
    to twenty times as long for a matrix of this kind if its threads wait for a busy core.
    """
    from scipy.linalg import eigh
    from threadpoolctl import threadpool_limits

    last = len(matrix) - 1
    with threadpool_limits(1, user_api="blas"):
        values, vectors = eigh(matrix, subset_by_index=(last - count + 1, last))
    return values, vectors


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
