"""From the files of a run to its figures, report and pictures.

Classification figures come from the predictions file alone and training figures from
``history.csv`` alone, so that no picture can contradict a table.
"""

import csv
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml

from alloyk import plots
from alloyk.alloys import ALLOYS
from alloyk.errors import AlloykError
from alloyk.metrics import classification_metrics
from alloyk.predictions import Predictions, read_predictions, whole_file
from alloyk.statistics import RESAMPLES, confidence_intervals

PREDICTIONS_FILES = {"test": "predictions.csv"}
CURVES = ("accuracy", "loss")
UNKNOWN = "unknown"


def predictions_file(split: str) -> str:
    """Name of the predictions file of a split.

    >>> predictions_file("test"), predictions_file("val")
    ('predictions.csv', 'predictions_val.csv')
    """
    return PREDICTIONS_FILES.get(split, f"predictions_{split}.csv")


def display_name(label: str) -> str:
    """How a class is shown to people.

    >>> display_name("1050"), display_name("steel")
    ('Al 1050', 'steel')
    """
    return f"Al {label}" if label in ALLOYS else label


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

    Everything is computed before anything is written, and each file appears whole. The same
    files give the same bytes.

    Args:
        run: Run folder. Read are the predictions of `split`; ``history.csv``, without which (a
            voted classifier has none) there are no curves and ``train`` is None; ``facts.json``
            for ``grouped_by``, ``simulated`` and ``parameters``; and ``config.yaml`` for what
            the best epoch was chosen by.
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
    facts = read_json(run / "facts.json") if facts is None else dict(facts)
    history = read_history(run / "history.csv")
    metrics = {
        **split_metrics(predictions, resamples=resamples, seed=seed),
        "split": split,
        "grouped_by": facts.get("grouped_by", UNKNOWN),
        "simulated": facts.get("simulated"),
        "notes": facts.get("notes", []),
        "train": None,
    }
    if history is not None:
        metrics["train"] = training_metrics(
            history, parameters=facts.get("parameters"), monitor=_monitor(run / "config.yaml")
        )
    else:
        metrics["undefined"]["train"] = f"{run.name} has no history.csv"

    report = format_report(predictions, metrics)
    text = json.dumps(metrics, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with warnings.catch_warnings():
        # A class name in a script that the font lacks is drawn as boxes; files have it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        for name, ax in draw_figures(predictions, metrics, history).items():
            plots.save_figure(ax, out / "figures" / name)
    if history is None:
        for name in CURVES:  # of an earlier state of this folder
            (out / "figures" / f"{name}.png").unlink(missing_ok=True)
    for name, content in (("report.txt", report), ("metrics.json", text)):
        with whole_file(out / name) as unfinished:
            unfinished.write_text(content, encoding="utf-8", errors="surrogateescape")
    return metrics


def split_metrics(predictions: Predictions, *, resamples: int = RESAMPLES, seed: int = 0) -> dict:
    """The part of ``metrics.json`` that needs predictions only, intervals included."""
    metrics = classification_metrics(predictions)
    intervals, missing = confidence_intervals(predictions, metrics, resamples=resamples, seed=seed)
    return {
        **metrics,
        "confidence_intervals": intervals,
        "undefined": {**metrics["undefined"], **missing},
        "resampling": {
            "over": "plates" if predictions.has_plates else "images",
            "groups": int(predictions.groups.max()) + 1,
            "resamples": resamples,
            "seed": seed,
        },
    }


def read_history(path: Path) -> dict[str, np.ndarray] | None:
    """Columns of ``history.csv`` as `(epochs,)` float64, NaN where empty; None without the file.

    Raises:
        AlloykError: The file has no epoch, no column ``epoch`` or ``loss``, or a field that is
            not a number.
    """
    path = Path(path)
    if not path.exists():
        return None
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise AlloykError(f"{path} holds no epoch: training did not get through one")
    history = {}
    for column in rows[0]:
        values = np.full(len(rows), np.nan)
        for i, row in enumerate(rows):
            try:
                values[i] = float(row[column]) if row[column] else np.nan
            except (TypeError, ValueError):
                raise AlloykError(
                    f"{path}: line {i + 2}, column {column}: wanted a number, found {row[column]!r}"
                ) from None
        history[column] = values
    for column in ("epoch", "loss"):
        if column not in history or np.isnan(history[column]).any():
            raise AlloykError(f"{path}: wanted a column {column} with a number in each line")
    return history


def training_metrics(
    history: dict[str, np.ndarray],
    *,
    parameters: int | None = None,
    monitor: str = "val_loss",
) -> dict:
    """The ``train`` part of ``metrics.json``.

    ``final_`` figures are of the last epoch. ``best_epoch`` is the first epoch with the lowest
    `monitor` (highest, if an accuracy), as training chose it; the last one where it has no value.
    ``seconds`` is the sum over epochs.
    """
    best = len(history["epoch"]) - 1
    # Without a validation split there is no such column, or an empty one.
    for column in (monitor, "loss"):
        values = history.get(column, np.empty(0))
        if np.isfinite(values).any():
            choose = np.nanargmax if column.endswith("accuracy") else np.nanargmin
            best = int(choose(values))
            break
    seconds = history.get("seconds")
    return {
        "final_loss": _last(history, "loss"),
        "final_val_loss": _last(history, "val_loss"),
        "best_epoch": int(history["epoch"][best]),
        "seconds": None if seconds is None else round(float(np.nansum(seconds)), 3),
        "parameters": parameters,
    }


def _last(history, column) -> float | None:
    value = history[column][-1] if column in history else np.nan
    return float(value) if np.isfinite(value) else None


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


def describe(predictions: Predictions, metrics: dict) -> str:
    """One line on what the figures rest on.

    For example ``test split, 1,800 images of 300 plates, simulated``.
    """
    images = f"{len(predictions):,} image{'s' if len(predictions) > 1 else ''}"
    if predictions.has_plates:
        groups = metrics["resampling"]["groups"]
        images += f" of {groups:,} plate{'s' if groups > 1 else ''}"
    parts = [f"{metrics['split']} split", images]
    return ", ".join([*parts, "simulated"] if metrics["simulated"] else parts)


def draw_figures(
    predictions: Predictions, metrics: dict, history: dict[str, np.ndarray] | None
) -> dict:
    """File name → drawn axes, for the folder ``figures``."""
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
    }
    if history is not None:
        for quantity in CURVES:
            pictures[f"{quantity}.png"] = plots.plot_history(
                history,
                quantity,
                best_epoch=metrics["train"]["best_epoch"],
                subtitle="simulated" if metrics["simulated"] else "",
            )
    return pictures


def format_report(predictions: Predictions, metrics: dict) -> str:
    """The text of ``report.txt``: classification report, accuracy, what the split went by."""
    from sklearn.metrics import classification_report

    table = classification_report(
        predictions.y_true,
        predictions.y_pred,
        labels=np.arange(len(metrics["classes"])),
        target_names=[display_name(label) for label in metrics["classes"]],
        digits=4,
        zero_division=np.nan,
    )
    intervals = metrics["confidence_intervals"]
    lines = [describe(predictions, metrics), _grouping(metrics["grouped_by"])]
    lines += metrics["notes"]
    if metrics["simulated"]:
        lines.append("The images are simulated: nothing here was measured on real radiographs.")
    lines += ["", table]
    for name, title in (
        ("accuracy", "accuracy"),
        ("balanced_accuracy", "balanced accuracy"),
        ("macro.f1", "macro F1"),
        ("macro.average_precision", "macro AP"),
        ("macro.roc_auc", "macro AUC"),
        ("log_loss", "log loss"),
    ):
        first, _, second = name.partition(".")
        value = metrics[first][second] if second else metrics[first]
        between = "[{:.4f}, {:.4f}]".format(*intervals[name]) if name in intervals else ""
        number = "undefined" if value is None else f"{value:.4f}"
        lines.append(f"{title:<18} {number:>9}  {between}".rstrip())
    over = metrics["resampling"]["over"]
    lines += ["", f"In brackets: 95 % confidence interval, from resampling {over}."]
    if over == "images":
        lines.append("Plates are not known: images of one plate make these intervals too narrow.")
    lines += [f"Undefined: {name}: {why}" for name, why in metrics["undefined"].items()]
    return "\n".join(lines) + "\n"


def _grouping(grouped_by: str | None) -> str:
    match grouped_by:
        case None:
            return (
                "Split image by image: images of one plate may be in training and test, "
                "which flatters the figures."
            )
        case "folders" | "manifest":
            return f"Split as given by the data set's {grouped_by}."
        case "unknown":
            return "What the split was grouped by is not known."
        case _:
            return f"Split grouped by {grouped_by}: no {grouped_by} is in two splits."
