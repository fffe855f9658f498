"""Combine finished runs into one that votes: a run like any other, without a training history."""

import logging
from collections.abc import Sequence
from importlib import metadata as installed
from pathlib import Path

import numpy as np

from alloyk import __version__
from alloyk.comparison.runs import Run, read_runs
from alloyk.errors import AlloykError, ConfigError, ModelError
from alloyk.evaluation import evaluate_run
from alloyk.evaluation.ceiling import recorded_ceiling
from alloyk.files import unfinished_path
from alloyk.messages import shown
from alloyk.runs.destination import refuse_other_run
from alloyk.runs.ensemble import Ensemble, Member
from alloyk.runs.facts import Facts
from alloyk.runs.folder import RunFolder
from alloyk.runs.predictions import write_predictions
from alloyk.runs.run_data import refuse_in_run_data
from alloyk.runs.split_record import write_merged_record
from alloyk.targets import shared_columns
from alloyk.voting.voting import hard_vote, hard_weights, soft_vote, soft_weights

logger = logging.getLogger(__name__)

VOTES = ("soft", "hard")
WEIGHTS = ("equal", "validation")


def ensemble_runs(
    paths: Sequence[Path],
    vote: str,
    out: Path,
    *,
    weighting: str = "equal",
) -> Path:
    """Combine the predictions of runs on their test and validation images, and evaluate them.

    Soft voting takes the mean of the members' probabilities, and `model.keras` holds the members
    and that mean. Hard voting counts predicted classes: its `p_` columns are shares of the
    votes, and ties are broken by the mean probability.

    Args:
        paths: Run folders, two or more, evaluated on the same test images.
        vote: `soft` or `hard`.
        out: Folder of the new run: absent or empty.
        weighting: `equal`; or `validation`: for a soft vote the weights with the least log loss on
            the validation images, which must then be the same for all members, for a hard vote
            those of SAMME by the members' accuracy there.

    Returns:
        `out`, now a complete run.

    Raises:
        AlloykError: As `alloyk.comparison.runs.read_runs`; or `out` is not empty, or lies in a
            run or in the data set of a member, or a member of a soft vote has no model.
    """
    out = Path(out)
    _refuse_used_folder(out, paths)
    runs = read_runs(paths)
    validation = _validation(paths, weighting)
    if vote == "soft":
        _refuse_without_models(runs)
    if weighting == "validation":
        weights = _weights(validation, vote)
    else:
        weights = np.full(len(runs), 1 / len(runs))
    for run, weight in zip(runs, weights, strict=True):
        logger.info("%s: weight %.4f", run.name, weight)

    with unfinished_path(out) as unfinished:
        unfinished.mkdir()
        written = RunFolder(unfinished)
        if vote == "soft":
            logger.info("combining the members into one model")
            from alloyk.voting.soft_voting import save_soft_vote

            models = [run.folder.model_file for run in runs]
            save_soft_vote(models, weights, written.model_file)
        for split, members in (("val", validation), ("test", runs)):
            if members:
                _write_votes(written.predictions_file(split), members, vote, weights)
        written.write_ensemble(_ensemble(runs, vote, weighting, weights))
        _write_settings(written, runs[0])
        records = [run.folder.split_record for run in runs]
        known = [record for record in records if record is not None]
        if known:
            write_merged_record(written.split_file, known)
        unknown = [run for run, one in zip(runs, records, strict=True) if known and one is None]
        written.write_facts(_facts(runs, _notes(runs, unknown)))
        evaluate_run(unfinished)
    return out


def _validation(paths: Sequence[Path], weighting: str) -> list[Run]:
    """The members with their validation predictions; empty where these cannot be combined."""
    files = [RunFolder(path).predictions_file("val") for path in paths]
    missing = [file for file in files if not file.is_file()]
    if missing and weighting == "validation":
        raise ModelError(
            "--weights validation needs the predictions that every member made of its validation "
            f"images in training, but {shown(missing[0])} is missing; use --weights equal"
        )
    if missing:
        logger.info("predictions_val.csv is not written: %s is missing", shown(missing[0]))
        return []
    try:
        return read_runs(paths, split="val")
    except AlloykError as error:
        if weighting == "validation":
            raise
        logger.info("predictions_val.csv is not written: %s", error)
        return []


def _refuse_used_folder(out: Path, members: Sequence[Path]) -> None:
    """Raise if `out` has files, or is in a run or in the data set of a member."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(
            f"--out must be a new or empty folder, got {shown(out)}; choose another --out"
        )
    refuse_other_run(out)
    for member in members:
        refuse_in_run_data(out, member)


def _refuse_without_models(runs: Sequence[Run]) -> None:
    missing = [run.folder.model_file for run in runs if not run.folder.model_file.is_file()]
    if missing:
        raise ModelError(
            f"soft voting needs the model of every member, but {shown(missing[0])} is missing; "
            "remove that run, or use --vote hard"
        )


def _stack(members: Sequence[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `(members, n, k)` and decisions `(members, n)`."""
    return (
        np.stack([run.predictions.probabilities for run in members]),
        np.stack([run.predictions.y_pred for run in members]),
    )


def _weights(validation: Sequence[Run], vote: str) -> np.ndarray:
    probabilities, decisions = _stack(validation)
    y_true = validation[0].predictions.y_true
    if vote == "soft":
        return soft_weights(probabilities, y_true)
    return hard_weights(decisions, y_true, probabilities.shape[2])


def _write_votes(path: Path, members: Sequence[Run], vote: str, weights: np.ndarray) -> None:
    probabilities, decisions = _stack(members)
    if vote == "soft":
        voted, decided = soft_vote(probabilities, weights), None
    else:
        voted, decided = hard_vote(decisions, probabilities, weights)
    first = members[0].predictions
    write_predictions(
        path,
        first.table.drop(columns="predicted"),
        voted,
        first.classes,
        predicted=None if decided is None else [first.classes[index] for index in decided],
        estimates={
            column: weights @ [run.predictions.estimates[column].predicted for run in members]
            for column in shared_columns([list(run.predictions.estimates) for run in members])
        },
    )


def _ensemble(runs: Sequence[Run], vote: str, weighting: str, weights: np.ndarray) -> Ensemble:
    members = tuple(
        Member(run.name, run.path.absolute(), round(float(weight), 6))
        for run, weight in zip(runs, weights, strict=True)
    )
    return Ensemble(vote=vote, members=members, weights=weighting)


def _write_settings(written: RunFolder, first: Run) -> None:
    """The images that the vote is evaluated on; there is nothing to train."""
    data = first.settings.section("data")
    written.write_settings(
        {"data": dict(data)} if data else {},
        f"A voted classifier, see {written.ensemble_file.name}. `data` is the evaluated data set.",
    )


def _notes(runs: Sequence[Run], unknown: Sequence[Run]) -> tuple[str, ...]:
    """The members' notes, and which of them do not record their training images."""
    notes = [note for run in runs for note in run.facts.notes]
    for run in unknown:
        notes.append(
            f"{run.name} has no {run.folder.split_file.name}: which images it was trained on "
            "cannot be verified."
        )
    return tuple(dict.fromkeys(notes))


def _facts(runs: Sequence[Run], notes: tuple[str, ...]) -> Facts:
    first = runs[0].facts
    parameters = [run.facts.parameters for run in runs]
    known = [count for count in parameters if count is not None]
    return Facts(
        alloyk=__version__,
        classes=runs[0].predictions.classes,
        simulated=first.simulated,
        data_root=first.data_root,
        grouped_by=first.grouped_by,
        channels=first.channels,
        notes=notes,
        ceiling=recorded_ceiling(runs[0].folder),
        images=first.images,
        fingerprint=first.fingerprint,
        parameters=sum(known) if len(known) == len(parameters) else None,
        packages={name: installed.version(name) for name in ("numpy", "scikit-learn")},
    )
