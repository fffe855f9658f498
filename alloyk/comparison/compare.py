"""Compare runs on the same test images: metrics, paired tests, seeds.

Classification metrics come from each run's predictions, training metrics from its history, as in
the evaluation of one run.
"""

import copy
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import combinations, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from alloyk.comparison.runs import Run, read_runs
from alloyk.errors import DataError
from alloyk.imaging import assume_files, image_exists, image_files, read_image
from alloyk.inference.latency import single_thread_latency
from alloyk.metrics import classification_metrics, regression_metrics
from alloyk.metrics.bootstrap import RESAMPLES
from alloyk.metrics.intervals import confidence_intervals
from alloyk.metrics.regression import ERROR_METRICS as ERRORS
from alloyk.metrics.significance import accuracy_difference, holm, mcnemar, welch
from alloyk.runs.history import training_metrics
from alloyk.runs.predictions import Predictions

logger = logging.getLogger(__name__)

# Keys that differ between training runs of one experiment.
SEED_KEYS = (
    ("seed",), ("train", "devices"), ("train", "tensorboard"), ("data", "cache"),
    ("quantize", "run"),
)  # fmt: skip


def compare_runs(
    paths: Sequence[Path],
    *,
    timing: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute everything that `alloyk compare` writes, as one dictionary ready for JSON.

    Args:
        paths: Run folders, two or more.
        timing: Measure how long each model takes for one image.
        resamples: Bootstrap resamples.
        seed: Seed of the resampling.

    Returns:
        `classes`, `n`, `plates` (None where unknown), `simulated`, `runs`, `pairs`,
        `seeds` and `notes`.

    Raises:
        DataError: As `alloyk.comparison.runs.read_runs`.
    """
    runs = read_runs(paths)
    first = runs[0].predictions
    shape = _image_shape(runs) if timing else None
    rows = []
    for run in runs:
        logger.info("%s: metrics and intervals", run.name)
        rows.append(_row(run, resamples, seed))
        if shape is not None and run.folder.model_file.is_file():
            logger.info("%s: time for one image", run.name)
            seconds = single_thread_latency(run.path, shape)
            rows[-1]["inference_ms"] = round(1000 * seconds, 3)
    logger.info("tests between runs")
    return {
        "classes": list(first.classes),
        "n": len(first),
        "plates": int(first.groups.max()) + 1 if first.has_plates else None,
        "simulated": any(run.facts.simulated for run in runs),
        "timed_shape": list(shape) if shape else None,
        "runs": rows,
        "pairs": _pairs(runs, resamples, seed),
        "seeds": _seeds(runs, rows),
        "notes": _notes(runs),
    }


def _row(run: Run, resamples: int, seed: int) -> dict[str, Any]:
    """The metrics of one run."""
    metrics = classification_metrics(run.predictions)
    intervals, _ = confidence_intervals(run.predictions, metrics, resamples=resamples, seed=seed)
    history = run.history
    train: Mapping[str, Any] = {}
    if history is not None:
        train = training_metrics(history, monitor=run.settings.monitor)
    return {
        "name": run.name,
        "path": str(run.path),
        "vote": run.ensemble and run.ensemble.vote,
        "members": run.ensemble and run.ensemble.names,
        "accuracy": metrics["accuracy"],
        "accuracy_interval": intervals.get("accuracy"),
        "balanced_accuracy": metrics["balanced_accuracy"],
        "log_loss": metrics["log_loss"],
        "average_precision": {
            label: per_class["average_precision"]
            for label, per_class in metrics["per_class"].items()
        },
        "macro_average_precision": metrics["macro"]["average_precision"],
        "macro_average_precision_interval": intervals.get("macro.average_precision"),
        "roc_auc": metrics["macro"]["roc_auc"],
        "roc_auc_interval": intervals.get("macro.roc_auc"),
        "macro_f1": metrics["macro"]["f1"],
        "regression": _regression(run.predictions, resamples, seed),
        "loss": train.get("final_loss"),
        "val_loss": train.get("final_val_loss"),
        "best_epoch": train.get("best_epoch"),
        "seconds": train.get("seconds"),
        "parameters": run.facts.parameters,
        "inference_ms": None,
        "seed": run.settings.seed,
    }


def _regression(predictions: Predictions, resamples: int, seed: int) -> list[dict[str, Any]]:
    """Column that the network estimates, its errors and their intervals; a row per column."""
    found, intervals, _ = regression_metrics(predictions, resamples=resamples, seed=seed)
    return [
        {"column": column, "n": metrics["n"]}
        | {name: metrics[name] for name in ERRORS}
        | {f"{name}_interval": intervals.get(f"regression.{column}.{name}") for name in ERRORS}
        for column, metrics in found.items()
    ]


def _pairs(runs: Sequence[Run], resamples: int, seed: int) -> list[dict[str, Any]]:
    """The tests between each pair of runs."""
    pairs = []
    groups = runs[0].predictions.groups
    for one, two in combinations(runs, 2):
        found = accuracy_difference(one.right, two.right, groups, resamples=resamples, seed=seed)
        exact = mcnemar(one.right, two.right)
        pairs.append({
            "first": one.name,
            "second": two.name,
            "difference": found["difference"],
            "interval": found["interval"],
            "p_score": found["p"],
            "only_first_right": exact["only_first_right"],
            "only_second_right": exact["only_second_right"],
            "p_mcnemar": exact["p"],
        })  # fmt: skip
    return _with_holm(pairs, "p_score", "p_mcnemar")


def _with_holm(tests: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    for name in names:
        for test, p in zip(tests, holm([test[name] for test in tests]), strict=True):
            test[f"{name}_holm"] = p
    return tests


def _seeds(runs: Sequence[Run], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and spread of runs that differ by their seed, and tests between such groups."""
    groups = [list(firsts) for firsts in _by_seed(runs)]
    found: list[dict[str, Any]] = []
    names = _common_names(groups, [run.name for run in runs])
    for name, numbers in zip(names, groups, strict=True):
        accuracies = [rows[i]["accuracy"] for i in numbers]
        several = len(numbers) > 1
        found.append({
            "name": name,
            "runs": [runs[i].name for i in numbers],
            "seeds": [runs[i].settings.seed for i in numbers],
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


def _by_seed(runs: Sequence[Run]) -> list[dict[int, list[int]]]:
    """Runs that differ by their seed only: the first one of each seed, to its repetitions."""
    groups: dict[str, dict[int | None, list[int]]] = {}
    for number, run in enumerate(runs):
        if run.settings.values and run.ensemble is None:
            seeds = groups.setdefault(_experiment(run.settings.values), {})
            seeds.setdefault(run.settings.seed, []).append(number)
    return [{first: others for first, *others in seeds.values()} for seeds in groups.values()]


def _experiment(config: Mapping[str, Any]) -> str:
    """A configuration without the keys that differ between training runs of one experiment."""
    compared: dict[str, Any] = copy.deepcopy(dict(config))
    for *above, key in SEED_KEYS:
        section = compared
        for part in above:
            section = section.get(part) or {}
        section.pop(key, None)
    return json.dumps(compared, sort_keys=True, default=str)


def _common_names(groups: Sequence[Sequence[int]], runs: Sequence[str]) -> list[str]:
    """Return the common beginning of the names in each group, or a first name where it is taken.

    >>> _common_names([[0, 1], [2, 3]], ["cnn", "cnn-2", "vgg16-10", "vgg16-11"])
    ['cnn', 'vgg16']
    >>> _common_names([[0, 1], [2], [3, 4]], ["cnn-1", "cnn-2", "cnn", "fnn-1", "fnn-2"])
    ['cnn-1', 'cnn', 'fnn']
    """
    common = [_common_beginning([runs[i] for i in group]) for group in groups]
    names = []
    for name, group in zip(common, groups, strict=True):
        taken = any(run == name for i, run in enumerate(runs) if i not in group)
        names.append(runs[group[0]] if taken or not name or common.count(name) > 1 else name)
    return names


def _common_beginning(names: list[str]) -> str:
    """What all names begin with, up to a separator, without part of a number."""
    first, last = min(names), max(names)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    common = "".join(letter for letter, _ in same)
    if any(name[len(common) :][:1].isdigit() for name in names):
        common = common.rstrip("0123456789")
    return common.rstrip("-_./ ")


def _image_shape(runs: Sequence[Run]) -> tuple[int, int, int]:
    """Shape of a raw test image: of the data set, else the size that the networks take."""
    first = runs[0].predictions.table["path"].iloc[0]
    for run in runs:
        root = run.facts.data_root
        if root is None or not all(image_exists(file) for file in image_files(root / first)):
            continue
        with suppress(DataError), assume_files(run.settings.data.files):
            height, width, channels = read_image(root / first).shape
            return int(height), int(width), int(channels)
    for run in runs:
        if run.settings.image_size:
            channels = run.settings.data.channels
            return (*run.settings.image_size, 1 if channels is None else len(channels.values))
    raise DataError(
        f"timing needs the test images, or preprocess.image_size in "
        f"{runs[0].folder.config_file.name}, and found neither; use --no-timing"
    )


def _notes(runs: Sequence[Run]) -> list[str]:
    """Limitations that all runs share."""
    notes = []
    predictions = runs[0].predictions
    if not predictions.has_plates:
        notes.append(
            "Plates are not known: if images share a plate, intervals and p values are too small."
        )
    elif int(predictions.groups.max()) + 1 < len(predictions):
        notes.append(
            "McNemar's test assumes independent images; those of one plate are not, so prefer the "
            "bootstrap over plates."
        )
    seen = [run.name for run in runs if run.facts.grouped_by is None]
    if seen:
        notes.append(
            f"Split image by image: {', '.join(seen)} may have been trained on plates of the test "
            "images."
        )
    for group in _by_seed(runs):
        for first, others in group.items():
            if others:
                names = ", ".join(runs[number].name for number in others)
                notes.append(
                    f"{names}: the settings and the seed are those of {runs[first].name}, so that "
                    "the comparison of seeds counts them once."
                )
    return notes
