"""Whether probabilities mean what they say, and temperature scaling that makes them."""

from dataclasses import dataclass, replace

import numpy as np

from alloyk.runs.predictions import Predictions

BINS = 15
FOLDS = 5
# A network is not 20 times too sure; beyond, the validation split has told nothing.
TEMPERATURES = (0.05, 20.0)
# Fewer events per fitted parameter make a logistic regression, which this is, unreliable (Peduzzi
# et al., 1996): on 1,800 images with one error, it asked for logits seven times as large.
MIN_ERRORS = 10
FLOOR = np.finfo(np.float64).eps  # as scikit-learn's log_loss


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence against accuracy, in bins of equal width over the confidence.

    The confidence of an image is the probability of the class in ``predicted``.

    Attributes:
        edges: `(bins + 1,)` from 0 to 1; a confidence on an edge belongs to the bin below.
        count: `(bins,)` images.
        confidence: `(bins,)` mean confidence, NaN in an empty bin.
        accuracy: `(bins,)` share of right decisions, NaN in an empty bin.
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def expected_calibration_error(self) -> float:
        """Mean of |accuracy - confidence| over images (Naeini 2015; Guo 2017)."""
        gap = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gap * self.count) / self.count.sum())


def reliability(predictions: Predictions, bins: int = BINS) -> Reliability:
    """Sort the images into `bins` by confidence."""
    edges = np.linspace(0, 1, bins + 1)
    inside = np.clip(np.searchsorted(edges, predictions.confidence, side="left") - 1, 0, bins - 1)
    right = predictions.y_true == predictions.y_pred
    count = np.bincount(inside, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            edges=edges,
            count=count,
            confidence=np.bincount(inside, predictions.confidence, bins) / count,
            accuracy=np.bincount(inside, right, bins) / count,
        )


def with_temperature(predictions: Predictions, temperature: float) -> Predictions:
    """The predictions with probabilities `softmax(log(p) / temperature)`.

    For a network's softmax that equals dividing its logits. The order of the classes stays, and
    so does ``predicted``.
    """
    return replace(
        predictions, probabilities=_tempered(np.log(_floored(predictions)), 1 / temperature)
    )


def log_loss(predictions: Predictions) -> float:
    """Mean of -log of the true class's probability, limited as scikit-learn limits it."""
    return _log_loss(np.log(_floored(predictions)), predictions.y_true, 1.0)


def fit_temperature(predictions: Predictions) -> float:
    """The temperature of least log loss (Guo et al., 2017); 1 leaves probabilities as they are."""
    from scipy.optimize import minimize_scalar

    logits = np.log(_floored(predictions))

    def loss(log_temperature):
        return _log_loss(logits, predictions.y_true, np.exp(-log_temperature))

    low, high = np.log(TEMPERATURES)
    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-7})
    return float(np.exp(best.x))


def temperature_scaling(validation: Predictions) -> dict:
    """Fit a temperature on validation, and keep it only if it helps there.

    On the data it was fitted on it always helps. So it is also fitted on all but one of five
    parts, by plate where there are plates, and must lower the log loss of the parts left out. With
    errors on fewer than 10 plates it is not fitted: ever more confidence would look ever better.

    Returns:
        ``temperature`` (None if not kept), ``fitted``, ``why`` (None if kept), and the log loss
        on validation ``before`` and, of parts left out, ``after``.
    """
    from sklearn.model_selection import GroupKFold

    logits, y = np.log(_floored(validation)), validation.y_true
    before = _log_loss(logits, y, 1.0)
    found = {"temperature": None, "fitted": None, "why": None, "before": before, "after": None}
    groups = validation.groups
    folds = min(FOLDS, int(groups.max()) + 1)
    if folds < 2:
        return {**found, "why": "validation has one plate or image only"}
    wrong = validation.probabilities.argmax(axis=1) != y
    if len(np.unique(groups[wrong])) < MIN_ERRORS:
        what = "plates" if validation.has_plates else "images"
        return {**found, "why": f"fewer than {MIN_ERRORS} {what} of validation have an error"}
    losses = np.empty(len(validation))
    for fitted_on, left_out in GroupKFold(folds).split(logits, y, groups):
        temperature = fit_temperature(validation.select(fitted_on))
        losses[left_out] = _losses(logits[left_out], y[left_out], 1 / temperature)
    after, fitted = float(losses.mean()), fit_temperature(validation)
    found |= {"fitted": fitted, "after": after}
    if after >= before:
        return {**found, "why": "it does not lower the log loss of validation images left out"}
    return {**found, "temperature": fitted}


def _floored(predictions: Predictions) -> np.ndarray:
    return np.clip(predictions.probabilities, FLOOR, 1)


def _tempered(logits: np.ndarray, factor: float) -> np.ndarray:
    from scipy.special import softmax

    return softmax(logits * factor, axis=1)


def _losses(logits, y, factor) -> np.ndarray:
    from scipy.special import log_softmax

    return -log_softmax(logits * factor, axis=1)[np.arange(len(y)), y]


def _log_loss(logits, y, factor) -> float:
    return float(_losses(logits, y, factor).mean())
