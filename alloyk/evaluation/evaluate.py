"""From the files of a run to its figures, report and pictures.

Classification figures come from the predictions file alone and training figures from
``history.csv`` alone, so that no picture can contradict a table.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from alloyk.errors import AlloykError
from alloyk.evaluation.baselines import control_metrics
from alloyk.evaluation.figures import (
    OPTIONAL,
    draw_figures,
    draw_folds,
    mistakes_sheet,
    save_figures,
)
from alloyk.evaluation.text_report import describe, format_report
from alloyk.files import files_together
from alloyk.metrics import classification_metrics, regression_metrics
from alloyk.metrics.breakdown import breakdown_tables, plate_predictions, write_breakdowns
from alloyk.metrics.calibration import (
    BINS,
    log_loss,
    reliability,
    temperature_scaling,
    with_temperature,
)
from alloyk.metrics.fold_spread import by_fold, fold_spread, write_spread
from alloyk.metrics.intervals import RESAMPLES, accuracy_interval, confidence_intervals
from alloyk.metrics.selective import abstention
from alloyk.runs.history import read_history, training_metrics
from alloyk.runs.predictions import Predictions, read_predictions

PREDICTIONS_FILES = {"test": "predictions.csv"}
# Of the many intervals of a breakdown: their errors are known to 3 % with a quarter of the work.
BREAKDOWN_SHARE = 4
UNKNOWN = "unknown"
# What an evaluation may have or not; of an earlier state of the folder it goes.
STALE = ("breakdown.csv", *(f"figures/{name}" for name in OPTIONAL))


def predictions_file(split: str) -> str:
    """Name of the predictions file of a split.

    >>> predictions_file("test"), predictions_file("val")
    ('predictions.csv', 'predictions_val.csv')
    """
    return PREDICTIONS_FILES.get(split, f"predictions_{split}.csv")


def default_folder(run: Path, split: str) -> Path:
    """Where a run's evaluation of `split` goes: the run itself for test, else a folder in it."""
    return Path(run) if split == "test" else Path(run) / f"evaluation_{split}"


def evaluate_run(
    run: Path,
    *,
    out: Path | None = None,
    split: str = "test",
    facts: Mapping | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict:
    """Write ``metrics.json``, ``report.txt`` and ``figures/`` from the files of a run.

    All files appear together, when the last of them is written. The same files give the same
    bytes.

    Args:
        run: Run folder. Read are the predictions of `split`; ``history.csv``, without which (a
            voted classifier has none) there are no curves and ``train`` is None; ``facts.json``
            for ``grouped_by``, ``simulated``, ``parameters``, ``ceiling`` and ``data_root``, where
            the images of the most confident mistakes lie; the controls' predictions; and
            ``config.yaml`` for what the best epoch was chosen by.
        out: Folder to write to; the run itself for the test split, ``evaluation_<split>`` in it
            for another. A predictions file in `out` goes before the run's.
        split: Which predictions: ``test``, ``val`` or another split's name.
        facts: What to take instead of ``facts.json``.
        resamples: Bootstrap resamples for the confidence intervals.
        seed: Of the resampling.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        AlloykError: A file is missing, holds what it must not, or cannot be written.
    """
    run = Path(run)
    out = Path(out or default_folder(run, split))
    source = out / predictions_file(split)
    predictions = read_predictions(source if source.exists() else run / predictions_file(split))
    if facts is None:  # an evaluation on other data has facts of its own
        own = out / "facts.json"
        facts = read_json(own if own.exists() else run / "facts.json")
    folds = facts.get("cross_validation")
    history = read_history(run / "history.csv")
    validation = _validation(run, split, predictions.classes)
    metrics = {
        **split_metrics(predictions, validation, resamples=resamples, seed=seed),
        "split": split,
        "evaluated": facts.get("evaluated", f"{split} split"),
        "grouped_by": facts.get("grouped_by", UNKNOWN),
        "simulated": facts.get("simulated"),
        "notes": facts.get("notes", []),
        "ceiling": facts.get("ceiling"),
        "controls": control_metrics(out, split, predictions, resamples=resamples, seed=seed),
        "train": None,
    }
    if history is not None:
        metrics["train"] = training_metrics(
            history, parameters=facts.get("parameters"), monitor=_monitor(run / "config.yaml")
        )
    else:
        own = (
            "each fold has a history.csv of its own" if folds else f"{run.name} has no history.csv"
        )
        metrics["undefined"]["train"] = own

    parts = by_fold(predictions, folds["folds"]) if folds and "fold" in predictions.table else {}
    metrics["folds"] = fold_spread(parts) if parts else None
    tables = breakdown_tables(
        predictions, resamples=max(2, resamples // BREAKDOWN_SHARE), seed=seed
    )
    pictures = draw_figures(predictions, metrics, history, tables)
    if parts:
        histories = [read_history(run / name / "history.csv") for name in parts]
        draw_folds(pictures, metrics, parts, [one for one in histories if one is not None])
    root = facts.get("data_root")
    try:
        pictures["mistakes.png"] = mistakes_sheet(
            predictions, root and Path(root), describe(predictions, metrics)
        )
    except AlloykError as error:
        metrics["undefined"]["figures.mistakes"] = str(error)
    report = format_report(predictions, metrics)
    text = json.dumps(metrics, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with files_together(out, STALE) as unfinished:
        save_figures(unfinished / "figures", pictures)
        if parts:
            write_spread(unfinished / "folds.csv", metrics["folds"], folds["held_out"])
        if tables:
            write_breakdowns(unfinished / "breakdown.csv", tables)
        for name, content in (("report.txt", report), ("metrics.json", text)):
            (unfinished / name).write_text(content, encoding="utf-8", errors="surrogateescape")
    return metrics


def split_metrics(
    predictions: Predictions,
    validation: Predictions | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict:
    """The part of ``metrics.json`` that needs predictions only, intervals included.

    Args:
        predictions: Of the split.
        validation: Of the validation split, for the temperature and for thresholds.
        resamples: Bootstrap resamples.
        seed: Of the resampling.
    """
    metrics = classification_metrics(predictions)
    intervals, missing = confidence_intervals(predictions, metrics, resamples=resamples, seed=seed)
    plates, why = _plates(predictions, resamples, seed)
    regression, further, unknown = regression_metrics(predictions, resamples=resamples, seed=seed)
    missing |= {**unknown, **({"plates": why} if why else {})}
    return {
        **metrics,
        "confidence_intervals": {**intervals, **further},
        "undefined": {**metrics["undefined"], **missing},
        "resampling": {
            "over": "plates" if predictions.has_plates else "images",
            "groups": int(predictions.groups.max()) + 1,
            "resamples": resamples,
            "seed": seed,
        },
        "plates": plates,
        **({"regression": regression} if regression else {}),
        "calibration": _calibration(predictions, validation),
        "abstention": abstention(predictions, validation, resamples=resamples, seed=seed),
    }


def _plates(predictions: Predictions, resamples: int, seed: int) -> tuple[dict | None, str | None]:
    """Figures with one decision per plate, or why there are none."""
    if not predictions.has_plates:
        return None, "no image says which plate it shows"
    if int(predictions.groups.max()) + 1 == len(predictions):
        return None, "each plate has one image"
    try:
        plates = plate_predictions(predictions)
    except AlloykError as error:
        return None, str(error)
    figures = classification_metrics(plates)
    right = plates.y_true == plates.y_pred
    interval = accuracy_interval(right, plates.groups, resamples=resamples, seed=seed)
    chosen = ("n", "accuracy", "balanced_accuracy", "confusion_matrix")
    return {name: figures[name] for name in chosen} | {"interval": interval and [*interval]}, None


def _calibration(predictions: Predictions, validation: Predictions | None) -> dict:
    """How far confidence is from accuracy, before and after temperature scaling."""
    scaling = None
    if validation is not None:
        scaling = temperature_scaling(validation)
        if scaling["temperature"] is not None:
            scaled = with_temperature(predictions, scaling["temperature"])
            error = reliability(scaled).expected_calibration_error
            scaling |= {"expected_calibration_error": error, "log_loss": log_loss(scaled)}
    return {
        "expected_calibration_error": reliability(predictions).expected_calibration_error,
        "bins": BINS,
        "temperature_scaling": scaling,
    }


def _validation(run: Path, split: str, classes: tuple[str, ...]) -> Predictions | None:
    """The run's predictions of its validation split, where that is not the split evaluated."""
    path = run / predictions_file("val")
    if split == "val" or not path.exists():
        return None
    validation = read_predictions(path)
    if validation.classes != classes:
        raise AlloykError(
            f"{path} has the classes {', '.join(validation.classes)}, the predictions of the "
            f"{split} split have {', '.join(classes)}: predict one of them again"
        )
    return validation


def _monitor(config: Path) -> str:
    """What the best epoch was chosen by."""
    if not config.exists():
        return "val_loss"
    # Read as plain YAML: a configuration that this version no longer takes can be evaluated.
    settings = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    return (settings.get("train") or {}).get("monitor", "val_loss")


def read_json(path: Path) -> dict:
    """The object in a JSON file; empty where there is no file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise AlloykError(f"{path} is not valid JSON: {error}") from error
