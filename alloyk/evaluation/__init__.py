"""Compute metrics, report and figures from the predictions of a run.

`evaluate` writes them all; `text_report` and `figures` are its parts, `ceiling` is the reference
ceiling beside them, `baselines` are simple classifiers for comparison. `split_predictions` predicts
a split first.
"""

from alloyk.evaluation.evaluate import evaluate_run

__all__ = ["evaluate_run"]
