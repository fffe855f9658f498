"""Calibration of probabilities, and temperature scaling."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from alloyk.metrics.classification import log_losses
from alloyk.runs.predictions import Predictions

BINS = 15
FOLDS = 5
# No network is overconfident by a factor of 20: a larger fit means uninformative validation data.
TEMPERATURES = (0.05, 20.0)
# Temperature scaling is a logistic regression, which needs about 10 events per fitted parameter
# (Peduzzi et al., 1996). On 1,800 images with one error it multiplied the logits by seven.
MIN_ERRORS = 10
FLOOR = np.finfo(np.float64).eps  # as in scikit-learn's log_loss


@dataclass(frozen=True, eq=False)
class Reliability:
    """Accuracy against confidence, in bins of equal width.

    The confidence of an image is the probability of the class in `predicted`.

    Attributes:
        edges: `(bins + 1,)` from 0 to 1; a confidence on an edge belongs to the bin below.
        count: `(bins,)` images.
        confidence: `(bins,)` mean confidence, NaN in an empty bin.
        accuracy: `(bins,)`, NaN in an empty bin.
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
    """Bin the images by confidence."""
    edges = np.linspace(0, 1, bins + 1)
    bin_index = np.clip(
        np.searchsorted(edges, predictions.confidence, side="left") - 1, 0, bins - 1
    )
    correct = predictions.y_true == predictions.y_pred
    count = np.bincount(bin_index, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            edges=edges,
            count=count,
            confidence=np.bincount(bin_index, predictions.confidence, bins) / count,
            accuracy=np.bincount(bin_index, correct, bins) / count,
        )


def with_temperature(predictions: Predictions, temperature: float) -> Predictions:
    """Return the predictions with probabilities `softmax(log(p) / temperature)`.

    For a softmax output this equals dividing the logits. The ranking of the classes and
    `predicted` stay the same.
    """
    return replace(
        predictions, probabilities=_tempered(np.log(_floored(predictions)), 1 / temperature)
    )


def log_loss(predictions: Predictions) -> float:
    """Mean negative log probability of the true class, clipped as in scikit-learn."""
    return float(log_losses(predictions).mean())


def fit_temperature(predictions: Predictions) -> float:
    """Find the temperature that minimises the log loss (Guo et al., 2017)."""
    from scipy.optimize import minimize_scalar

    logits = np.log(_floored(predictions))

    def loss(log_temperature: float) -> float:
        return _log_loss(logits, predictions.y_true, np.exp(-log_temperature))

    low, high = np.log(TEMPERATURES)
    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-7})
    return float(np.exp(best.x))


def temperature_scaling(validation: Predictions) -> dict[str, Any]:
    """Fit a temperature on validation, and keep it only if it lowers the log loss there.

    The log loss always falls on the data used for the fit, so the temperature is cross-validated in
    five folds, grouped by plate, and must lower the log loss of the held-out folds. With errors
    on fewer than 10 plates it is not fitted, because the log loss would favour ever higher
    confidence.

    Returns:
        `temperature` (None if not kept), `fitted`, `why` (None if kept), and the log loss
        on validation `before` and, on held-out folds, `after`.
    """
    from sklearn.model_selection import GroupKFold

    logits, y = np.log(_floored(validation)), validation.y_true
    before = _log_loss(logits, y, 1.0)
    found: dict[str, Any] = {
        "temperature": None,
        "fitted": None,
        "why": None,
        "before": before,
        "after": None,
    }
    groups = validation.groups
    folds = min(FOLDS, int(groups.max()) + 1)
    if folds < 2:
        return {**found, "why": "validation has only one plate or image"}
    wrong = validation.y_pred != y
    if len(np.unique(groups[wrong])) < MIN_ERRORS:
        what = "plates" if validation.has_plates else "images"
        return {**found, "why": f"fewer than {MIN_ERRORS} validation {what} have an error"}
    losses = np.empty(len(validation))
    for fitted_on, held_out in GroupKFold(folds).split(logits, y, groups):
        temperature = fit_temperature(validation.select(fitted_on))
        losses[held_out] = _losses(logits[held_out], y[held_out], 1 / temperature)
    after, fitted = float(losses.mean()), fit_temperature(validation)
    found |= {"fitted": fitted, "after": after}
    if after >= before:
        return {**found, "why": "it does not lower the log loss of held-out validation images"}
    return {**found, "temperature": fitted}


def _floored(predictions: Predictions) -> np.ndarray:
    floored: np.ndarray = np.clip(predictions.probabilities, FLOOR, 1)
    return floored


def _tempered(logits: np.ndarray, factor: float) -> np.ndarray:
    from scipy.special import softmax

    probabilities: np.ndarray = softmax(logits * factor, axis=1)
    return probabilities


def _losses(logits: np.ndarray, y: np.ndarray, factor: float) -> np.ndarray:
    from scipy.special import log_softmax

    losses: np.ndarray = -log_softmax(logits * factor, axis=1)[np.arange(len(y)), y]
    return losses


def _log_loss(logits: np.ndarray, y: np.ndarray, factor: float) -> float:
    return float(_losses(logits, y, factor).mean())
