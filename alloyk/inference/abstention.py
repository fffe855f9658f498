"""Abstain on uncertain images, at the thresholds that the evaluation of a run chose."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from alloyk.errors import AlloykError, ConfigError
from alloyk.inference.metadata import ModelMetadata
from alloyk.inference.results import UNCERTAIN, UNLIKE, Classification
from alloyk.messages import shown


def run_thresholds(model_file: Path) -> dict[float, float]:
    """Return the thresholds of the run that a `model.keras` belongs to, by target error rate.

    They are those of its `metrics.json`; none for a file outside a run, or a run not yet evaluated.
    """
    from alloyk.runs.folder import RunFolder  # loads pydantic, which no TFLite file needs

    run = RunFolder(model_file.parent)
    if run.model_file.name != model_file.name:
        return {}
    try:
        rows = run.metrics.get("abstention") or []
        return {
            float(row["wanted_error_rate"]): float(row["threshold"])
            for row in rows
            if row["threshold"] is not None
        }
    except (AlloykError, KeyError, TypeError, ValueError):  # a damaged file says nothing
        return {}


def threshold_for(error_rate: float, metadata: ModelMetadata, model: Path) -> float:
    """Return the probability below which a model abstains, for a target error rate.

    Raises:
        ConfigError: The model has no threshold for this rate.
    """
    for rate, threshold in metadata.thresholds.items():
        if np.isclose(rate, error_rate, rtol=1e-6, atol=0):
            return threshold
    if not metadata.thresholds:
        raise ConfigError(
            f"{shown(model)} has no thresholds for abstaining; use a run whose validation split "
            "has enough plates (see report.txt), or a file exported from it"
        )
    known = ", ".join(f"{rate:g}" for rate in sorted(metadata.thresholds))
    raise ConfigError(
        f"the error rate for abstaining must be one that {shown(model)} has a threshold for "
        f"({known}), got {error_rate:g}"
    )


def abstaining(classified: Classification, threshold: float) -> Classification:
    """Leave out the class of each image that is unlike those of training, or uncertain.

    Args:
        classified: Predictions.
        threshold: Smallest probability at which the class is kept.
    """
    best = classified.probabilities.max(axis=1, initial=0)
    reasons = [UNCERTAIN if value < threshold else "" for value in best]
    for number in range(len(classified)):
        if number in classified.errors:
            reasons[number] = ""
        elif classified.unlike is not None and classified.unlike[number] >= 1:
            reasons[number] = UNLIKE
    labels = tuple(
        "" if reason else label
        for label, reason in zip(classified.labels, reasons, strict=True)
    )  # fmt: skip
    return replace(classified, labels=labels, abstained=tuple(reasons))
