"""The report of one run."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from alloyk.errors import AlloykError
from alloyk.evaluation import read_json
from alloyk.evaluation.text_report import describe, describe_grouping
from alloyk.metrics.fold_spread import FIGURES, figure_at
from alloyk.report import tables
from alloyk.report.calibration import reference_blocks, trust_blocks
from alloyk.report.limits import limits, model_card
from alloyk.report.page import (
    Block,
    Cell,
    Facts,
    Figures,
    Page,
    Picture,
    Section,
    Table,
    Text,
    count,
    number,
)
from alloyk.report.pictures import PLACED, pictures
from alloyk.report.provenance import data_blocks, kind_of_model, origin_blocks, read_config
from alloyk.runs.history import read_history
from alloyk.runs.predictions import Predictions, read_predictions

# What earlier versions did not write.
WANTED = ("evaluated", "resampling", "confidence_intervals", "per_class", "macro", "micro")


def run_page(run: Path) -> Page:
    """The page of a run from its files.

    Raises:
        AlloykError: A file is missing, or ``metrics.json`` and ``predictions.csv`` disagree.
    """
    metrics = read_json(run / "metrics.json")
    predictions = read_predictions(run / "predictions.csv")
    refuse_contradiction(run, metrics, predictions)
    facts, config = read_json(run / "facts.json"), read_config(run)
    figures = partial(placed, pictures(run / "figures", metrics))
    explained = explanations(run)
    kind = kind_of_model(run, config)
    lead = ", ".join(filter(None, [kind, describe(predictions, metrics)]))
    name = run.resolve().name
    records = [record for _, record in explained]
    held_out = (facts.get("cross_validation") or {}).get("held_out", {})
    return Page(
        title=name,
        lead=f"{lead}. {describe_grouping(metrics['grouped_by'])}",
        simulated=bool(metrics["simulated"]),
        tiles=tiles(metrics),
        sections=[
            Section("Figures and tables", [tables.class_table(metrics), *figures()]),
            Section("What is possible", [*reference_blocks(metrics), *figures("ceiling")]),
            Section("Folds", [*tables.fold_tables(metrics, held_out), *figures("folds")]),
            Section("Estimates", [*tables.estimate_tables(metrics), *figures("estimated")]),
            Section(
                "By condition",
                [*figures("breakdown"), *tables.breakdown_tables(run / "breakdown.csv")],
            ),
            Section("Trust", [*trust_blocks(metrics), *figures("reliability", "coverage")]),
            Section("Mistakes", [*tables.mistakes(predictions), *figures("mistakes")]),
            Section("Training", training_blocks(run, metrics, figures("accuracy", "loss"))),
            Section("Explanation", explanation_blocks(explained)),
            Section("Limits", [Text(limits(metrics, facts, config, records), listed=True)]),
            Section("Model card", [Facts(model_card(name, kind, metrics, facts, config))]),
            Section("Data", data_blocks(facts, config)),
            Section("Origin", origin_blocks(run, facts, config)),
        ],
    )


def placed(drawn: Mapping[str, Picture], *beginnings: str) -> list[Block]:
    """Pictures whose names begin like that; without a beginning, those that belong nowhere."""
    wanted = beginnings or PLACED
    found = [
        picture for name, picture in drawn.items() if name.startswith(wanted) == bool(beginnings)
    ]
    return [Figures(found)] if found else []


def refuse_contradiction(run: Path, metrics: Mapping, predictions: Predictions) -> None:
    """Refuse metrics of other predictions or of an earlier alloyk: a report must not mix them."""
    k = len(predictions.classes)
    matrix = np.bincount(predictions.y_true * k + predictions.y_pred, minlength=k * k)
    agrees = (
        metrics.get("classes") == list(predictions.classes)
        and metrics.get("confusion_matrix") == matrix.reshape(k, k).tolist()
    )
    missing = [key for key in WANTED if key not in metrics]
    if not agrees or missing:
        why = f"has no {missing[0]}" if missing else f"does not belong to {run / 'predictions.csv'}"
        raise AlloykError(
            f"{run / 'metrics.json'} {why}: run `alloyk evaluate {run} --from-predictions` first"
        )


def tiles(metrics: Mapping) -> list[tuple[str, str, str]]:
    """The few numbers to read first."""
    intervals = metrics["confidence_intervals"]
    found = []
    for path, name in FIGURES.items():
        value = figure_at(metrics, path)
        between = intervals.get(path)
        note = "95 % [{:.4f}, {:.4f}]".format(*between) if between else ""
        found.append((name, "undefined" if value is None else f"{value:.4f}", note))
    return found


def training_blocks(run: Path, metrics: Mapping, drawn: list[Block]) -> list[Block]:
    """How training went."""
    train = metrics.get("train")
    if not train:  # each fold of a cross-validation has its own
        return drawn
    rows = [
        ("parameters", count(train["parameters"]).text),
        ("best epoch", str(train["best_epoch"])),
        ("final loss", number(train["final_loss"]).text),
        ("final validation loss", number(train["final_val_loss"]).text),
        ("duration", f"{train['seconds']:,.0f} s"),
    ]
    history = read_history(run / "history.csv") or {"epoch": []}
    names = list(history)
    epochs = [
        [
            Cell(f"{history[name][row]:.6g}", float(history[name][row]))
            if np.isfinite(history[name][row])
            else Cell("–")
            for name in names
        ]
        for row in range(len(history["epoch"]))
    ]
    return [
        Facts(rows),
        *drawn,
        Table("Every epoch", [name.replace("_", " ") for name in names], epochs, closed=True),
    ]


def explanations(run: Path) -> list[tuple[Path, dict]]:
    """Folder and record of everything that `alloyk explain` has left in a run."""
    folders = sorted(file.parent for file in run.glob("*/explanation.json"))
    whole = [folder for folder in folders if (folder / "overview.png").is_file()]
    return [(folder, read_json(folder / "explanation.json")) for folder in whole]


def explanation_blocks(found: list[tuple[Path, dict]]) -> list[Block]:
    """The overview of each explanation and what its sanity check said."""
    blocks: list[Block] = []
    for folder, record in found:
        sentence = record["sanity_check"]["sentence"]
        alt = (
            f"{len(record['images'])} images, each with the places that spoke for its class laid "
            "over it"
        )
        content = (folder / "overview.png").read_bytes()
        blocks.append(Text([sentence]))
        blocks.append(Figures([Picture(record["description"], alt, content)]))
    return blocks
