"""Classification metrics of a split, computed by scikit-learn from the predictions alone."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from alloyk.runs.predictions import Predictions

PER_CLASS = (
    "precision", "recall", "specificity", "f1", "average_precision", "roc_auc", "support",
)  # fmt: skip


def log_losses(predictions: Predictions) -> np.ndarray:
    """Negative log probability of the true class of each image, `(n,)`, clipped as in scikit-learn.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"path": ["1", "2"]})
    >>> both = np.array([[0.5, 0.5], [0.0, 1.0]])
    >>> found = Predictions(table, ("A", "B"), np.array([0, 0]), np.array([0, 1]), both)
    >>> log_losses(found).round(4).tolist()
    [0.6931, 36.0437]
    """
    eps = np.finfo(np.float64).eps
    of_true = predictions.probabilities[np.arange(len(predictions)), predictions.y_true]
    losses: np.ndarray = -np.log(np.clip(of_true, eps, 1 - eps))
    return losses


def classification_metrics(predictions: Predictions) -> dict[str, Any]:
    """Compute the metrics of `metrics.json` that need only predictions.

    `label` against `predicted` gives accuracy, balanced accuracy, the confusion matrix (rows
    true), precision, recall, specificity, F1 and support; the `p_` columns give log loss,
    average precision and ROC AUC, each class against the rest.

    An undefined metric is None, and `undefined` gives the reason. `macro` is the mean over the
    classes for which a metric is defined; `micro` pools all image-class pairs.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"path": ["1", "2", "3"], "label": ["A", "A", "B"]})
    >>> likely = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]])
    >>> found = classification_metrics(
    ...     Predictions(table, ("A", "B"), np.array([0, 0, 1]), np.array([0, 1, 1]), likely))
    >>> found["confusion_matrix"], found["per_class"]["A"]["recall"]
    ([[1, 1], [0, 1]], 0.5)

    Returns:
        `n, classes, accuracy, balanced_accuracy, log_loss, confusion_matrix, per_class, macro,
        micro, undefined`, ready for JSON: Python numbers, no NaN.
    """
    from sklearn import metrics

    true, predicted, classes = predictions.y_true, predictions.y_pred, predictions.classes
    labels = np.arange(len(classes))
    with warnings.catch_warnings():
        # Undefined metrics are reported in the result; float32 softmax sums to 1 within 1e-7.
        warnings.simplefilter("ignore", UserWarning)
        accuracy = metrics.accuracy_score(true, predicted)
        balanced_accuracy = metrics.balanced_accuracy_score(true, predicted)
        log_loss = metrics.log_loss(true, predictions.probabilities, labels=labels)
        matrix = metrics.confusion_matrix(true, predicted, labels=labels)
        by_class = _by_class(predictions, matrix)
    undefined = _reasons(by_class, matrix, classes)

    return {
        "n": len(predictions),
        "classes": list(classes),
        "accuracy": float(accuracy),
        "balanced_accuracy": float(balanced_accuracy),
        "log_loss": float(log_loss),
        "confusion_matrix": matrix.tolist(),
        "per_class": {
            label: {name: _plain(values[k]) for name, values in by_class.items()}
            for k, label in enumerate(classes)
        },
        "macro": _macro(by_class, undefined),
        "micro": _micro(predictions, matrix, float(accuracy)),
        "undefined": undefined,
    }


def _macro(
    by_class: dict[str, np.ndarray], undefined: dict[str, str]
) -> dict[str, int | float | None]:
    """Means over the classes; adds the reasons for undefined ones to `undefined`."""
    macro: dict[str, int | float | None] = {}
    for name, values in by_class.items():
        if name == "support":
            macro[name] = int(values.sum())
        elif np.isnan(values).all():
            macro[name] = None
            undefined[f"macro.{name}"] = "undefined for every class"
        else:
            macro[name] = float(np.nanmean(values))
    return macro


def _by_class(predictions: Predictions, matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Name → `(k,)`, NaN where undefined."""
    from sklearn import metrics

    labels = np.arange(len(predictions.classes))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        predictions.y_true, predictions.y_pred, labels=labels, zero_division=np.nan
    )
    others = matrix.sum() - support
    false_alarms = matrix.sum(axis=0) - matrix.diagonal()
    specificity = np.full(len(labels), np.nan)
    np.divide(others - false_alarms, others, out=specificity, where=others > 0)

    average_precision = np.full(len(labels), np.nan)
    roc_auc = np.full(len(labels), np.nan)
    for k in labels:
        of_class, probability = predictions.one_hot[:, k], predictions.probabilities[:, k]
        if support[k]:
            average_precision[k] = metrics.average_precision_score(of_class, probability)
        if support[k] and others[k]:
            roc_auc[k] = metrics.roc_auc_score(of_class, probability)
    values = (precision, recall, specificity, f1, average_precision, roc_auc, support)
    return dict(zip(PER_CLASS, values, strict=True))


def _reasons(
    by_class: dict[str, np.ndarray], matrix: np.ndarray, classes: Sequence[str]
) -> dict[str, str]:
    """Path in `metrics.json` → why the metric is undefined."""
    reasons = {}
    for k, label in enumerate(classes):
        missing = f"the split has no image of {label}"
        alone = f"every image of the split is of {label}"
        why = {
            "precision": f"no image was predicted as {label}",
            "recall": missing,
            "specificity": alone,
            "f1": f"{missing}, and none was predicted as {label}",
            "average_precision": missing,
            "roc_auc": alone if matrix[k].sum() else missing,
        }
        for name, reason in why.items():
            if np.isnan(by_class[name][k]):
                reasons[f"per_class.{label}.{name}"] = reason
    return reasons


def _micro(predictions: Predictions, matrix: np.ndarray, accuracy: float) -> dict[str, Any]:
    """Metrics over all image-class pairs; with one class per image precision = recall = F1."""
    from sklearn import metrics

    pairs, probabilities = predictions.one_hot.ravel(), predictions.probabilities.ravel()
    n, k = len(predictions), len(predictions.classes)
    wrong = n - int(matrix.diagonal().sum())
    return {
        "precision": accuracy,
        "recall": accuracy,
        "specificity": (n * (k - 1) - wrong) / (n * (k - 1)),
        "f1": accuracy,
        "average_precision": float(metrics.average_precision_score(pairs, probabilities)),
        "roc_auc": float(metrics.roc_auc_score(pairs, probabilities)),
        "support": n,
    }


def _plain(value: Any) -> int | float | None:
    """A Python number; None for NaN."""
    found: int | float = value.item()
    return None if np.isnan(found) else found
