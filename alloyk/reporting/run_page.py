"""The report of one run."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from alloyk.errors import ModelError
from alloyk.evaluation.text_report import describe, describe_grouping
from alloyk.messages import shown
from alloyk.metrics.fold_spread import SUMMARY_METRICS, metric_at
from alloyk.reporting import tables
from alloyk.reporting.calibration import calibration_blocks, reference_blocks
from alloyk.reporting.limits import limits, model_card
from alloyk.reporting.page import (
    Block,
    Cell,
    Figures,
    NameValues,
    Page,
    Picture,
    Section,
    Table,
    Text,
    count,
    number,
)
from alloyk.reporting.pictures import PLACED, pictures
from alloyk.reporting.provenance import data_blocks, kind_of_model, provenance_blocks
from alloyk.reporting.stress import stress_blocks
from alloyk.runs.file_names import OVERVIEW
from alloyk.runs.folder import RunFolder
from alloyk.runs.metrics import Metrics
from alloyk.runs.predictions import Predictions

# Keys that metrics of earlier versions may lack.
REQUIRED = ("evaluated", "resampling", "confidence_intervals", "per_class", "macro", "micro")


def run_page(run: RunFolder) -> Page:
    """Build the page of a run from its files.

    Raises:
        ModelError: A file is missing, or metrics and predictions disagree.
    """
    metrics, predictions = run.metrics, run.predictions
    refuse_contradiction(run, metrics, predictions)
    facts, settings = run.facts, run.settings
    figures = partial(placed, pictures(run.figures_folder, metrics))
    explained = run.explanations()
    kind = kind_of_model(run, settings)
    lead = ", ".join(filter(None, [kind, describe(predictions, metrics)]))
    name = run.name
    records = [record for _, record in explained]
    held_out = facts.cross_validation["held_out"] if facts.cross_validation else {}
    stressed = stress_blocks(run.stress_folder)
    return Page(
        title=name,
        lead=f"{lead}. {describe_grouping(metrics['grouped_by'])}",
        simulated=bool(metrics["simulated"]),
        tiles=tiles(metrics),
        sections=[
            Section("Figures and tables", [tables.class_table(metrics), *figures()]),
            Section(
                "Reference ceiling and baselines", [*reference_blocks(metrics), *figures("ceiling")]
            ),
            Section("Folds", [*tables.fold_tables(metrics, held_out), *figures("folds")]),
            Section("Estimates", [*tables.estimate_tables(metrics), *figures("estimated")]),
            Section(
                "By condition",
                [*figures("breakdown"), *tables.breakdown_tables(run.breakdown_file)],
            ),
            Section(
                "Calibration and abstention",
                [*calibration_blocks(metrics), *figures("reliability", "coverage")],
            ),
            Section("Stress test", stressed),
            Section("Mistakes", [*tables.mistakes(predictions), *figures("mistakes")]),
            Section("Training", training_blocks(run, metrics, figures("accuracy", "loss"))),
            Section("Explanation", explanation_blocks(explained)),
            Section(
                "Limits",
                [Text(limits(metrics, facts, settings, records, bool(stressed)), listed=True)],
            ),
            Section("Model card", [NameValues(model_card(run, kind, metrics, facts, settings))]),
            Section("Data", data_blocks(facts, settings)),
            Section("Provenance", provenance_blocks(run, facts, settings)),
        ],
    )


def placed(drawn: Mapping[str, Picture], *beginnings: str) -> list[Block]:
    """Return figures whose names begin so; without a beginning, those without a place."""
    prefixes = beginnings or PLACED
    found = [
        picture for name, picture in drawn.items() if name.startswith(prefixes) == bool(beginnings)
    ]
    return [Figures(found)] if found else []


def refuse_contradiction(run: RunFolder, metrics: Metrics, predictions: Predictions) -> None:
    """Refuse metrics of other predictions or of an earlier alloyk: a report must not mix them."""
    k = len(predictions.classes)
    matrix = np.bincount(predictions.y_true * k + predictions.y_pred, minlength=k * k)
    agrees = (
        metrics.get("classes") == list(predictions.classes)
        and metrics.get("confusion_matrix") == matrix.reshape(k, k).tolist()
    )
    missing = [key for key in REQUIRED if key not in metrics]
    if not agrees or missing:
        file = shown(run.predictions_file())
        why = f"has no {missing[0]}" if missing else f"was not computed from {file}"
        raise ModelError(
            f"{shown(run.metrics_file)} {why}; run `alloyk evaluate {shown(run.path)} "
            "--from-predictions` first"
        )


def tiles(metrics: Metrics) -> list[tuple[str, str, str]]:
    """Return the most important metrics: name, value and interval."""
    intervals = metrics["confidence_intervals"]
    found = []
    for path, name in SUMMARY_METRICS.items():
        value = metric_at(metrics, path)
        between = intervals.get(path)
        note = "95 % [{:.4f}, {:.4f}]".format(*between) if between else ""
        found.append((name, "undefined" if value is None else f"{value:.4f}", note))
    return found


def training_blocks(run: RunFolder, metrics: Metrics, drawn: list[Block]) -> list[Block]:
    """Summarize the training, with a table of all epochs."""
    train = metrics.get("train")
    if not train:  # each fold of a cross-validation has its own
        return drawn
    rows = [
        ("parameters", count(train["parameters"]).text),
        ("best epoch", str(train["best_epoch"])),
        ("final loss", number(train["final_loss"]).text),
        ("final validation loss", number(train["final_val_loss"]).text),
        ("duration", "unknown" if train["seconds"] is None else f"{train['seconds']:,.0f} s"),
    ]
    history = run.history
    if history is None:
        return [NameValues(rows), *drawn]
    names = list(history)
    epochs = [
        [
            Cell(f"{history[name][row]:.6g}", float(history[name][row]))
            if np.isfinite(history[name][row])
            else Cell("–")
            for name in names
        ]
        for row in range(history.epochs)
    ]
    return [
        NameValues(rows),
        *drawn,
        Table("Every epoch", [name.replace("_", " ") for name in names], epochs, closed=True),
    ]


def explanation_blocks(found: list[tuple[Path, dict[str, Any]]]) -> list[Block]:
    """Return the overview of each explanation and the result of its sanity check."""
    blocks: list[Block] = []
    for folder, record in found:
        sentence = record["sanity_check"]["sentence"]
        alt = (
            f"{len(record['images'])} images, each overlaid with the regions that drove its "
            "prediction"
        )
        content = (folder / OVERVIEW).read_bytes()
        blocks.append(Text([sentence]))
        blocks.append(Figures([Picture(record["description"], alt, content)]))
    return blocks
