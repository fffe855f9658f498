"""Metrics of estimated numbers, overall and per class."""

from typing import Any

import numpy as np

from alloyk.metrics.bootstrap import RESAMPLES, resampled_counts
from alloyk.metrics.intervals import ROUNDING, log_interval, rounded
from alloyk.runs.predictions import Predictions

ERROR_METRICS = ("mae", "rmse", "r2")


def regression_metrics(
    predictions: Predictions, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[dict[str, Any], dict[str, list[float]], dict[str, str]]:
    """Compute MAE, RMSE and R² of each estimated column, with 95 % intervals.

    Images without a true value are left out.

    Args:
        predictions: The predictions.
        resamples: Bootstrap resamples, of plates where there are plates.
        seed: Seed of the resampling.

    Returns:
        Column → `n mae rmse r2 per_class`, where `per_class` has the first four by class;
        `regression.<column>.<metric>` → `[low, high]`; and such a path → reason why there is no
        metric or no interval.
    """
    found: dict[str, dict[str, Any]] = {}
    intervals: dict[str, list[float]] = {}
    undefined: dict[str, str] = {}
    what = "plate" if predictions.has_plates else "image"

    def metrics_of(name: str, column: str, chosen: np.ndarray) -> dict[str, Any]:
        estimate, groups = predictions.estimates[column], predictions.groups[chosen]
        true, error = estimate.true[chosen], (estimate.predicted - estimate.true)[chosen]
        metrics = error_metrics(true, error)
        if not len(true):
            undefined[name] = "no image with a true value"
            return metrics
        drawn = _resampled(true, error, groups, resamples, seed)
        for metric in ERROR_METRICS:
            path, value = f"{name}.{metric}", metrics[metric]
            if value is None:
                undefined[path] = "all true values are equal"
                continue
            interval = _interval(metric, value, drawn[metric], len(np.unique(groups)))
            if interval is None:
                undefined[f"confidence_intervals.{path}"] = _why_no_interval(groups, error, what)
            else:
                intervals[path] = rounded(interval)
        return metrics

    for column, estimate in predictions.estimates.items():
        name, known = f"regression.{column}", np.isfinite(estimate.true)
        found[column] = metrics_of(name, column, known)
        found[column]["per_class"] = {
            label: metrics_of(
                f"{name}.per_class.{label}", column, known & (predictions.y_true == k)
            )
            for k, label in enumerate(predictions.classes)
        }
        if not known.any():  # one reason for all classes
            of_classes = [key for key in undefined if key.startswith(f"{name}.per_class.")]
            for key in of_classes:
                del undefined[key]
    return found, intervals, undefined


def error_metrics(true: np.ndarray, error: np.ndarray) -> dict[str, Any]:
    """Compute `n`, mean absolute error, root mean square error and R²; None where undefined.

    R² is 1 − Σ error² / Σ (true − mean true)²: always predicting the mean of these images gives 0,
    and a negative value is worse than that.

    >>> error_metrics(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 1.0]))
    {'n': 3, 'mae': 0.333..., 'rmse': 0.577..., 'r2': 0.5}
    """
    n = len(true)
    if not n:
        return {"n": 0, "mae": None, "rmse": None, "r2": None}
    squares, spread = float(np.sum(error**2)), float(np.sum((true - true.mean()) ** 2))
    varies = spread > ROUNDING * n * float(np.max(np.abs(true))) ** 2
    return {
        "n": n,
        "mae": float(np.mean(np.abs(error))),
        "rmse": float(np.sqrt(squares / n)),
        "r2": 1 - squares / spread if varies else None,
    }


def _resampled(
    true: np.ndarray, error: np.ndarray, groups: np.ndarray, resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """The metrics of each resample of groups, `(resamples,)`; R² as 1 − R²."""
    _, groups = np.unique(groups, return_inverse=True)
    # Centred: otherwise the variance would be a small difference of large sums.
    centred = true - true.mean()
    columns = (np.ones_like(true), np.abs(error), error**2, centred, centred**2)
    by_group = np.stack([np.bincount(groups, values) for values in columns], axis=1)
    counts = resampled_counts(len(by_group), resamples, seed)
    n, absolute, squares, total, total_squares = np.concatenate(
        [drawn @ by_group for drawn in counts]
    ).T
    spread = total_squares - total**2 / n
    # In a resample of a single plate the true values may be equal.
    spread[spread <= ROUNDING * total_squares] = np.nan
    return {"mae": absolute / n, "rmse": np.sqrt(squares / n), "r2": squares / spread}


def _why_no_interval(groups: np.ndarray, error: np.ndarray, what: str) -> str:
    if len(np.unique(groups)) < 2:
        return f"based on only one {what}"
    if not error.any():
        return f"no {what} has an error"
    return f"too few {what}s"


def _interval(
    metric: str, value: float, drawn: np.ndarray, n_groups: int
) -> tuple[float, float] | None:
    """95 % interval, symmetric on the log scale; for R² that of 1 − R², which is unbounded."""
    if metric == "r2":
        interval = log_interval(1 - value, drawn, n_groups)
        return interval and (1 - interval[1], 1 - interval[0])
    return log_interval(value, drawn, n_groups)
