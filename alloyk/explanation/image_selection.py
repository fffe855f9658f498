"""The images of a run to explain when none are named."""

from pathlib import Path

import numpy as np

from alloyk.errors import ModelError
from alloyk.messages import shown
from alloyk.runs.folder import RunFolder
from alloyk.runs.predictions import Predictions
from alloyk.runs.run_data import open_run_data


def most_and_least_confident(predictions: Predictions, count: int = 1) -> list[int]:
    """Return rows of the most, then the least confident predictions for images of each class.

    Args:
        predictions: Predictions for a split.
        count: Number of images of each kind; a class with fewer than twice as many gives all.
    """
    rows: list[int] = []
    for number in range(len(predictions.classes)):
        of_class = np.flatnonzero(predictions.y_true == number)
        falling = of_class[np.argsort(-predictions.confidence[of_class], kind="stable")]
        first, last = falling[:count], falling[count:][::-1][:count]
        rows += [int(row) for row in (*first, *last)]
    return rows


def chosen_images(
    run: Path, *, data: str | Path | None = None, count: int = 1
) -> tuple[list[Path], list[str]]:
    """Return the most and least confident test images of each class, and their labels.

    Raises:
        ModelError: The run has no model or no predictions, or its images are not where they
            were in training.
    """
    folder = RunFolder(run)
    folder.require_model()
    file = folder.predictions_file()
    if not file.is_file():
        raise ModelError(
            f"{shown(run)} has no {file.name} to choose images from; name the images to explain"
        )
    predictions = folder.predictions
    root = open_run_data(run, data).root
    rows = most_and_least_confident(predictions, count)
    table = predictions.table.iloc[rows]
    return [root / path for path in table["path"]], list(table["label"])
