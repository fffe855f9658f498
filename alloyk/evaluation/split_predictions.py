"""Predict a labelled split with a saved run, and evaluate the predictions."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.data import ImageDataset
from alloyk.errors import DataError, ModelError
from alloyk.evaluation.baselines import BASELINES
from alloyk.evaluation.evaluate import stale_files, write_evaluation
from alloyk.evaluation.text_report import OTHER_DATA
from alloyk.files import files_together
from alloyk.inference import Classifier, load
from alloyk.inference.backends import KerasBackend
from alloyk.inference.metadata import refuse_channels
from alloyk.messages import shown
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.destination import refuse_foreign_folder
from alloyk.runs.facts import UNKNOWN_GROUPING, Facts
from alloyk.runs.folder import RunFolder
from alloyk.runs.predictions import write_predictions
from alloyk.runs.run_data import (
    is_run_data,
    open_other_data,
    open_run_data,
    refuse_in_run_data,
    training_image_notes,
)
from alloyk.targets import task_notes

if TYPE_CHECKING:
    import pandas as pd

ALL = "all"


@dataclass(frozen=True, eq=False)
class _Images:
    """The images of an evaluation.

    Attributes:
        dataset: The data set that they belong to.
        table: Its rows to be evaluated.
        own: Whether it is the data set that the run was trained on.
    """

    dataset: ImageDataset
    table: "pd.DataFrame"
    own: bool


def evaluate_split(
    run: str | Path,
    *,
    data: str | Path | None = None,
    split: str = "test",
    out: str | Path | None = None,
    baselines: Sequence[str] = (),
    progress: Progress = NO_PROGRESS,
) -> Path:
    """Predict one split of a data set from its raw images, write and evaluate the predictions.

    Args:
        run: Run folder.
        data: Data set to use instead of the one that the run was trained on.
        split: `train`, `val`, `test` or `all`.
        out: Folder to write to; by default as `RunFolder.evaluation_folder`.
        baselines: Names in `alloyk.evaluation.baselines.BASELINES`, fitted and evaluated beside
            the run.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        The folder written to.

    Raises:
        AlloykError: The run has no model, the data set has no such split or has a class that the
            run lacks, an image cannot be read, or `out` holds files of another run
            or the evaluation of another data set.
    """
    folder = RunFolder(run)
    folder.require_model()  # before its images are searched for
    own = data is None or (split != ALL and is_run_data(folder.path, data))
    target = RunFolder(out or folder.evaluation_folder(split, data))
    refuse_foreign_folder(target.path, folder.path, own_test=own and split == "test")
    if out:
        refuse_in_run_data(target.path, folder.path, data)
    images = _open_images(folder, data, split, own)
    if target.path.resolve() != folder.path.resolve():
        _refuse_other_images(target, images)
    trained_on = _trained_on(folder, images, data) if baselines else None
    with files_together(target.path, stale_files()) as unfinished:  # which locks the folder
        classifier = load(folder.path)
        _refuse_unknown_classes(folder, images, classifier)
        preprocessing = _preprocessing(classifier) if baselines else None
        paths = [images.dataset.root / path for path in images.table["path"]]
        stream = classifier.stream(paths, progress=progress)
        found = stream.all()
        facts = _facts_of(folder, images)
        facts = replace(facts, notes=(*facts.notes, *stream.counts.count_notes()))
        written = RunFolder(unfinished)
        write_predictions(
            written.predictions_file(split), images.table, found.probabilities,
            classifier.classes, estimates=found.estimates, unlike=found.unlike,
        )  # fmt: skip
        _keep_baselines(target, written, split)
        if trained_on is not None:
            from alloyk.evaluation.baselines.fit import fit_baselines

            fit_baselines(
                baselines, preprocessing, trained_on, images.dataset, images.table, written, split
            )
        if target.path.resolve() == folder.path.resolve():
            written.write_facts(facts)  # for another evaluation from the predictions alone
        write_evaluation(folder, written, split, facts, target=target)
    return target.path


def _open_images(folder: RunFolder, data: str | Path | None, split: str, own: bool) -> _Images:
    """The images to evaluate, none of them used for training unless all are evaluated."""
    if own or data is None:
        dataset = open_run_data(folder.path, data, split=split)
    else:
        dataset = open_other_data(folder.path, data, whole=split == ALL)
    if own:
        with suppress(DataError):  # without the column of a task the alloy is evaluated alone
            notes = task_notes(folder.settings.tasks, dataset.table)
            dataset = replace(dataset, notes=(*dataset.notes, *notes))
    table = dataset.table if split == ALL else dataset.split(split)
    if table.empty:
        raise DataError(f"{shown(dataset.root)} has no images in {split}; choose another --split")
    seen = (
        []
        if own and split != ALL
        else training_image_notes(folder.path, dataset, list(table["path"]))
    )
    if seen and split == "test":
        raise DataError(
            f"--data must have no image that {shown(folder.path)} was trained on, got "
            f"{shown(data or dataset.root)}: {seen[0]} Remove these images, or evaluate all of "
            "them as they are with --split all"
        )
    return _Images(replace(dataset, notes=(*dataset.notes, *seen)), table, own)


def _trained_on(folder: RunFolder, images: _Images, data: str | Path | None) -> ImageDataset:
    """The run's own data set, on which baselines are fitted, where it is now."""
    if images.own or data is None:
        return images.dataset
    moved = is_run_data(folder.path, data)  # and all of its images are evaluated
    return open_run_data(folder.path, data if moved else None, split=None)


def _refuse_other_images(target: RunFolder, images: _Images) -> None:
    """Raise if a folder holds the evaluation of another data set, which would be replaced."""
    earlier, root = target.facts, images.dataset.root
    if earlier.data_root is None or earlier.data_root.resolve() == root.resolve():
        return
    if images.own and earlier.grouped_by != OTHER_DATA:
        return  # the run's own data set was moved
    raise DataError(
        f"{shown(target.path)} holds the evaluation of other images, those in "
        f"{shown(earlier.data_root)}, not in {shown(root)}; choose another --out, or delete it"
    )


def _refuse_unknown_classes(folder: RunFolder, images: _Images, classifier: Classifier) -> None:
    unknown = sorted(set(images.table["label"]) - set(classifier.classes))
    if unknown:
        raise DataError(
            f"every image must be of a class of {shown(folder.path)} "
            f"({', '.join(classifier.classes)}), but {shown(images.dataset.root)} has images of "
            f"{unknown[0]!r}; remove them"
        )


def _facts_of(folder: RunFolder, images: _Images) -> Facts:
    """The run's facts, with the data set's own where the two differ."""
    facts, dataset = folder.facts, images.dataset
    grouped_by: str | None = OTHER_DATA
    if images.own:  # a column that was added later is not what the split was grouped by
        recorded = facts.grouped_by
        grouped_by = dataset.grouped_by if recorded == UNKNOWN_GROUPING else recorded
    return replace(
        facts,
        grouped_by=grouped_by,
        simulated=dataset.simulated,
        data_root=dataset.root.absolute(),
        notes=dataset.notes,
        ceiling=None,
    )


def _keep_baselines(target: RunFolder, written: RunFolder, split: str) -> None:
    """Keep the baselines of an earlier evaluation."""
    for name in BASELINES:
        earlier = target.baseline_file(name, split)
        if earlier.is_file():
            shutil.copy(earlier, written.path)


def _preprocessing(classifier: Classifier) -> Any:
    """The layers of a saved model from a raw image to what its network sees."""
    refuse_channels(
        classifier.metadata, classifier.path, "a baseline",
        "evaluate the baseline of a model of one of its channels",
    )  # fmt: skip
    backend = classifier.backend
    layers = backend.model.layers if isinstance(backend, KerasBackend) else []
    if [layer.name for layer in layers[:1]] != ["preprocessing"]:
        raise ModelError(
            f"a baseline needs a run with one preprocessing, but {shown(classifier.path)} is a "
            "vote; evaluate one of its members"
        )
    return layers[0]
