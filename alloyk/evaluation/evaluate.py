"""Compute metrics, report and figures of a run from its files.

Classification metrics come from the predictions file alone and training metrics from the history
alone, so that no figure can contradict a table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from alloyk.errors import AlloykError, ModelError
from alloyk.evaluation.baselines import baseline_metrics
from alloyk.evaluation.ceiling import ceiling_of
from alloyk.evaluation.figures import (
    OPTIONAL,
    draw_figures,
    draw_folds,
    mistakes_sheet,
    save_figures,
)
from alloyk.evaluation.text_report import describe, format_report
from alloyk.files import files_together
from alloyk.imaging import assume_files
from alloyk.messages import shown
from alloyk.metrics import classification_metrics, regression_metrics
from alloyk.metrics.bootstrap import RESAMPLES
from alloyk.metrics.breakdown import (
    Breakdown,
    breakdown_tables,
    plate_predictions,
    write_breakdowns,
)
from alloyk.metrics.calibration import (
    BINS,
    log_loss,
    reliability,
    temperature_scaling,
    with_temperature,
)
from alloyk.metrics.fold_spread import by_fold, fold_spread, write_spread
from alloyk.metrics.intervals import accuracy_interval, confidence_intervals
from alloyk.metrics.selective import abstention, unlike_metrics
from alloyk.runs.destination import refuse_foreign_folder
from alloyk.runs.facts import Facts
from alloyk.runs.folder import RunFolder
from alloyk.runs.history import History, training_metrics
from alloyk.runs.metrics import Calibration, Metrics, PlateMetrics, TrainMetrics
from alloyk.runs.predictions import Predictions
from alloyk.runs.run_data import refuse_in_run_data

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A breakdown has many intervals, each from this many times fewer resamples: a quarter of the work
# gives their standard errors to 3 %.
FEWER_RESAMPLES = 4


def evaluate_run(
    run: str | Path,
    *,
    out: str | Path | None = None,
    split: str = "test",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Metrics:
    """Evaluate the predictions that a run has: write metrics, report and figures.

    All files appear together, when the last of them is written. The same files give the same
    bytes.

    Args:
        run: Run folder, with the predictions of `split` and of validation, the history, the
            facts, the predictions of baselines and the metric that the best epoch was chosen by.
        out: Folder to write to; by default as `RunFolder.evaluation_folder`. Predictions and facts
            there take precedence over those of the run.
        split: Which predictions: `test`, `val` or another split's name.
        resamples: Bootstrap resamples for the confidence intervals.
        seed: Seed of the resampling.

    Returns:
        What `metrics.json` holds.

    Raises:
        ModelError: A file is missing or damaged, `out` holds files of another run or lies in the
            data set of the run, or a file cannot be written.
    """
    folder = RunFolder(run)
    target = RunFolder(out or folder.evaluation_folder(split))
    refuse_foreign_folder(target.path, folder.path, own_test=split == "test")
    if out:
        refuse_in_run_data(target.path, folder.path)
    facts = (target if target.facts_file.exists() else folder).facts
    return write_evaluation(folder, target, split, facts, resamples=resamples, seed=seed)


def write_evaluation(
    run: RunFolder,
    out: RunFolder,
    split: str,
    facts: Facts,
    *,
    target: RunFolder | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Metrics:
    """Evaluate predictions like `evaluate_run`, without checking that `out` may be written to.

    Args:
        run: The run.
        out: Folder to write to.
        split: Which predictions.
        facts: Facts of the evaluated images.
        target: The folder that `out` will become, and that may hold an earlier evaluation; by
            default `out` itself.
        resamples: Bootstrap resamples for the confidence intervals.
        seed: Seed of the resampling.
    """
    target = target or out
    source = out if out.predictions_file(split).exists() else run
    predictions = source.read_predictions(split)
    history = run.history
    validation = _validation(run, split, predictions.classes)
    metrics: Metrics = {
        **split_metrics(predictions, validation, resamples=resamples, seed=seed),
        "split": split,
        "evaluated": facts.evaluated or ("all splits" if split == "all" else f"{split} split"),
        "grouped_by": facts.grouped_by,
        "simulated": facts.simulated,
        "notes": list(facts.notes),
        "ceiling": ceiling_of(facts, predictions, target),
        "controls": baseline_metrics(out, split, predictions, resamples=resamples, seed=seed),
        "train": _train_metrics(run, history, facts),
    }
    if history is None:
        metrics["undefined"]["train"] = _why_no_history(run, facts)
    parts = _fold_predictions(facts, predictions)
    folds = fold_spread(parts) if parts else None
    metrics["folds"] = folds
    tables = breakdown_tables(
        predictions, resamples=max(2, resamples // FEWER_RESAMPLES), seed=seed
    )
    pictures = _draw(run, facts, predictions, metrics, history, tables, parts)
    with files_together(out.path, stale_files()) as unfinished:
        written = RunFolder(unfinished)
        save_figures(written.figures_folder, pictures)
        if folds and facts.cross_validation:
            write_spread(written.folds_file, folds, facts.cross_validation["held_out"])
        if tables:
            write_breakdowns(written.breakdown_file, tables)
        written.report_file.write_text(
            format_report(predictions, metrics), encoding="utf-8", errors="surrogateescape"
        )
        written.write_metrics(metrics)
        if target.path.resolve() != run.path.resolve():
            written.write_facts(replace(facts, run=run.path.absolute()))
    return metrics


def stale_files() -> tuple[str, ...]:
    """Patterns of files that an earlier evaluation may have left and a new one may not write."""
    here = RunFolder("")
    figures = here.figures_folder.name
    return (here.breakdown_file.name, *(f"{figures}/{name}" for name in OPTIONAL))


def _why_no_history(run: RunFolder, facts: Facts) -> str:
    if facts.cross_validation:
        return "each fold has a history of its own"
    return f"{run.name} has no {run.history_file.name}"


def _train_metrics(run: RunFolder, history: History | None, facts: Facts) -> TrainMetrics | None:
    if history is None:
        return None
    return training_metrics(history, parameters=facts.parameters, monitor=run.settings.monitor)


def _fold_predictions(facts: Facts, predictions: Predictions) -> dict[str, Predictions]:
    """Fold of a cross-validation → its predictions; empty for anything else."""
    if not facts.cross_validation or "fold" not in predictions.table:
        return {}
    return by_fold(predictions, facts.cross_validation["folds"])


def _draw(
    run: RunFolder,
    facts: Facts,
    predictions: Predictions,
    metrics: Metrics,
    history: History | None,
    tables: Sequence[Breakdown],
    parts: Mapping[str, Predictions],
) -> "dict[str, Axes]":
    """All figures; the reason for a missing sheet of mistakes is recorded in `undefined`."""
    pictures = draw_figures(predictions, metrics, history, tables)
    if parts:
        histories = [run.part(name).history for name in parts]
        draw_folds(pictures, metrics, parts, [one for one in histories if one is not None])
    try:
        with assume_files(run.settings.data.files):
            pictures["mistakes.png"] = mistakes_sheet(
                predictions, facts.data_root, describe(predictions, metrics)
            )
    except AlloykError as error:
        metrics["undefined"]["figures.mistakes"] = str(error)
    return pictures


def split_metrics(
    predictions: Predictions,
    validation: Predictions | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Metrics:
    """The part of `metrics.json` that needs predictions only, intervals included.

    Args:
        predictions: Predictions for the split.
        validation: Predictions for the validation split, from which the temperature and the
            thresholds are found.
        resamples: Bootstrap resamples.
        seed: Seed of the resampling.
    """
    metrics = classification_metrics(predictions)
    intervals, missing = confidence_intervals(predictions, metrics, resamples=resamples, seed=seed)
    plates, why = _plates(predictions, resamples, seed)
    regression, further, unknown = regression_metrics(predictions, resamples=resamples, seed=seed)
    missing |= {**unknown, **({"plates": why} if why else {})}
    found = {
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
        "unlike": unlike_metrics(predictions, validation),
    }
    return cast("Metrics", found)


def _plates(
    predictions: Predictions, resamples: int, seed: int
) -> tuple[PlateMetrics | None, str | None]:
    """Metrics with one decision per plate, or why there are none."""
    if not predictions.has_plates:
        return None, "no image has a plate_id"
    if int(predictions.groups.max()) + 1 == len(predictions):
        return None, "each plate has one image"
    try:
        plates = plate_predictions(predictions)
    except AlloykError as error:
        return None, str(error)
    metrics = classification_metrics(plates)
    right = plates.y_true == plates.y_pred
    interval = accuracy_interval(right, plates.groups, resamples=resamples, seed=seed)
    return {
        "n": metrics["n"],
        "accuracy": metrics["accuracy"],
        "balanced_accuracy": metrics["balanced_accuracy"],
        "confusion_matrix": metrics["confusion_matrix"],
        "interval": None if interval is None else [*interval],
    }, None


def _calibration(predictions: Predictions, validation: Predictions | None) -> Calibration:
    """The expected calibration error, before and after temperature scaling."""
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


def _validation(run: RunFolder, split: str, classes: tuple[str, ...]) -> Predictions | None:
    """The run's predictions of its validation split, where that is not the split evaluated."""
    file = run.predictions_file("val")
    if split == "val" or not file.exists():
        return None
    validation = run.read_predictions("val")
    if validation.classes != classes:
        raise ModelError(
            f"{shown(file)} must have the classes of the {split} predictions, "
            f"{', '.join(classes)}, got {', '.join(validation.classes)}; predict one of them again"
        )
    return validation
