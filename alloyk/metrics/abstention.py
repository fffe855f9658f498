"""What a classifier reaches when it may leave the uncertain images to somebody else."""

from dataclasses import dataclass

import numpy as np

from alloyk.predictions import Predictions
from alloyk.statistics import RESAMPLES, accuracy_interval

ERROR_RATES = (0.05, 0.02, 0.01)


@dataclass(frozen=True, eq=False)
class Coverage:
    """Accuracy over coverage; each entry is one threshold on the confidence, falling.

    Attributes:
        threshold: `(m,)`: images of at least this confidence are decided.
        coverage: `(m,)`: their share of all images; the last is 1.
        accuracy: `(m,)`: the share of right decisions among them.
    """

    threshold: np.ndarray
    coverage: np.ndarray
    accuracy: np.ndarray


def accuracy_over_coverage(predictions: Predictions) -> Coverage:
    """Accuracy of the most confident images, for every number of them that a threshold can cut.

    The confidence is the probability of the class in ``predicted``; images of equal confidence
    are decided together.
    """
    order = np.argsort(-predictions.confidence, kind="stable")
    confidence = predictions.confidence[order]
    right = np.cumsum((predictions.y_true == predictions.y_pred)[order])
    decided = np.arange(1, len(order) + 1)
    last = np.append(confidence[1:] != confidence[:-1], True)
    return Coverage(
        threshold=confidence[last],
        coverage=decided[last] / len(order),
        accuracy=right[last] / decided[last],
    )


def threshold_for(predictions: Predictions, error_rate: float) -> float | None:
    """The lowest confidence at which the images decided hold at most `error_rate` errors.

    None where no threshold reaches that.
    """
    curve = accuracy_over_coverage(predictions)
    good = np.flatnonzero(1 - curve.accuracy <= error_rate + 1e-12)
    return float(curve.threshold[good[-1]]) if len(good) else None


def abstaining(
    predictions: Predictions, threshold: float, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict:
    """What is reached when images below `threshold` are not decided.

    Returns:
        ``coverage``, ``error_rate`` of the decided images with its 95 % ``interval`` over plates;
        the last two None where nothing is decided or there is no interval.
    """
    decided = predictions.confidence >= threshold
    right = (predictions.y_true == predictions.y_pred)[decided]
    groups = predictions.groups[decided]
    interval = (
        accuracy_interval(right, groups, resamples=resamples, seed=seed) if len(right) else None
    )
    return {
        "coverage": float(decided.mean()),
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

    The threshold is chosen on `validation`, since one chosen on the images it is judged by looks
    better than it is. Without a validation split it is chosen there all the same, and
    ``chosen_on`` says so.
    """
    chosen_on = "validation" if validation is not None else "the same images"
    table = []
    for wanted in error_rates:
        threshold = threshold_for(validation if validation is not None else predictions, wanted)
        row = {"wanted_error_rate": wanted, "threshold": threshold, "chosen_on": chosen_on}
        if threshold is not None:
            row |= abstaining(predictions, threshold, resamples=resamples, seed=seed)
        table.append(row)
    return table
