"""Controls: what simple, transparent classifiers reach on the images that a run is judged by.

Each leaves a predictions file beside the run's own; the figures come from that file alone.
"""

from pathlib import Path

from alloyk.metrics.intervals import RESAMPLES, accuracy_interval
from alloyk.runs.predictions import Predictions, read_predictions

CONTROLS = {
    "noise": "random forest on local noise statistics",
    "classical": "equivalent thickness and effective attenuation from the wedge curve",
}
"""Name → what the control looks at."""


def control_file(name: str, split: str) -> str:
    """Name of a control's predictions file.

    >>> control_file("noise", "test"), control_file("noise", "val")
    ('control_noise.csv', 'control_noise_val.csv')
    """
    return f"control_{name}.csv" if split == "test" else f"control_{name}_{split}.csv"


def control_metrics(
    folder: Path, split: str, predictions: Predictions, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict]:
    """Accuracy of each control that has judged the same images.

    Args:
        folder: Where the controls' files are.
        split: Of the predictions.
        predictions: The run's. A control's file with other images or labels is of an earlier state
            of the data, and passed over.
        resamples: Bootstrap resamples for the intervals.
        seed: Of the resampling.

    Returns:
        Name → ``what``, ``accuracy``, ``interval`` at 95 % (None where there is none).
    """
    found = {}
    for name, what in CONTROLS.items():
        file = folder / control_file(name, split)
        if not file.exists():
            continue
        control = read_predictions(file)
        keys = ["path", "label"]
        if not control.table[keys].equals(predictions.table[keys]):
            continue
        right = control.y_true == control.y_pred
        interval = accuracy_interval(right, control.groups, resamples=resamples, seed=seed)
        found[name] = {
            "what": what,
            "accuracy": float(right.mean()),
            "interval": interval and [*interval],
        }
    return found
