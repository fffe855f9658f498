"""Runs side by side on the same test images: figures, paired tests, seeds.

Classification figures come from each run's ``predictions.csv``, training figures from its
``history.csv``, as in the evaluation of one run.
"""

import copy
import json
import os
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from alloyk.comparison.runs import Run, read_runs
from alloyk.errors import AlloykError
from alloyk.imaging import read_image
from alloyk.inference.latency import single_thread_latency
from alloyk.metrics import classification_metrics, regression_metrics
from alloyk.metrics.intervals import RESAMPLES, confidence_intervals
from alloyk.metrics.regression import FIGURES as ERRORS
from alloyk.metrics.significance import accuracy_difference, holm, mcnemar, welch
from alloyk.runs.folder import RUN_MODEL
from alloyk.runs.history import read_history, training_metrics
from alloyk.runs.predictions import Predictions

# What differs between trainings of one experiment.
SEED_KEYS = (("seed",), ("train", "devices"), ("train", "tensorboard"), ("data", "cache"))


def compare_runs(
    paths: Sequence[Path],
    *,
    timing: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
    say: Callable[[str], None] = lambda message: None,
) -> dict:
    """Everything that `alloyk compare` writes, as one dictionary ready for JSON.

    Args:
        paths: Run folders, two or more.
        timing: Measure how long each model takes for one image.
        resamples: Bootstrap resamples.
        seed: Of the resampling.
        say: Called with what is being done.

    Returns:
        ``classes``, ``n``, ``plates`` (None where unknown), ``simulated``, ``runs``, ``pairs``,
        ``seeds`` and ``notes``.

    Raises:
        AlloykError: As `alloyk.comparison.runs.read_runs`.
    """
    runs = read_runs(paths)
    first = runs[0].predictions
    shape = _image_shape(runs) if timing else None
    rows = []
    for run in runs:
        say(f"{run.name}: figures and intervals")
        rows.append(_row(run, resamples, seed))
        if timing and (run.path / RUN_MODEL).is_file():
            say(f"{run.name}: time for one image")
            seconds = single_thread_latency(run.path, shape)
            rows[-1]["inference_ms"] = round(1000 * seconds, 3)
    say("tests between runs")
    return {
        "classes": list(first.classes),
        "n": len(first),
        "plates": int(first.groups.max()) + 1 if first.has_plates else None,
        "simulated": any(run.facts.get("simulated") for run in runs),
        "timed_shape": list(shape) if shape else None,
        "runs": rows,
        "pairs": _pairs(runs, resamples, seed),
        "seeds": _seeds(runs, rows),
        "notes": _notes(runs),
    }


def _row(run: Run, resamples: int, seed: int) -> dict:
    """The figures of one run."""
    figures = classification_metrics(run.predictions)
    intervals, _ = confidence_intervals(run.predictions, figures, resamples=resamples, seed=seed)
    history = read_history(run.path / "history.csv")
    monitor = run.config.get("train", {}).get("monitor", "val_loss")
    train = training_metrics(history, monitor=monitor) if history else {}
    return {
        "name": run.name,
        "path": str(run.path),
        "vote": run.ensemble and run.ensemble["vote"],
        "members": run.ensemble and [one["run"] for one in run.ensemble["members"]],
        "accuracy": figures["accuracy"],
        "accuracy_interval": intervals.get("accuracy"),
        "balanced_accuracy": figures["balanced_accuracy"],
        "log_loss": figures["log_loss"],
        "average_precision": {
            label: per_class["average_precision"]
            for label, per_class in figures["per_class"].items()
        },
        "macro_average_precision": figures["macro"]["average_precision"],
        "macro_average_precision_interval": intervals.get("macro.average_precision"),
        "roc_auc": figures["macro"]["roc_auc"],
        "roc_auc_interval": intervals.get("macro.roc_auc"),
        "macro_f1": figures["macro"]["f1"],
        "regression": _regression(run.predictions, resamples, seed),
        "loss": train.get("final_loss"),
        "val_loss": train.get("final_val_loss"),
        "best_epoch": train.get("best_epoch"),
        "seconds": train.get("seconds"),
        "parameters": run.facts.get("parameters"),
        "inference_ms": None,
        "seed": run.config.get("seed"),
    }


def _regression(predictions: Predictions, resamples: int, seed: int) -> list[dict]:
    """Column that the network estimates, its errors and their intervals; a row per column."""
    found, intervals, _ = regression_metrics(predictions, resamples=resamples, seed=seed)
    return [
        {"column": column, "n": figures["n"]}
        | {name: figures[name] for name in ERRORS}
        | {f"{name}_interval": intervals.get(f"regression.{column}.{name}") for name in ERRORS}
        for column, figures in found.items()
    ]


def _pairs(runs: Sequence[Run], resamples: int, seed: int) -> list[dict]:
    """The tests between every two runs."""
    pairs = []
    groups = runs[0].predictions.groups
    for one, two in combinations(runs, 2):
        boot = accuracy_difference(one.right, two.right, groups, resamples=resamples, seed=seed)
        exact = mcnemar(one.right, two.right)
        pairs.append({
            "first": one.name,
            "second": two.name,
            "difference": boot["difference"],
            "interval": boot["interval"],
            "p_bootstrap": boot["p"],
            "only_first_right": exact["only_first_right"],
            "only_second_right": exact["only_second_right"],
            "p_mcnemar": exact["p"],
        })  # fmt: skip
    return _with_holm(pairs, "p_bootstrap", "p_mcnemar")


def _with_holm(tests: list[dict], *names: str) -> list[dict]:
    for name in names:
        for test, p in zip(tests, holm([test[name] for test in tests]), strict=True):
            test[f"{name}_holm"] = p
    return tests


def _seeds(runs: Sequence[Run], rows: Sequence[dict]) -> dict:
    """Mean and spread of runs that differ by their seed, and the tests between such groups."""
    groups: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        if run.config and run.ensemble is None:
            groups.setdefault(_experiment(run.config), []).append(number)
    found = []
    names = _common_names([[runs[i].name for i in numbers] for numbers in groups.values()])
    for name, numbers in zip(names, groups.values(), strict=True):
        accuracies = [rows[i]["accuracy"] for i in numbers]
        several = len(numbers) > 1
        found.append({
            "name": name,
            "runs": [runs[i].name for i in numbers],
            "seeds": [runs[i].config.get("seed") for i in numbers],
            "accuracies": accuracies,
            "mean": float(np.mean(accuracies)),
            "sd": float(np.std(accuracies, ddof=1)) if several else None,
        })  # fmt: skip
    if not any(len(group["runs"]) > 1 for group in found):
        return {"groups": [], "tests": []}
    repeated = [group for group in found if len(group["runs"]) > 1]
    tests = [
        {"first": one["name"], "second": two["name"], **welch(one["accuracies"], two["accuracies"])}
        for one, two in combinations(repeated, 2)
    ]
    return {"groups": found, "tests": _with_holm(tests, "p")}


def _experiment(config: dict) -> str:
    """A configuration without what differs between trainings of one experiment."""
    config = copy.deepcopy(config)
    for *above, key in SEED_KEYS:
        section = config
        for part in above:
            section = section.get(part) or {}
        section.pop(key, None)
    return json.dumps(config, sort_keys=True, default=str)


def _common_names(groups: Sequence[Sequence[str]]) -> list[str]:
    """What the names in each group begin with, where that tells the groups apart.

    >>> _common_names([["cnn", "cnn-2"], ["vgg16-1", "vgg16-2"]])
    ['cnn', 'vgg16']
    """
    begin = os.path.commonprefix
    names = [begin(list(group)).rstrip("-_./ ") for group in groups]
    apart = len(set(names)) == len(names) and all(names)
    return names if apart else [group[0] for group in groups]


def _image_shape(runs: Sequence[Run]) -> tuple[int, int, int]:
    """Shape of a raw test image, from the data set or else from the size that networks take."""
    first = runs[0].predictions.table["path"].iloc[0]
    for run in runs:
        root = run.facts.get("data_root")
        if root and (Path(root) / first).is_file():
            return tuple(int(side) for side in read_image(Path(root) / first).shape)
    for run in runs:
        size = run.config.get("preprocess", {}).get("image_size")
        if size:
            return (*map(int, size), 1)
    raise AlloykError(
        "cannot time the models: neither the test images nor config.yaml with their size are "
        "there; leave the timing out by --no-timing"
    )


def _notes(runs: Sequence[Run]) -> list[str]:
    notes = []
    predictions = runs[0].predictions
    if not predictions.has_plates:
        notes.append(
            "Plates are not known: images of one plate make all intervals and p values too small."
        )
    elif int(predictions.groups.max()) + 1 < len(predictions):
        notes.append(
            "McNemar's test takes images as independent; those of one plate are not, so read the "
            "bootstrap over plates."
        )
    seen = [run.name for run in runs if run.facts.get("grouped_by", "") is None]
    if seen:
        notes.append(
            f"Split image by image: {', '.join(seen)} may have seen the plates of the test images."
        )
    return notes
