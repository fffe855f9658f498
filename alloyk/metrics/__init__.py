"""What a table of predictions says, as numbers.

`classification` and `regression` hold the figures; `calibration` and `abstention` how far the
probabilities can be trusted, `breakdown` where the errors are, `fold_spread` how far folds differ.
"""

from alloyk.metrics.classification import classification_metrics
from alloyk.metrics.regression import regression_metrics

__all__ = ["classification_metrics", "regression_metrics"]
