"""Train once for each fold, or for each condition left out, and merge the test predictions.

Each fold is a run of its own, which `alloyk train` would make from the same configuration with
`data.fold` or `data.leave_out`; the folder above them is a run too, whose `predictions.csv`
holds every image once, predicted by a network that was not trained on it.
"""

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from alloyk.config import Config, write_config
from alloyk.data.held_out import held_out_parts
from alloyk.data.source import open_dataset
from alloyk.errors import AlloykError
from alloyk.evaluation import evaluate_run
from alloyk.files import whole_file
from alloyk.locks import is_empty, locked_folder
from alloyk.messages import shown
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.destination import refuse_in_data
from alloyk.runs.folder import RunFolder
from alloyk.runs.planned import NOT_PLANNED, Planned
from alloyk.runs.predictions import with_fold, write_predictions
from alloyk.runs.run_data import refuse_changed_data
from alloyk.training.identity import difference
from alloyk.training.release import networks_released
from alloyk.training.run import run_training

logger = logging.getLogger(__name__)


def cross_validate(
    config: Config,
    out: Path,
    *,
    folds: int = 5,
    leave_out: str | None = None,
    progress: Progress = NO_PROGRESS,
    planned: Planned = NOT_PLANNED,
) -> Path:
    """Cross-validate; an interrupted cross-validation is resumed.

    Args:
        config: The experiment; its `data.fold` and `data.leave_out` are set here.
        out: Folder of the cross-validation, with a folder for each training run in it.
        folds: Number of folds.
        leave_out: Column of the manifest of which each value is left out in turn, instead of folds.
        progress: Progress display, see `alloyk.progress`.
        planned: Settings of `config` that were chosen for the data set; they are recorded.

    Returns:
        `out`, now complete.

    Raises:
        AlloykError: The folder holds something else, or the data cannot be divided like that.
    """
    out = Path(out)
    refuse_in_data(out, config.data.path)
    parts = held_out_parts(config.data_settings(), folds, leave_out)
    configs = {name: _held_out(config, held_out) for name, held_out in parts.items()}
    for one in configs.values():  # every split must be possible before the first training starts
        open_dataset(one.data_settings())
    plan = {
        "folds": None if leave_out else folds,
        "leave_out": leave_out,
        "parts": {name: one["fold"] or one["leave_out"] for name, one in parts.items()},
        "config": config.model_dump(mode="json"),
        **({"planned": planned._asdict()} if planned.arch else {}),
    }
    if out.exists() and not out.is_dir():
        raise AlloykError(f"--out must be a folder, got {shown(out)}, a file; choose another")
    with locked_folder(out):
        _record_plan(out, plan, config)
        _refuse_mixed_data(out, configs)
        planned.write_text(RunFolder(out).plan_file)
        _train_each(out, plan, configs, progress)
        _write_out_of_fold(out, plan)
        evaluate_run(out)
    return out


def _refuse_mixed_data(out: Path, configs: dict[str, Config]) -> None:
    """Raise if the images are no longer those of a finished part."""
    for name, one in configs.items():
        part = RunFolder(out / name)
        if part.is_finished and part.split_record is not None:
            refuse_changed_data(part.path, open_dataset(one.data_settings()))


def _train_each(out: Path, plan: dict, configs: dict[str, Config], progress: Progress) -> None:
    """Train what is not finished yet, each part in its own folder."""
    for number, (name, one) in enumerate(configs.items(), start=1):
        run = out / name
        if RunFolder(run).is_finished:
            logger.info("%s (%d of %d): already finished", name, number, len(configs))
            continue
        held_out = plan["parts"][name]
        logger.info("%s (%d of %d): %s is held out", name, number, len(configs), held_out)
        with networks_released():
            run_training(one, run, resume=run.exists(), progress=progress)


def _held_out(config: Config, held_out: dict[str, str | None]) -> Config:
    data = config.data.model_copy(update=held_out)
    return config.model_copy(update={"data": data})


def _record_plan(out: Path, plan: dict, config: Config) -> None:
    """Record the cross-validation in `out`, or check that `out` holds the same one."""
    folder = RunFolder(out)
    file = folder.cross_validation_file
    if file.exists():
        differs = _difference(folder.cross_validation, plan)
        if differs:
            raise AlloykError(
                f"{shown(out)} holds another cross-validation, with {differs}; choose another "
                "--out, or give the settings that it was started with"
            )
    elif is_empty(out):
        folder.write_cross_validation(plan)
    else:
        raise AlloykError(
            f"--out must be a new or empty folder, got {shown(out)} with other files; choose "
            "another"
        )
    if not folder.config_file.exists():
        header = f"# Cross-validated; {file.name} lists what was held out.\n"
        with whole_file(folder.config_file) as unfinished:
            write_config(config, unfinished, header)


def _difference(recorded: dict, plan: dict) -> str | None:
    """What differs between a recorded cross-validation and a new one; None if nothing does."""
    for key in ("folds", "leave_out", "parts"):
        if recorded.get(key) != plan[key]:
            return f"{key} {recorded.get(key)}, not {plan[key]}"
    return difference(json.dumps(recorded.get("config")), json.dumps(plan["config"]))


def _write_out_of_fold(out: Path, plan: dict) -> None:
    """Write the out-of-fold predictions, and the facts that all training runs share."""
    folder = RunFolder(out)
    tables, probabilities, predicted, estimates, unlike = [], [], [], [], []
    for name in plan["parts"]:
        found = folder.part(name).predictions
        own = found.table.drop(columns=["split"], errors="ignore")
        tables.append(with_fold(own, name))
        probabilities.append(pd.DataFrame(found.probabilities, columns=list(found.classes)))
        predicted.append(own["predicted"])
        numbers = {column: found.estimates[column].predicted for column in found.estimates}
        estimates.append(pd.DataFrame(numbers))
        unlike.append(found.unlike)
    table = pd.concat(tables, ignore_index=True).fillna("")
    together = pd.concat(probabilities, ignore_index=True)
    classes = list(together.columns)
    estimated = pd.concat(estimates, ignore_index=True)
    known = [scores for scores in unlike if scores is not None]
    write_predictions(
        folder.predictions_file(),
        table.drop(columns="predicted"),
        together.to_numpy(),
        classes,
        predicted=pd.concat(predicted, ignore_index=True).tolist(),
        estimates={str(column): values.to_numpy() for column, values in estimated.items()},
        unlike=np.concatenate(known) if len(known) == len(unlike) else None,
    )
    facts = [folder.part(name).facts for name in plan["parts"]]
    folder.write_facts(
        replace(
            facts[0],
            images={},
            fingerprint=None,
            ceiling=None,
            notes=tuple(dict.fromkeys(note for one in facts for note in one.notes)),
            cross_validation={"folds": list(plan["parts"]), "held_out": plan["parts"]},
            evaluated=f"{plan['folds']}-fold cross-validation"
            if plan["folds"]
            else f"each {plan['leave_out']} left out in turn",
        )
    )
