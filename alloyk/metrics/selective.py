"""What a classifier reaches when it may leave the uncertain images to somebody else."""

from dataclasses import dataclass

import numpy as np

from alloyk.metrics.intervals import CONFIDENCE, RESAMPLES, accuracy_interval, upper_bound
from alloyk.runs.predictions import Predictions

ERROR_RATES = (0.05, 0.02, 0.01)
# Thresholds looked at, of as many as there are confidences: each needs a bound of its own.
LEVELS = 200


@dataclass(frozen=True, eq=False)
class Coverage:
    """Accuracy over coverage; each entry is one threshold on the confidence, falling.

    Attributes:
        threshold: `(m,)`: images of at least this confidence are decided.
        coverage: `(m,)`: their share of all images; the last is 1.
        accuracy: `(m,)`: the share of right decisions among them.
        error_bound: `(m,)`: one-sided 95 % upper bound of their error rate, over plates.
    """

    threshold: np.ndarray
    coverage: np.ndarray
    accuracy: np.ndarray
    error_bound: np.ndarray


def accuracy_over_coverage(predictions: Predictions) -> Coverage:
    """Accuracy of the most confident images, for every number of them that a threshold can cut.

    The confidence is the probability of the class in ``predicted``; images of equal confidence
    are decided together. Of more than 200 thresholds, 200 are taken, evenly spaced.
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
        accuracy=1 - np.cumsum(wrong)[last] / decided,
        error_bound=np.array([upper_bound(wrong[:n], groups[:n]) for n in decided]),
    )


def groups_needed(error_rate: float) -> int:
    """How many plates without an error show with 95 % confidence that no more is to be expected.

    >>> [groups_needed(rate) for rate in ERROR_RATES]
    [59, 149, 299]
    """
    return int(np.ceil(np.log(1 - CONFIDENCE) / np.log(1 - error_rate)))


def abstaining(
    predictions: Predictions, threshold: float, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict:
    """What is reached when images below `threshold` are not decided.

    Returns:
        ``coverage``, ``groups`` that have an image decided, ``error_rate`` of the decided images
        with its 95 % ``interval`` over plates; the last two None where nothing is decided or there
        is no interval.
    """
    decided = predictions.confidence >= threshold
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
    error_rates=ERROR_RATES,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[dict]:
    """For each wanted error rate: the threshold, and what it gives on `predictions`.

    The threshold is the lowest one at which the 95 % upper bound of the error rate, not the rate
    found, is as wanted. It is chosen on `validation`, since one chosen on the images it is judged
    by looks better than it is. Without a validation split it is chosen there all the same, and
    ``chosen_on`` says so.

    Returns:
        A row for each rate: ``wanted_error_rate``, ``threshold`` or None and then ``why``,
        ``error_bound`` at the threshold, ``chosen_on``, and what `abstaining` returns.
    """
    chosen = validation if validation is not None else predictions
    chosen_on = "validation" if validation is not None else "the same images"
    curve = accuracy_over_coverage(chosen)
    table = []
    for wanted in error_rates:
        row = {"wanted_error_rate": wanted, "threshold": None, "chosen_on": chosen_on}
        good = np.flatnonzero(curve.error_bound <= wanted)
        if len(good):
            row["threshold"] = float(curve.threshold[good[-1]])
            row["error_bound"] = float(curve.error_bound[good[-1]])
            row |= abstaining(predictions, row["threshold"], resamples=resamples, seed=seed)
        else:
            row["why"] = _why_no_threshold(chosen, wanted, chosen_on)
        table.append(row)
    return table


def _why_no_threshold(chosen: Predictions, wanted: float, chosen_on: str) -> str:
    has, needed = int(chosen.groups.max()) + 1, groups_needed(wanted)
    what = "plates" if chosen.has_plates else "images"
    if has < needed:
        return f"it takes {needed} {what} of {chosen_on} without an error to show that, found {has}"
    return f"the errors on {chosen_on} speak against every threshold"
