"""A voted classifier from finished runs: a run like any other, without a history."""

import json
import shutil
from collections.abc import Callable, Sequence
from importlib import metadata as installed
from pathlib import Path

import numpy as np
import yaml

from alloyk import __version__
from alloyk.comparison.runs import Run, read_runs
from alloyk.ensemble.voting import hard_vote, hard_weights, soft_vote, soft_weights
from alloyk.errors import AlloykError
from alloyk.evaluation import evaluate_run, predictions_file
from alloyk.files import unfinished_path, whole_file
from alloyk.imaging import shown
from alloyk.runs.folder import ENSEMBLE_FILE, RUN_MODEL
from alloyk.runs.predictions import write_predictions
from alloyk.runs.split_record import SPLIT_FILE
from alloyk.targets import shared_columns

VOTES = ("soft", "hard")
WEIGHTS = ("equal", "validation")


def ensemble_runs(
    paths: Sequence[Path],
    vote: str,
    out: Path,
    *,
    weights: str = "equal",
    say: Callable[[str], None] = lambda message: None,
) -> Path:
    """Let runs vote on their test and validation images, and evaluate what they voted.

    Soft voting takes the mean of the members' probabilities, and ``model.keras`` holds the members
    under that mean. Hard voting counts decisions: its ``p_`` columns are shares of the votes, and
    equal votes are settled by the mean probability.

    Args:
        paths: Run folders, two or more, evaluated on the same test images.
        vote: ``soft`` or ``hard``.
        out: Folder of the new run: absent or empty.
        weights: ``equal``; ``validation`` takes those that are best on the validation images,
            which must then be the same for all members.
        say: Called with what is being done.

    Returns:
        `out`, now a complete run.

    Raises:
        AlloykError: As `alloyk.comparison.runs.read_runs`; or `out` is not empty, or a member's
            model is gone.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AlloykError(f"{shown(out)} is not empty: choose another --out")
    runs = read_runs(paths)
    validation = _validation(paths, runs, weights, say)
    if vote == "soft":
        _refuse_without_models(runs)
    shares = _weights(validation, vote) if weights == "validation" else None
    shares = np.full(len(runs), 1 / len(runs)) if shares is None else shares
    for run, share in zip(runs, shares, strict=True):
        say(f"{run.name}: weight {share:.4f}")

    with unfinished_path(out) as unfinished:
        unfinished.mkdir()
        if vote == "soft":
            say("putting the members into one model")
            from alloyk.ensemble.soft_voting import save_soft_vote

            save_soft_vote([run.path / RUN_MODEL for run in runs], shares, unfinished / RUN_MODEL)
        for split, members in (("val", validation), ("test", runs)):
            if members:
                _write_votes(unfinished / predictions_file(split), members, vote, shares)
        _write_text(unfinished / ENSEMBLE_FILE, _described(runs, vote, weights, shares))
        _write_text(unfinished / "config.yaml", _config(runs[0]))
        if (runs[0].path / SPLIT_FILE).exists():
            shutil.copy(runs[0].path / SPLIT_FILE, unfinished)
        facts = json.dumps(_facts(runs), indent=1, ensure_ascii=False)
        _write_text(unfinished / "facts.json", facts)
        evaluate_run(unfinished)
    return out


def _validation(paths, runs: Sequence[Run], weights: str, say) -> list[Run]:
    """The members' validation predictions; empty where they cannot be put together."""
    try:
        return read_runs(paths, split="val")
    except AlloykError as error:
        if weights == "validation":
            raise
        say(f"no predictions_val.csv of the vote: {error}")
        return []


def _refuse_without_models(runs: Sequence[Run]) -> None:
    gone = [run.path for run in runs if not (run.path / RUN_MODEL).is_file()]
    if gone:
        raise AlloykError(
            f"soft voting puts the members' models into one, but {shown(gone[0])} has no "
            f"{RUN_MODEL}: leave it out, or use --vote hard"
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


def _described(runs: Sequence[Run], vote: str, weights: str, shares: np.ndarray) -> str:
    members = [
        {"run": run.name, "path": str(run.path.absolute()), "weight": round(float(share), 6)}
        for run, share in zip(runs, shares, strict=True)
    ]
    content = {"vote": vote, "weights": weights, "members": members}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _config(first: Run) -> str:
    """The images that the vote is evaluated on; there is nothing to train."""
    kept = {key: first.config[key] for key in ("data",) if key in first.config}
    return (
        f"# A voted classifier: {ENSEMBLE_FILE} says how. Below, the images it is evaluated on.\n"
        + yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
    )


def _facts(runs: Sequence[Run]) -> dict:
    first = runs[0].facts
    parameters = [run.facts.get("parameters") for run in runs]
    notes = [note for run in runs for note in run.facts.get("notes", [])]
    kept = ("simulated", "ceiling", "data_root", "grouped_by", "images", "fingerprint")
    return {
        "alloyk": __version__,
        "classes": list(runs[0].predictions.classes),
        **{name: first[name] for name in kept if name in first},
        "notes": list(dict.fromkeys(notes)),
        "parameters": None if None in parameters else sum(parameters),
        "packages": {name: installed.version(name) for name in ("numpy", "scikit-learn")},
    }


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
