"""The accuracy of each baseline, from its predictions file alone."""

from alloyk.metrics.bootstrap import RESAMPLES
from alloyk.metrics.intervals import accuracy_interval
from alloyk.runs.folder import RunFolder
from alloyk.runs.metrics import BaselineMetrics
from alloyk.runs.predictions import Predictions, read_predictions

BASELINES = {
    "noise": "random forest on local noise statistics",
    "classical": "equivalent thickness and effective attenuation from the wedge curve",
}
"""Name → features and classifier."""


def baseline_metrics(
    folder: RunFolder,
    split: str,
    predictions: Predictions,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, BaselineMetrics]:
    """Accuracy of each baseline that has predictions of the same images.

    Args:
        folder: Folder of the evaluation.
        split: Split of the predictions.
        predictions: The run's. A baseline with other images or labels belongs to an earlier state
            of the data, and is ignored.
        resamples: Bootstrap resamples for the intervals.
        seed: Seed of the resampling.

    Returns:
        Name → `what`, `accuracy`, `interval` at 95 % (None where there is none).
    """
    found: dict[str, BaselineMetrics] = {}
    for name, what in BASELINES.items():
        file = folder.baseline_file(name, split)
        if not file.exists():
            continue
        baseline = read_predictions(file)
        keys = ["path", "label"]
        if not baseline.table[keys].equals(predictions.table[keys]):
            continue
        right = baseline.y_true == baseline.y_pred
        interval = accuracy_interval(right, baseline.groups, resamples=resamples, seed=seed)
        found[name] = {
            "what": what,
            "accuracy": float(right.mean()),
            "interval": None if interval is None else [*interval],
        }
    return found
