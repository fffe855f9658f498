"""Finished runs side by side: read, named apart, and on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from alloyk.errors import AlloykError
from alloyk.evaluation import predictions_file, read_json
from alloyk.files import few
from alloyk.imaging import shown
from alloyk.runs.folder import ENSEMBLE_FILE
from alloyk.runs.predictions import KEY_COLUMNS, Predictions, read_predictions
from alloyk.runs.split_record import read_split_file

# Columns that say how a run was made, not which images it saw.
OWN_COLUMNS = {*KEY_COLUMNS, "split", "fold"}


@dataclass(frozen=True, eq=False)
class Run:
    """What the files of a run say.

    Attributes:
        path: Its folder.
        name: What it is called beside the others.
        predictions: Of the split that is looked at.
        facts: Of ``facts.json``; empty where there is none.
        config: Of ``config.yaml``, as plain dictionaries.
        ensemble: Of ``ensemble.yaml``; None where the run is no vote.
    """

    path: Path
    name: str
    predictions: Predictions
    facts: dict
    config: dict
    ensemble: dict | None

    @property
    def right(self) -> np.ndarray:
        """`(n,)` bool: whether each image was decided rightly."""
        return self.predictions.y_true == self.predictions.y_pred


def read_runs(paths: Sequence[Path], split: str = "test") -> list[Run]:
    """Read runs, and bring their images into the first one's order.

    Raises:
        AlloykError: Fewer than two runs, one twice, files missing or wrong, or runs that have
            other classes or were evaluated on other images; the message names both and says which.
    """
    paths = [Path(path) for path in paths]
    if len(paths) < 2:
        raise AlloykError(f"wanted two runs or more, found {len(paths)}")
    real = [path.resolve() for path in paths]
    for number, path in enumerate(real):
        if path in real[:number]:
            raise AlloykError(f"the run {shown(paths[number])} is given twice: leave one out")
    runs = [read_run(path, split) for path in paths]
    names = _names_apart(real)
    runs = [replace(run, name=name) for run, name in zip(runs, names, strict=True)]
    return [runs[0], *(_aligned(runs[0], run, split) for run in runs[1:])]


def read_run(path: Path, split: str = "test") -> Run:
    """Read one run; see `read_runs`."""
    if not path.is_dir():
        raise AlloykError(f"wanted a run folder, found no folder {shown(path)}: check the path")
    return Run(
        path=path,
        name=path.name,
        predictions=read_predictions(path / predictions_file(split)),
        facts=read_json(path / "facts.json"),
        config=_read_yaml(path / "config.yaml") or {},
        ensemble=read_ensemble(path),
    )


def read_ensemble(run: Path) -> dict | None:
    """Who votes in a run, and how: ``vote``, ``members`` and more; None where it is no vote.

    Raises:
        AlloykError: Its ``ensemble.yaml`` cannot be read, or does not say that.
    """
    file = run / ENSEMBLE_FILE
    found = _read_yaml(file)
    if found is None:
        return None
    members = found.get("members")
    named = isinstance(members, list) and all(isinstance(m, dict) and "run" in m for m in members)
    if "vote" not in found or not named:
        raise AlloykError(
            f"{shown(file)} is damaged: wanted `vote`, and `members` with a `run` each; restore "
            "it, or let the runs vote again by `alloyk ensemble`"
        )
    return found


def _read_yaml(path: Path) -> dict | None:
    # Read as plain YAML: a configuration that this version no longer takes can be compared.
    if not path.exists():
        return None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise AlloykError(f"cannot read {shown(path)}: {why}; restore it") from error
    return content if isinstance(content, dict) else {}


def _names_apart(paths: list[Path]) -> list[str]:
    """The last parts of the paths, as many as tell them apart.

    >>> _names_apart([Path("/a/x/cnn"), Path("/a/y/cnn")])
    ['x/cnn', 'y/cnn']
    """
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _aligned(first: Run, other: Run, split: str) -> Run:
    """`other` with its images in the order of `first`."""
    if set(other.predictions.classes) != set(first.predictions.classes):
        raise AlloykError(
            f"{first.name} has the classes {', '.join(first.predictions.classes)}, {other.name} "
            f"has {', '.join(other.predictions.classes)}: runs on the same classes are wanted"
        )
    both = f"the {split} images of {other.name} are not those of {first.name}"
    mend = f"evaluate both on the same {split} images"
    wanted, found = first.predictions.table["path"], other.predictions.table["path"]
    place = {path: row for row, path in enumerate(found)}
    missing = [path for path in wanted if path not in place]
    further = sorted(set(place) - set(wanted))
    if missing or further:
        lacks = [f"it lacks {len(missing)} ({few(missing)})"] if missing else []
        has = [f"it has {len(further)} others ({few(further)})"] if further else []
        raise AlloykError(f"{both}: {' and '.join(lacks + has)}; {mend}")
    predictions = other.predictions.select(np.array([place[path] for path in wanted]))
    predictions = _with_classes(predictions, first.predictions.classes)
    for column in first.predictions.table:
        if column == "label" or (column in predictions.table and column not in OWN_COLUMNS):
            ours, theirs = first.predictions.table[column], predictions.table[column]
            differ = wanted[(ours != theirs).to_numpy()]
            if len(differ):
                raise AlloykError(
                    f"{both}: {len(differ)} of equal names have another {column} "
                    f"({few(differ)}); {mend}"
                )
    _refuse_other_files(first, other, list(wanted), f"{both}: ", mend)
    return replace(other, predictions=predictions)


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


def _refuse_other_files(first: Run, other: Run, names: list[str], both: str, mend: str) -> None:
    """Compare the images themselves, by what the runs kept of them."""
    kept = [read_split_file(run.path) for run in (first, other)]
    if any(table is None for table in kept):
        return
    ours, theirs = (table["sha256"].reindex(names).fillna("") for table in kept)
    differ = ours.index[(ours != theirs) & (ours != "") & (theirs != "")]
    if len(differ):
        raise AlloykError(
            f"{both}{len(differ)} of equal names had another content when {other.name} was "
            f"trained than when {first.name} was ({few(differ)}); {mend}"
        )
