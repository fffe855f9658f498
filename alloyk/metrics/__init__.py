"""Metrics of a table of predictions.

`classification` and `regression` compute the metrics, `intervals` and `jackknife` their confidence
intervals, `significance` tests between classifiers, `calibration` and `selective` whether the
probabilities can be trusted, `breakdown` the accuracy by condition, `fold_spread` the spread over
cross-validation folds.
"""

from alloyk.metrics.classification import classification_metrics
from alloyk.metrics.regression import regression_metrics

__all__ = ["classification_metrics", "regression_metrics"]
