"""Confidence intervals by resampling plates, because images of one plate are not independent.

Each metric gets its standard error from a bootstrap over plates (over images if plates are
unknown). The variance of one image divided by the squared error is the effective number of images.
The interval is Wilson's for that number, with Student's t instead of normal quantiles. Average
precision and AUC, which are not shares of images, have an interval symmetric on the logit scale,
the log loss one on the log scale. The percentile interval of the same bootstrap is too short with
few plates and few errors. `scripts/interval_coverage.py` measures the coverage of the intervals.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from alloyk.metrics.bootstrap import RESAMPLES, bootstrap, resampled_counts
from alloyk.metrics.jackknife import (
    RANK_METRICS,
    Evidence,
    evidence_by_class,
    evidence_of_share,
    mean_evidence,
)
from alloyk.runs.predictions import Predictions

CONFIDENCE = 0.95
# The bootstrap error is known to 1.6 %; further digits would be rounding noise.
DIGITS = 6
ROUNDING = 1e-12

IntervalOf = Callable[[float, np.ndarray, Evidence], tuple[float, float] | None]


def rounded(interval: tuple[float, float]) -> list[float]:
    """An interval with `DIGITS` significant digits, so that a small one keeps its ends apart.

    >>> rounded((1.2345678e-7, 0.12345678))
    [1.23457e-07, 0.123457]
    """
    return [float(f"{bound:.{DIGITS}g}") for bound in interval]


def clopper_pearson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact binomial interval (Clopper and Pearson, 1934) for `successes` out of `n`.

    >>> low, high = clopper_pearson(20, 20)
    >>> round(low, 4), high
    (0.8316, 1.0)
    """
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else beta.ppf(tail, successes, n - successes + 1)
    high = 1.0 if successes == n else beta.ppf(1 - tail, successes + 1, n - successes)
    return float(low), float(high)


def confidence_intervals(
    predictions: Predictions, metrics: dict[str, Any], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """95 % intervals for the metrics of `alloyk.metrics.classification_metrics`.

    Args:
        predictions: The predictions that `metrics` were computed from.
        metrics: Its result.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.

    Returns:
        Path of the metric (`accuracy`, `macro.f1`, `per_class.A.recall`) → `[low, high]`;
        and path → reason, for defined metrics that have no interval.
    """
    drawn = bootstrap(predictions, resamples=resamples, seed=seed)
    evidence = evidence_by_class(predictions)
    right = predictions.y_true == predictions.y_pred
    of_accuracy = evidence_of_share(right, predictions.groups)
    what = "plate" if predictions.has_plates else "image"
    found: dict[str, list[float]] = {}
    missing: dict[str, str] = {}

    def add(
        name: str,
        value: float | None,
        replicates: np.ndarray,
        evidence: Evidence | None,
        interval_of: IntervalOf = interval_of_share,
    ) -> None:
        if value is None or evidence is None:
            return
        interval = interval_of(value, replicates, evidence)
        if interval is None:
            if evidence.groups < 2:
                why = f"based on only one {what}"
            elif standard_error(value, replicates, evidence.groups) is None:
                why = f"every {what} gives the same value"
            else:
                why = f"too few {what}s"
            missing[f"confidence_intervals.{name}"] = why
        else:
            found[name] = rounded(interval)

    add("accuracy", metrics["accuracy"], drawn["accuracy"], of_accuracy)
    add("log_loss", metrics["log_loss"], drawn["log_loss"], of_accuracy, interval_of_loss)
    for name, by_class in evidence.items():
        over_classes = _mean_of_defined(drawn[name])
        interval_of = interval_of_rank if name in RANK_METRICS else interval_of_share
        defined = [one for one in by_class if one is not None]
        if defined:
            mean = mean_evidence(defined)
            of_classes = [metrics["per_class"][label][name] for label in predictions.classes]
            parts = [
                (value, one.groups)
                for value, one in zip(of_classes, by_class, strict=True)
                if one is not None and value is not None
            ]
            interval_of_mean = _interval_of_mean(interval_of, parts)
            if name == "recall":
                balanced = metrics["balanced_accuracy"]
                add("balanced_accuracy", balanced, over_classes, mean, interval_of_mean)
            add(f"macro.{name}", metrics["macro"][name], over_classes, mean, interval_of_mean)
        for k, label in enumerate(predictions.classes):
            value = metrics["per_class"][label][name]
            add(f"per_class.{label}.{name}", value, drawn[name][:, k], by_class[k], interval_of)
    return found, missing


def _interval_of_mean(interval_of: IntervalOf, parts: Sequence[tuple[float, int]]) -> IntervalOf:
    """The interval of the mean over classes, of which some may be exactly 0 or 1.

    Such a class does not vary between resamples, so that `interval_of` takes it as known. Its exact
    binomial interval over its groups is added here: squared distances to the bounds add up (MOVER:
    Zou and Donner, Statistics in Medicine 27, 2008).

    Args:
        interval_of: The interval from the classes that vary.
        parts: Value and number of groups of each class.
    """

    def interval(
        value: float, replicates: np.ndarray, evidence: Evidence
    ) -> tuple[float, float] | None:
        found = interval_of(value, replicates, evidence)
        if found is None or not ROUNDING < value < 1 - ROUNDING:
            return found
        below, above = value - found[0], found[1] - value
        for part, groups in parts:
            if not ROUNDING < part < 1 - ROUNDING and groups:
                low, high = clopper_pearson(groups if part > 0.5 else 0, groups)
                below = np.hypot(below, (part - low) / len(parts))
                above = np.hypot(above, (high - part) / len(parts))
        return max(value - below, 0.0), min(value + above, 1.0)

    return interval


def _mean_of_defined(drawn: np.ndarray) -> np.ndarray:
    """Mean over the classes defined in a resample, `(resamples,)`; NaN if none is."""
    present = np.isfinite(drawn)
    with np.errstate(invalid="ignore"):
        means: np.ndarray = np.where(present, drawn, 0).sum(axis=1) / present.sum(axis=1)
    return means


def interval_of_share(
    value: float, replicates: np.ndarray, evidence: Evidence
) -> tuple[float, float] | None:
    """95 % interval of a metric between 0 and 1, from its values in the resamples.

    Wilson's interval (1927) for the effective number of images: `value (1 - value)` over the
    squared standard error. The error is an estimate, so Student's t is used. The variance of
    independent images follows from the metric and costs no degrees of freedom; the part that plates
    add is as uncertain as the spread of their squared influences (Satterthwaite, 1946).

    A proportion of exactly 0 or 1 does not vary between resamples and gets the exact binomial
    interval over its groups.

    Args:
        value: The metric on the data.
        replicates: `(resamples,)`, NaN where it is undefined in a resample.
        evidence: The data behind the metric.

    Returns:
        `(low, high)`, or None if the groups give no estimate of the error.
    """
    return _exact_at_the_ends(value, replicates, evidence, wilson)


def wilson(value: float, error: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval for the number of images at which `value` has this standard error."""
    images, reach = value * (1 - value) / error**2, quantile**2
    middle = value + reach / (2 * images)
    half = np.sqrt(reach * (value * (1 - value) + reach / (4 * images)) / images)
    whole = 1 + reach / images
    return float((middle - half) / whole), float((middle + half) / whole)


def interval_of_rank(
    value: float, replicates: np.ndarray, evidence: Evidence
) -> tuple[float, float] | None:
    """95 % interval of an average precision or AUC, symmetric on the logit scale.

    Near 1 such a metric depends on a few misranked images, and its standard error is too small
    when the metric is too high. The logit scale, on which errors grow towards 1, corrects for that
    (Qin and Hotilovac, Statistical Methods in Medical Research 17, 2008, compare such intervals).

    Args and returns as for `interval_of_share`.
    """
    from scipy.special import expit, logit

    def on_the_logit_scale(value: float, error: float, quantile: float) -> tuple[float, float]:
        step = quantile * error / (value * (1 - value))
        return float(expit(logit(value) - step)), float(expit(logit(value) + step))

    return _exact_at_the_ends(value, replicates, evidence, on_the_logit_scale)


def _exact_at_the_ends(
    value: float,
    replicates: np.ndarray,
    evidence: Evidence,
    interval: Callable[[float, float, float], tuple[float, float]],
) -> tuple[float, float] | None:
    """Return `interval(value, error, quantile)`, or the exact binomial interval at 0 and 1."""
    from scipy.stats import t

    groups = evidence.groups
    if not ROUNDING < value < 1 - ROUNDING:
        return clopper_pearson(groups if value > 0.5 else 0, groups) if groups else None
    error = standard_error(value, replicates, groups)
    if error is None:
        return None
    return interval(value, error, t.ppf((1 + CONFIDENCE) / 2, degrees_of_freedom(evidence, error)))


def degrees_of_freedom(evidence: Evidence, error: float) -> float:
    """Degrees of freedom of a standard error, from 1 to the number of groups minus 1."""
    squares = evidence.influence**2
    most = evidence.groups - 1
    if not squares.sum():
        return most
    # Relative variance of the estimated variance, minus that of identical groups.
    noise = (squares**2).sum() / squares.sum() ** 2 - 1 / evidence.groups
    noise *= max(1 - evidence.binomial / error**2, 0)
    return float(np.clip(2 / max(noise, ROUNDING), 1, most))


def interval_of_loss(
    value: float, replicates: np.ndarray, evidence: Evidence
) -> tuple[float, float] | None:
    """95 % interval of a positive metric, symmetric on the log scale.

    Args and returns as for `interval_of_share`.
    """
    return log_interval(value, replicates, evidence.groups)


def log_interval(value: float, replicates: np.ndarray, n_groups: int) -> tuple[float, float] | None:
    """95 % interval of a positive number, symmetric on the log scale, with Student's t.

    Args:
        value: The number on the data.
        replicates: `(resamples,)`, NaN where it is undefined in a resample.
        n_groups: Number of groups that were resampled.

    Returns:
        `(low, high)`, or None if the groups give no estimate of the error, or one so large that
        the upper end has no number.
    """
    from scipy.stats import t

    error = standard_error(value, replicates, n_groups)
    if error is None or value <= 0:
        return None
    return on_the_log_scale(value, error, float(t.ppf((1 + CONFIDENCE) / 2, n_groups - 1)))


def on_the_log_scale(value: float, error: float, quantile: float) -> tuple[float, float] | None:
    """Interval of a positive number, symmetric on the log scale; None if it overflows."""
    with np.errstate(over="ignore"):
        factor = float(np.exp(quantile * error / value))
    return (value / factor, value * factor) if np.isfinite(value * factor) else None


def standard_error(value: float, replicates: np.ndarray, n_groups: int) -> float | None:
    """Standard error from the resamples; None if the groups give no estimate of it."""
    replicates = replicates[np.isfinite(replicates)]
    # Below this the resamples differ by rounding only.
    if n_groups < 2 or len(replicates) < 2 or replicates.std() <= ROUNDING * abs(value):
        return None
    # Resampling n groups shows (n - 1) / n of the variance.
    return float(replicates.std() * np.sqrt(n_groups / (n_groups - 1)))


def accuracy_interval(
    correct: np.ndarray, groups: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of the share of True in `correct`, by a bootstrap over `groups`.

    Args:
        correct: `(n,)` bool.
        groups: `(n,)`, equal for images of one plate.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling.
    """
    _, groups = np.unique(groups, return_inverse=True)
    both = np.stack([np.bincount(groups, correct), np.bincount(groups)], axis=1).astype(np.float64)
    drawn = np.concatenate(
        [counts @ both for counts in resampled_counts(len(both), resamples, seed)]
    )
    evidence = evidence_of_share(correct, groups)
    return interval_of_share(float(np.mean(correct)), drawn[:, 0] / drawn[:, 1], evidence)
