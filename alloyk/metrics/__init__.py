"""Metrics of a table of predictions.

`classification` and `regression` compute the metrics, `intervals`, with `bootstrap` and
`jackknife`, their confidence intervals, `significance` tests between classifiers, `calibration` and
`selective` the quality of the probabilities, `breakdown` the accuracy by condition, and
`fold_spread` the spread over cross-validation folds.
"""

from alloyk.metrics.classification import classification_metrics
from alloyk.metrics.regression import regression_metrics

__all__ = ["classification_metrics", "regression_metrics"]
