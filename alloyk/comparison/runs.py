"""Read the finished runs of a comparison, give them distinct names, and align their images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alloyk.data import PLATE
from alloyk.errors import ConfigError, ModelError
from alloyk.messages import few, shown
from alloyk.runs.ensemble import Ensemble
from alloyk.runs.facts import Facts
from alloyk.runs.folder import RunFolder
from alloyk.runs.history import History
from alloyk.runs.predictions import KEY_COLUMNS, Predictions
from alloyk.runs.settings import RunSettings

if TYPE_CHECKING:
    import pandas as pd

# Columns that are compared separately (path, label), or that describe the run, not its images.
OWN_COLUMNS = {*KEY_COLUMNS, "split", "fold"}


@dataclass(frozen=True, eq=False)
class Run:
    """A run of a comparison, its files read once.

    Attributes:
        folder: Its folder.
        name: Its name, distinct among the compared runs.
        predictions: Predictions for the compared split.
        facts: Its facts.
        settings: Its configuration.
        ensemble: Its members; None if the run is not an ensemble.
    """

    folder: RunFolder
    name: str
    predictions: Predictions
    facts: Facts
    settings: RunSettings
    ensemble: Ensemble | None

    @property
    def path(self) -> Path:
        """Its folder as a path."""
        return self.folder.path

    @property
    def history(self) -> History | None:
        """The history of its training."""
        return self.folder.history

    @property
    def right(self) -> np.ndarray:
        """`(n,)` bool: whether each image was classified correctly."""
        return self.predictions.y_true == self.predictions.y_pred


def read_runs(paths: Sequence[Path], split: str = "test") -> list[Run]:
    """Read runs, with their images in the order of the first.

    The plates of the images are those of the first run that has them, for all runs.

    Args:
        paths: Run folders, two or more.
        split: The split to compare.

    Raises:
        AlloykError: There are fewer than two runs, one is given twice, files are missing or
            damaged, or the runs have different classes or were evaluated on different images.
    """
    paths = [Path(path) for path in paths]
    if len(paths) < 2:
        raise ConfigError(f"the number of runs must be 2 or more, got {len(paths)}")
    real = [path.resolve() for path in paths]
    for number, path in enumerate(real):
        if path in real[:number]:
            raise ConfigError(
                f"each run must be given once, got {shown(paths[number])} twice; remove one"
            )
    runs = [read_run(path, split) for path in paths]
    names = _distinct_names(real)
    runs = [replace(run, name=name) for run, name in zip(runs, names, strict=True)]
    first, *others = runs
    with_plates = next((run for run in runs if PLATE in run.predictions.table), first)
    if with_plates is not first:
        plates = _aligned(first, with_plates, split).predictions.table[PLATE]
        first = replace(first, predictions=_with_plates(first.predictions, plates))
    return [first, *(_aligned(first, run, split) for run in others)]


def read_run(path: Path, split: str = "test") -> Run:
    """Read one run; see `read_runs`."""
    if not path.is_dir():
        raise ModelError(f"every run must be a folder, got {shown(path)}; check the path")
    folder = RunFolder(path)
    return Run(
        folder=folder,
        name=path.name,
        predictions=folder.read_predictions(split),
        facts=folder.facts,
        settings=folder.settings,
        ensemble=folder.ensemble,
    )


def _distinct_names(paths: list[Path]) -> list[str]:
    """Return the last parts of the paths, as many as make the names distinct.

    >>> _distinct_names([Path("/a/x/cnn"), Path("/a/y/cnn")])
    ['x/cnn', 'y/cnn']
    """
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _aligned(first: Run, other: Run, split: str) -> Run:
    """`other` with its images in the order of `first`, and with its plates."""
    if set(other.predictions.classes) != set(first.predictions.classes):
        raise ModelError(
            f"all runs must have the same classes, but {first.name} has "
            f"{', '.join(first.predictions.classes)} and {other.name} has "
            f"{', '.join(other.predictions.classes)}"
        )
    both = f"all runs must have the same {split} images, but those of {other.name} differ from "
    both += f"those of {first.name}"
    remedy = f"evaluate both on the same {split} images"
    needed, found = first.predictions.table["path"], other.predictions.table["path"]
    place = {path: row for row, path in enumerate(found)}
    missing = [path for path in needed if path not in place]
    further = sorted(set(place) - set(needed))
    if missing or further:
        lacks = [f"lacks {len(missing)} ({few(missing)})"] if missing else []
        has = [f"has {len(further)} more ({few(further)})"] if further else []
        raise ModelError(f"{both}: {other.name} {' and '.join(lacks + has)}; {remedy}")
    predictions = other.predictions.select(np.array([place[path] for path in needed]))
    predictions = _with_classes(predictions, first.predictions.classes)
    for column in first.predictions.table:
        if column == "label" or (column in predictions.table and column not in OWN_COLUMNS):
            ours, theirs = first.predictions.table[column], predictions.table[column]
            differ = needed[(ours != theirs).to_numpy()]
            if len(differ):
                raise ModelError(
                    f"{both}: images with the same path but a different {column}: {len(differ)} "
                    f"({few(differ)}); {remedy}"
                )
    _refuse_other_files(first, other, list(needed), f"{both}: ", remedy)
    if PLATE in first.predictions.table:
        predictions = _with_plates(predictions, first.predictions.table[PLATE])
    return replace(other, predictions=predictions)


def _with_plates(predictions: Predictions, plates: "pd.Series[str]") -> Predictions:
    return replace(predictions, table=predictions.table.assign(**{PLATE: plates}))


def _with_classes(predictions: Predictions, classes: tuple[str, ...]) -> Predictions:
    """The same predictions with the classes in another order."""
    if predictions.classes == classes:
        return predictions
    new = np.array([classes.index(label) for label in predictions.classes])
    return replace(
        predictions,
        classes=classes,
        y_true=new[predictions.y_true],
        y_pred=new[predictions.y_pred],
        probabilities=predictions.probabilities[:, np.argsort(new)],
    )


def _refuse_other_files(first: Run, other: Run, names: list[str], both: str, remedy: str) -> None:
    """Compare the content of the images, as the runs recorded it."""
    records = [run.folder.split_record for run in (first, other)]
    ours, theirs = (
        None if one is None else one.table["sha256"].reindex(names).fillna("") for one in records
    )
    if ours is None or theirs is None:
        return
    differ = ours.index[(ours != theirs) & (ours != "") & (theirs != "")]
    if len(differ):
        raise ModelError(
            f"{both}images with the same path but different content when {other.name} was "
            f"trained: {len(differ)} ({few(differ)}); {remedy}"
        )
