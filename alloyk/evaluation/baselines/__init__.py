"""Baselines: what simple, transparent classifiers reach on the images of an evaluation.

`noise_statistics` and `alloyk.inference.wedge_curve` are the features, `fit` trains and predicts,
`results` reads the predictions and computes the accuracies. File names, options and the key in the
metrics call them *controls*.
"""

from alloyk.evaluation.baselines.results import BASELINES, baseline_metrics

__all__ = ["BASELINES", "baseline_metrics"]
