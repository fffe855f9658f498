"""Classify a labelled split with a saved run, and evaluate what it said."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from alloyk.config import resolve_config
from alloyk.data import ImageDataset
from alloyk.errors import AlloykError
from alloyk.evaluation.baselines import CONTROLS, control_file
from alloyk.evaluation.ceiling import dataset_ceiling
from alloyk.evaluation.evaluate import (
    STALE,
    default_folder,
    evaluate_run,
    predictions_file,
    read_json,
)
from alloyk.evaluation.text_report import OTHER_DATA
from alloyk.files import files_together
from alloyk.imaging import shown
from alloyk.inference import load
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.folder import run_model
from alloyk.runs.predictions import write_predictions
from alloyk.runs.split_record import (
    is_run_data,
    open_other_data,
    open_run_data,
    seen_notes,
)

ALL = "all"


def evaluate_split(
    run,
    *,
    data=None,
    split: str = "test",
    out=None,
    controls: Sequence[str] = (),
    progress: Progress = NO_PROGRESS,
) -> Path:
    """Predict one split of a data set from its raw images, write and evaluate the predictions.

    Args:
        run: Run folder.
        data: Data set to take instead of the one that the run was trained on.
        split: ``train``, ``val``, ``test`` or ``all``.
        out: Folder to write to; by default the run itself for its own test split, a folder
            ``evaluation_<split>`` or ``evaluation_<data>_<split>`` in it for anything else.
        controls: Names in `alloyk.evaluation.baselines.CONTROLS`, fitted and evaluated beside the
            run.
        progress: Shows how far it is, see `alloyk.progress`.

    Returns:
        The folder written to.

    Raises:
        AlloykError: No run, no such split, a class that the run does not know, or a bad image.
    """
    run = Path(run)
    run_model(run)  # before its images are looked for
    own = data is None or (split != ALL and is_run_data(run, data))
    dataset = (
        open_run_data(run, data, split=split)
        if own
        else open_other_data(run, data, whole=split == ALL)
    )
    table = dataset.table if split == ALL else dataset.split(split)
    if table.empty:
        raise AlloykError(f"{dataset.root} has no images in {split}: choose another --split")
    classifier = load(run)
    unknown = sorted(set(table["label"]) - set(classifier.classes))
    if unknown:
        raise AlloykError(
            f"{dataset.root} has images of {unknown[0]!r}, but {run} knows "
            f"{', '.join(classifier.classes)} only: leave them out"
        )
    seen = [] if own and split != ALL else seen_notes(run, dataset, table["path"])
    if seen and split == "test":
        raise AlloykError(
            f"{shown(data)} is no test of {shown(run)}: {seen[0]} Leave these images out, or take "
            "--split all for all of them as they are"
        )
    dataset = replace(dataset, notes=(*dataset.notes, *seen))
    if out is None:
        out = default_folder(run, split)
        if data:
            out = run / f"evaluation_{Path(data).absolute().stem}_{split}"
    paths = [dataset.root / path for path in table["path"]]
    found = classifier.predict(paths, progress=progress)
    facts = facts_of(run, dataset, table["label"])
    if own:  # a column that came later is not what the split went by
        facts["grouped_by"] = read_json(run / "facts.json").get("grouped_by", dataset.grouped_by)
    else:
        facts["grouped_by"] = OTHER_DATA
    with files_together(Path(out), STALE) as unfinished:
        write_predictions(
            unfinished / predictions_file(split), table, found.probabilities, classifier.classes,
            estimates=found.estimates,
        )  # fmt: skip
        for name in CONTROLS:  # those of an earlier evaluation stay
            earlier = Path(out) / control_file(name, split)
            if earlier.is_file():
                shutil.copy(earlier, unfinished)
        if controls:
            from alloyk.evaluation.baselines.fit import judge

            config = resolve_config(run / "config.yaml")
            trained_on = open_run_data(run, split=None) if data else dataset
            judge(controls, config, trained_on, dataset, table, unfinished, split)
        # For another evaluation from the predictions file alone.
        text = json.dumps(facts, indent=1, ensure_ascii=False)
        (unfinished / "facts.json").write_text(text, encoding="utf-8")
        evaluate_run(run, out=unfinished, split=split, facts=facts)
    return Path(out)


def facts_of(run: Path, dataset: ImageDataset, labels) -> dict:
    """The run's facts with the data set's own where the two differ.

    Args:
        run: Run folder.
        dataset: The data set.
        labels: Of the images evaluated.
    """
    facts = read_json(run / "facts.json")
    own = {
        "grouped_by": dataset.grouped_by,
        "simulated": dataset.simulated,
        "data_root": str(dataset.root.absolute()),
        "notes": list(dataset.notes),
        "ceiling": dataset_ceiling(dataset, labels),
    }
    return {**facts, **own}
