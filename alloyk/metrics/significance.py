"""Tests between classifiers on the same images."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from alloyk.metrics.bootstrap import RESAMPLES, resampled_counts
from alloyk.metrics.bounds import bound_without_error
from alloyk.metrics.intervals import (
    CONFIDENCE,
    clopper_pearson,
    degrees_of_freedom,
    standard_error,
)
from alloyk.metrics.jackknife import Evidence


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> dict[str, Any]:
    """McNemar's exact test of two classifiers on the same images (McNemar, 1947).

    It assumes independent images; use `accuracy_difference` where plates have several images.

    Args:
        first_right: `(n,)` bool, whether the first classifier is right.
        second_right: The same of the second.

    Returns:
        `only_first_right`, `only_second_right`, and the two-sided `p`.

    >>> mcnemar(np.array([1, 1, 1, 1, 1, 0]) > 0, np.array([1, 0, 0, 0, 0, 0]) > 0)
    {'only_first_right': 4, 'only_second_right': 0, 'p': 0.125}
    """
    from scipy.stats import binomtest

    first = int((first_right & ~second_right).sum())
    second = int((second_right & ~first_right).sum())
    p = binomtest(first, first + second).pvalue if first + second else 1.0
    return {"only_first_right": first, "only_second_right": second, "p": float(p)}


def accuracy_difference(
    first_right: np.ndarray,
    second_right: np.ndarray,
    groups: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy of the second minus that of the first, by a paired bootstrap over plates.

    Both classifiers are evaluated on the same resamples, which give the standard error and from it
    the effective number of images, as in `alloyk.metrics.intervals`. Interval and test are the
    score interval and score test of a paired difference for that number (`score_bound`), with
    Student's t instead of normal quantiles.

    Identical predictions do not prove equal accuracy. The difference is at most the share of plates
    on which the two differ; the interval is the exact binomial bound of that share, 0 found.

    Args:
        first_right: `(n,)` bool, whether the first classifier is right.
        second_right: The same of the second.
        groups: `(n,)` int from 0, equal for images of one plate.
        resamples: Bootstrap resamples.
        seed: Seed of the resampling.

    Returns:
        `difference`, its 95 % `interval` and the two-sided `p`; the last two are None
        if the plates give no estimate of the error.
    """
    from scipy.stats import t

    gain, n_groups = _gain(first_right, second_right), int(groups.max()) + 1
    difference = float(gain.mean())
    if not gain.any():
        most = clopper_pearson(0, n_groups)[1]
        return {"difference": 0.0, "interval": [-most, most], "p": 1.0}
    counts = _effective_counts(gain, groups, resamples, seed)
    if counts is None:
        return {"difference": difference, "interval": None, "p": None}
    gains, losses, images, freedom = counts
    quantile = float(t.ppf((1 + CONFIDENCE) / 2, freedom))
    score = (gains - losses) / np.sqrt(gains + losses)
    return {
        "difference": difference,
        "interval": [
            score_bound(gains, losses, images, quantile),
            -score_bound(losses, gains, images, quantile),
        ],
        "p": float(2 * t.sf(abs(score), freedom)),
    }


def least_difference(
    first_right: np.ndarray,
    second_right: np.ndarray,
    groups: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> float | None:
    """One-sided 95 % lower bound of the accuracy of the second minus that of the first.

    The second is shown to be not inferior by a margin if the bound is above minus the margin, which
    is one half of the test of two one-sided hypotheses (Schuirmann, 1987). Resampling and score
    bound as in `accuracy_difference`. The bound is never nearer to the difference than that of
    identical predictions is to 0, so that a classifier cannot gain by differing.

    Returns:
        The bound, or None if the plates give no estimate of the error.

    >>> same = np.ones(599, bool)
    >>> round(least_difference(same, same, np.arange(599)), 5)
    -0.00499
    """
    from scipy.stats import t

    gain, n_groups = _gain(first_right, second_right), int(groups.max()) + 1
    identical = -bound_without_error(n_groups)
    if not gain.any():
        return identical
    counts = _effective_counts(gain, groups, resamples, seed)
    if counts is None:
        return None
    gains, losses, images, freedom = counts
    bound = score_bound(gains, losses, images, float(t.ppf(CONFIDENCE, freedom)))
    return max(min(bound, float(gain.mean()) + identical), -1.0)


def score_bound(gains: float, losses: float, images: float, quantile: float) -> float:
    """Lower bound of a paired difference of two shares by Tango's score (1998).

    The difference at which the score test is just significant. The symmetric interval of the
    estimate and its error is too short where few images differ, and most of these in one direction.
    [Tango, Statistics in Medicine 17](https://pubmed.ncbi.nlm.nih.gov/9595618/).

    Args:
        gains: Images that only the second classifies correctly; need not be whole.
        losses: Images that only the first does; one of the two is above 0.
        images: All images.
        quantile: That of the bound's confidence, above 0.

    >>> round(score_bound(12, 2, 100, 1.96), 4)  # 95 %, two-sided
    0.031
    """
    from scipy.optimize import brentq

    def excess(difference: float) -> float:
        # The share of images with a loss that is most likely at this difference.
        linear = (2 * images - gains + losses) * difference - gains - losses
        root = np.sqrt(max(linear**2 + 8 * images * losses * difference * (1 - difference), 0))
        loss = (root - linear) / (4 * images)
        variance = images * (2 * loss + difference * (1 - difference))
        return float(gains - losses - images * difference - quantile * np.sqrt(max(variance, 0)))

    return float(brentq(excess, -1, (gains - losses) / images))


def _gain(first_right: np.ndarray, second_right: np.ndarray) -> np.ndarray:
    """`(n,)`: 1 where only the second is right, -1 where only the first is."""
    return np.asarray(second_right.astype(np.float64) - first_right)


def _effective_counts(
    gain: np.ndarray, groups: np.ndarray, resamples: int, seed: int
) -> tuple[float, float, float, float] | None:
    """Gains, losses and images of as many independent images as show the same error of the mean.

    Returns:
        The three, not more than counted, and the degrees of freedom of the error; None if the
        plates give no estimate of it.
    """
    both = np.stack([np.bincount(groups, gain), np.bincount(groups)], axis=1).astype(np.float64)
    drawn = np.concatenate(
        [counts @ both for counts in resampled_counts(len(both), resamples, seed)]
    )
    found = error_and_freedom(gain, groups, drawn[:, 0] / drawn[:, 1])
    if found is None:
        return None
    error, freedom = found
    images = min(float(gain.var()) / error**2, float(len(gain)))
    gains, losses = (float((sign * gain > 0).mean()) * images for sign in (1, -1))
    return gains, losses, images, freedom


def error_and_freedom(
    gain: np.ndarray, groups: np.ndarray, replicates: np.ndarray
) -> tuple[float, float] | None:
    """Standard error of a mean gain over plates, and its degrees of freedom.

    Args:
        gain: `(n,)`, the gain on each image.
        groups: `(n,)` int from 0, equal for images of one plate.
        replicates: `(resamples,)`, the mean gain in resamples of plates.

    Returns:
        None if the plates give no estimate of the error.
    """
    n_groups = int(groups.max()) + 1
    error = standard_error(1.0, replicates, n_groups)
    if error is None:
        return None
    influence = np.bincount(groups, gain - gain.mean()) / len(gain)
    evidence = Evidence(influence, n_groups, float(gain.var() / len(gain)))
    return error, degrees_of_freedom(evidence, error)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p values for several tests (Holm, 1979).

    A test without a p value stays without one and is not counted.

    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, i) in enumerate(known):
        least = max(least, min(p * (len(known) - rank), 1.0))
        corrected[i] = least
    return corrected


def welch(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """Welch's t-test of two sets of values, each from training runs with several seeds.

    Returns:
        `difference` of the means, second minus first, its 95 % `interval` and the two-sided
        `p`; the last two are None if a set has only one value or nothing varies.
    """
    from scipy.stats import ttest_ind

    difference = float(np.mean(second) - np.mean(first))
    few = min(len(first), len(second)) < 2
    if few or not (np.ptp(first) or np.ptp(second)):
        return {"difference": difference, "interval": None, "p": None}
    with warnings.catch_warnings():
        # SciPy warns where the values of one set are equal; the result is right.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = ttest_ind(second, first, equal_var=False)
    interval = found.confidence_interval(CONFIDENCE)
    return {
        "difference": difference,
        "interval": [float(interval.low), float(interval.high)],
        "p": float(found.pvalue),
    }
