"""The cross-validated objective of a trial: one training run for each fold, saved when it ends."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alloyk.runs.folder import RunFolder
from alloyk.runs.json_file import read_json, write_json
from alloyk.runs.predictions import with_fold, write_predictions
from alloyk.tuning.loop import Outcome

OUTCOME_FILE = "outcome.json"
"""Result, epochs and seconds of a finished fold."""


def fold_folder(trial: Path, fold: int) -> Path:
    """Folder of a fold of a trial, numbered from 1."""
    return trial / f"fold_{fold}"


def over_folds(
    trial: Path, folds: int, train_fold: Callable[[int, Path], Outcome], *, continued: bool
) -> Outcome:
    """Train the folds of a trial that are not finished; return the mean of all of them.

    The predictions of all folds together are written as those of the trial.

    Args:
        trial: Folder of the trial.
        folds: Number of folds.
        train_fold: Trains a fold in the given folder, from its checkpoint if there is one.
        continued: Whether another trial may continue this one, from the checkpoints.
    """
    outcomes = []
    for fold in range(1, folds + 1):
        folder = fold_folder(trial, fold)
        file = folder / OUTCOME_FILE
        found: dict[str, Any] = read_json(file)
        if not found:
            folder.mkdir(exist_ok=True)
            outcome = train_fold(fold, folder)
            found = {"result": outcome.result, "epochs": outcome.epochs, "seconds": outcome.seconds}
            write_json(file, found)
            if not continued:
                shutil.rmtree(RunFolder(folder).checkpoint_folder, ignore_errors=True)
        outcomes.append(found)
    _write_out_of_fold(trial, folds)
    results = tuple(float(one["result"]) for one in outcomes)
    return Outcome(
        math.fsum(results) / folds,
        sum(int(one["epochs"]) for one in outcomes),
        round(sum(float(one["seconds"]) for one in outcomes), 3),
        folds=results,
    )


def _write_out_of_fold(trial: Path, folds: int) -> None:
    """Write the out-of-fold predictions, each image once, with its fold in a column."""
    folders = [fold_folder(trial, fold) for fold in range(1, folds + 1)]
    parts = [RunFolder(folder).read_predictions("val") for folder in folders]
    tables = [part.table.drop(columns="predicted", errors="ignore") for part in parts]
    write_predictions(
        RunFolder(trial).predictions_file("val"),
        pd.concat(
            [with_fold(table, folder.name) for table, folder in zip(tables, folders, strict=True)],
            ignore_index=True,
        ).fillna(""),
        np.concatenate([part.probabilities for part in parts]),
        parts[0].classes,
    )
