"""The figures of one evaluation, each with the name of its file."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from alloyk import plots
from alloyk.alloys import display_name
from alloyk.errors import DataError
from alloyk.evaluation.text_report import describe
from alloyk.imaging import image_exists, image_files, read_image
from alloyk.messages import shown
from alloyk.metrics.breakdown import Breakdown
from alloyk.metrics.calibration import reliability, with_temperature
from alloyk.metrics.fold_spread import SUMMARY_METRICS
from alloyk.metrics.selective import accuracy_over_coverage
from alloyk.plots.style import Axes
from alloyk.runs.history import History
from alloyk.runs.metrics import Metrics
from alloyk.runs.predictions import Predictions
from alloyk.targets import plain_name

CURVES = ("accuracy", "loss")
# Figures that an evaluation may lack.
OPTIONAL = (
    "accuracy.png", "loss.png", "breakdown*.png", "ceiling.png", "estimated_*.png", "folds.png",
    "mistakes.png",
)  # fmt: skip
MAX_MISTAKES = 12


def draw_figures(
    predictions: Predictions,
    metrics: Metrics,
    history: History | None,
    tables: Sequence[Breakdown],
) -> dict[str, Axes]:
    """Draw the figures of an evaluation.

    Args:
        predictions: The predictions that the metrics were computed from.
        metrics: What `metrics.json` will hold.
        history: Result of `alloyk.runs.history.read_history`.
        tables: Result of `alloyk.metrics.breakdown.breakdown_tables`.

    Returns:
        File name → axes.
    """
    names = [display_name(label) for label in metrics["classes"]]
    subtitle = describe(predictions, metrics)
    matrix = np.array(metrics["confusion_matrix"])
    pictures = {
        "confusion_matrix.png": plots.plot_confusion_matrix(matrix, names, subtitle=subtitle),
        "confusion_matrix_normalized.png": plots.plot_confusion_matrix(
            matrix, names, normalize=True, subtitle=subtitle
        ),
        "pr_curve.png": plots.plot_precision_recall(
            plots.precision_recall_curves(predictions), metrics, names, subtitle=subtitle
        ),
        "roc_curve.png": plots.plot_roc(
            plots.roc_curves(predictions), metrics, names, subtitle=subtitle
        ),
        "coverage.png": plots.plot_coverage(accuracy_over_coverage(predictions), subtitle=subtitle),
    }
    scaling = metrics["calibration"]["temperature_scaling"]
    temperature = scaling and scaling["temperature"]
    pictures["reliability.png"] = plots.plot_reliability(
        reliability(predictions),
        scaled=reliability(with_temperature(predictions, temperature)) if temperature else None,
        subtitle=subtitle,
    )
    for column, errors in metrics.get("regression", {}).items():
        if errors["n"]:
            pictures[f"estimated_{plain_name(column)}.png"] = plots.plot_estimates(
                predictions, column, errors, names, subtitle=subtitle
            )
    train = metrics["train"]
    if history is not None and train is not None:
        for quantity in CURVES:
            pictures[f"{quantity}.png"] = plots.plot_history(
                history,
                quantity,
                best_epoch=train["best_epoch"],
                subtitle="simulated" if metrics["simulated"] else "",
                ceiling=metrics["ceiling"],
            )
    if metrics["ceiling"] or metrics["controls"]:
        pictures["ceiling.png"] = plots.plot_beside_ceiling(metrics, subtitle=subtitle)
    return pictures | _breakdowns(tables, metrics["accuracy"], metrics["classes"], subtitle)


def draw_folds(
    pictures: dict[str, Axes],
    metrics: Metrics,
    parts: Mapping[str, Predictions],
    histories: Sequence[History],
) -> None:
    """Add the spread over the folds of a cross-validation.

    Args:
        pictures: From `draw_figures`; two get the folds' curves, and some are added.
        metrics: What `metrics.json` will hold.
        parts: Result of `alloyk.metrics.fold_spread.by_fold`.
        histories: Histories of the folds that have one.
    """
    subtitle = metrics["evaluated"] + (", simulated" if metrics["simulated"] else "")
    shares = {name: shown for name, shown in SUMMARY_METRICS.items() if name != "log_loss"}
    if metrics["folds"] is not None:
        pictures["folds.png"] = plots.plot_folds(metrics["folds"], shares, subtitle=subtitle)
    for name, curves in (
        ("pr_curve.png", plots.precision_recall_curves),
        ("roc_curve.png", plots.roc_curves),
    ):
        plots.add_fold_curves(pictures[name], [curves(part) for part in parts.values()])
    if histories:
        for quantity in CURVES:
            pictures[f"{quantity}.png"] = plots.plot_fold_histories(
                histories, quantity, subtitle=subtitle
            )


def _breakdowns(
    tables: Sequence[Breakdown], accuracy: float, classes: Sequence[str], subtitle: str
) -> dict[str, Axes]:
    pictures = {}
    by_column = [table for table in tables if len(table.columns) == 1]
    if by_column:
        pictures["breakdown.png"] = plots.plot_breakdown(by_column, accuracy, subtitle=subtitle)
    names = {label: display_name(label) for label in classes}
    for table in tables:
        if len(table.columns) == 2:
            stem = "breakdown_" + re.sub(r"\W", "_", table.columns[1])
            while f"{stem}.png" in pictures:  # of `kV max` and `kV_max`
                stem += "_"
            pictures[f"{stem}.png"] = plots.plot_breakdown_by_class(table, names, subtitle=subtitle)
    return pictures


def mistakes_sheet(predictions: Predictions, root: Path | None, subtitle: str) -> Axes:
    """Draw the misclassified images of highest confidence.

    Args:
        predictions: The predictions.
        root: The folder that their paths are relative to; None where it is not known.
        subtitle: A line under the sheet.

    Raises:
        DataError: No image is misclassified, or an image is missing.
    """
    wrong = np.flatnonzero(predictions.y_true != predictions.y_pred)
    if not len(wrong):
        raise DataError("no image was misclassified")
    if root is None:
        raise DataError("the folder of the images is not known")
    surest = wrong[np.argsort(-predictions.confidence[wrong], kind="stable")][:MAX_MISTAKES]
    paths = predictions.table["path"].to_numpy()[surest]
    for path in paths:
        for file in image_files(root / path):
            if not image_exists(file):
                raise DataError(f"the image {shown(file)} is missing")
    names = [display_name(label) for label in predictions.classes]
    captions = [
        (
            f"{names[predictions.y_true[i]]}, classified as\n{names[predictions.y_pred[i]]} "
            f"at {100 * predictions.confidence[i]:.1f} %",
            path,
        )
        for i, path in zip(surest, paths, strict=True)
    ]
    images = [_drawn(root / path) for path in paths]
    return plots.plot_mistakes(images, captions, subtitle=subtitle)


def _drawn(path: Path) -> np.ndarray:
    """The image to draw; of several channels their mean."""
    image = read_image(path)
    return image if len(image_files(path)) == 1 else image.mean(axis=2, keepdims=True)


def save_figures(folder: Path, pictures: Mapping[str, Axes]) -> None:
    """Write the figures, each under its name."""
    for name, ax in pictures.items():
        plots.save_figure(ax, folder / name)
