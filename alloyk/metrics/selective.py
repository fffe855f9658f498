"""Selective classification: accuracy when the classifier may abstain on uncertain images."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import numpy as np

from alloyk.metrics.bootstrap import RESAMPLES
from alloyk.metrics.bounds import upper_bound
from alloyk.metrics.intervals import CONFIDENCE, accuracy_interval
from alloyk.runs.metrics import Unlike
from alloyk.runs.predictions import Predictions

CONFIDENT = 0.9
"""Probability from which an answer counts as confident."""

ERROR_RATES = (0.05, 0.02, 0.01)
# Maximum number of thresholds to evaluate, because each needs its own bound.
LEVELS = 200


@dataclass(frozen=True, eq=False)
class Coverage:
    """Accuracy over coverage; one entry per confidence threshold, descending.

    Attributes:
        threshold: `(m,)`: images of at least this confidence are classified.
        coverage: `(m,)`: their share of all images; the last is 1.
        groups: `(m,)`: number of their plates; of the images if plates are unknown.
        accuracy: `(m,)`: their accuracy.
        error_bound: `(m,)`: one-sided 95 % upper bound of their error rate, over plates.
    """

    threshold: np.ndarray
    coverage: np.ndarray
    groups: np.ndarray
    accuracy: np.ndarray
    error_bound: np.ndarray


def accuracy_over_coverage(predictions: Predictions) -> Coverage:
    """Accuracy of the images above each confidence threshold.

    The confidence is the probability of the class in `predicted`; images of equal confidence
    are kept together. If there are more than 200 thresholds, 200 evenly spaced ones are used.
    """
    order = np.argsort(-predictions.confidence, kind="stable")
    confidence, groups = predictions.confidence[order], predictions.groups[order]
    wrong = (predictions.y_true != predictions.y_pred)[order]
    last = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True))
    if len(last) > LEVELS:
        last = last[np.linspace(0, len(last) - 1, LEVELS).round().astype(int)]
    decided = last + 1
    return Coverage(
        threshold=confidence[last],
        coverage=decided / len(order),
        groups=np.searchsorted(np.sort(np.unique(groups, return_index=True)[1]), decided),
        accuracy=1 - np.cumsum(wrong)[last] / decided,
        error_bound=np.array([upper_bound(wrong[:n], groups[:n]) for n in decided]),
    )


def groups_needed(error_rate: float) -> int:
    """Number of plates, none with an error, that show this error rate with 95 % confidence.

    >>> [groups_needed(rate) for rate in ERROR_RATES]
    [59, 149, 299]
    """
    return int(np.ceil(np.log(1 - CONFIDENCE) / np.log(1 - error_rate)))


def threshold_text(threshold: float) -> str:
    """A threshold rounded down to four decimals, or close to 1 to as many as tell it from 1.

    >>> [threshold_text(one) for one in (0.83127, 0.9999, 0.99998809, 1.0)]
    ['0.8312', '0.9999', '0.999988', '1']
    """
    exact = Decimal(repr(float(threshold)))
    decimals = max(4, 1 - (1 - exact).adjusted())
    return f"{exact.quantize(Decimal(1).scaleb(-decimals), ROUND_FLOOR).normalize()}"


def abstaining(
    predictions: Predictions, threshold: float, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Evaluate predictions when the classifier abstains below `threshold`, and where `flagged`.

    Returns:
        `coverage`, `groups` with at least one classified image, `error_rate` of the
        classified images with its 95 % `interval` over plates; the last two are None if no image
        is classified or there is no interval.
    """
    decided = (predictions.confidence >= threshold) & ~predictions.flagged
    right = (predictions.y_true == predictions.y_pred)[decided]
    groups = predictions.groups[decided]
    interval = (
        accuracy_interval(right, groups, resamples=resamples, seed=seed) if len(right) else None
    )
    return {
        "coverage": float(decided.mean()),
        "groups": len(np.unique(groups)),
        "error_rate": float(1 - right.mean()) if len(right) else None,
        "interval": [1 - interval[1], 1 - interval[0]] if interval else None,
    }


def abstention(
    predictions: Predictions,
    validation: Predictions | None = None,
    error_rates: Sequence[float] = ERROR_RATES,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Choose a threshold for each target error rate and evaluate it on `predictions`.

    Thresholds are tested downwards until the 95 % upper bound of the error rate no longer meets the
    target, and the last that met it is taken. The first is the highest that has enough plates to
    meet the target without an error. Because the order is fixed in advance, the confidence holds
    for the threshold that is taken, however many were tested (fixed sequence,
    [Angelopoulos et al., 2021](https://arxiv.org/abs/2110.01052)); for the lowest of all that meet
    the target it does not.

    The threshold is chosen on `validation`: a threshold chosen on the evaluated images would be
    optimistic. Without a validation split it is chosen on `predictions`; see `chosen_on`.
    The classifier also abstains on images that are unlike those of training.

    Returns:
        A row for each rate: `wanted_error_rate`, `threshold` or None and then `why`,
        `error_bound` at the threshold, `chosen_on`, and the result of `abstaining`.
    """
    chosen = validation if validation is not None else predictions
    chosen_on = "validation" if validation is not None else "the same images"
    kept = chosen.select(~chosen.flagged)
    curve = accuracy_over_coverage(kept) if len(kept) else None
    table = []
    for rate in error_rates:
        row: dict[str, Any] = {
            "wanted_error_rate": rate,
            "threshold": None,
            "chosen_on": chosen_on,
        }
        last = None if curve is None else _last_that_meets(curve, rate)
        if curve is not None and last is not None:
            row["threshold"] = float(curve.threshold[last])
            row["error_bound"] = float(curve.error_bound[last])
            row |= abstaining(predictions, row["threshold"], resamples=resamples, seed=seed)
        else:
            row["why"] = _why_no_threshold(chosen, len(set(kept.groups)), rate, chosen_on)
        table.append(row)
    return table


def _last_that_meets(curve: Coverage, rate: float) -> int | None:
    """Index of the last threshold of the fixed sequence that meets a target, None if none does."""
    first = int(np.searchsorted(curve.groups, groups_needed(rate)))
    missed = np.flatnonzero(curve.error_bound[first:] > rate)
    end = first + int(missed[0]) if len(missed) else len(curve.groups)
    return end - 1 if end > first else None


def unlike_metrics(
    predictions: Predictions, validation: Predictions | None = None
) -> Unlike | None:
    """Count images that are unlike those of training, and confident errors among the others.

    Returns:
        Metrics, or None if the run has no such distances.
    """
    if predictions.unlike is None:
        return None
    wrong = predictions.y_true != predictions.y_pred
    silent = wrong & (predictions.confidence >= CONFIDENT) & ~predictions.flagged
    known = validation is not None and validation.unlike is not None
    return {
        "share": float(predictions.flagged.mean()),
        "validation_share": float(validation.flagged.mean()) if validation and known else None,
        "silent_errors": float(silent.mean()),
    }


def _why_no_threshold(chosen: Predictions, has: int, rate: float, chosen_on: str) -> str:
    needed, what = groups_needed(rate), "plates" if chosen.has_plates else "images"
    if has < needed:
        return f"needs {needed} {what} without an error on {chosen_on}, got {has}"
    return f"too many errors at high confidence on {chosen_on}"
