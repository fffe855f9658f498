"""Which images of a run to explain when nobody named any."""

from pathlib import Path

import numpy as np

from alloyk.errors import AlloykError
from alloyk.imaging import shown
from alloyk.runs.folder import run_model
from alloyk.runs.predictions import Predictions, read_predictions
from alloyk.runs.split_record import open_run_data


def most_and_least_confident(predictions: Predictions, count: int = 1) -> list[int]:
    """Rows of the most, then the least confident decisions about images of each class.

    Args:
        predictions: Of a split.
        count: How many of each; a class with fewer than twice as many gives all it has.
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
    """The most and least confident images of each class of a run's test split, and their labels.

    Raises:
        AlloykError: It is no finished run, has no predictions, or its images are not where they
            were.
    """
    run_model(run)
    file = Path(run) / "predictions.csv"
    if not file.is_file():
        raise AlloykError(
            f"{shown(run)} has no predictions.csv to choose images by: name the images to explain"
        )
    predictions = read_predictions(file)
    root = open_run_data(run, data).root
    rows = most_and_least_confident(predictions, count)
    table = predictions.table.iloc[rows]
    return [root / path for path in table["path"]], list(table["label"])
