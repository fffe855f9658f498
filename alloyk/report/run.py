"""The report of one run."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from alloyk.errors import AlloykError
from alloyk.evaluation import read_json
from alloyk.history import read_history
from alloyk.predictions import Predictions, read_predictions
from alloyk.report.limits import limits, model_card
from alloyk.report.origin import data_blocks, origin_blocks, read_config
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
    with_interval,
)
from alloyk.report.pictures import TRAINING, pictures
from alloyk.text_report import (
    HEADLINES,
    describe,
    describe_grouping,
    display_name,
    headline,
)

PER_CLASS = {
    "precision": "precision", "recall": "recall", "specificity": "specificity", "f1": "F1",
    "average_precision": "AP", "roc_auc": "AUC",
}  # fmt: skip
MOST_MISTAKES = 20
BETWEEN = " × "


def run_page(run: Path) -> Page:
    """The page of a run from its files.

    Raises:
        AlloykError: A file is missing, or ``metrics.json`` and ``predictions.csv`` disagree.
    """
    metrics = read_json(run / "metrics.json")
    predictions = read_predictions(run / "predictions.csv")
    refuse_contradiction(run, metrics, predictions)
    facts, config = read_json(run / "facts.json"), read_config(run)
    drawn = pictures(run / "figures", metrics)
    explained = explanations(run)
    arch = (config.get("model") or {}).get("arch")
    lead = ", ".join([*([arch] if arch else []), describe(predictions, metrics)])
    training = {name: drawn.pop(name) for name in list(drawn) if name in TRAINING}
    return Page(
        title=run.resolve().name,
        lead=f"{lead}. {describe_grouping(metrics['grouped_by'])}",
        simulated=bool(metrics["simulated"]),
        tiles=tiles(metrics),
        sections=[
            Section("Figures and tables", [class_table(metrics), Figures(list(drawn.values()))]),
            Section("By condition", breakdown_tables(run / "breakdown.csv")),
            Section("Trust", trust_blocks(metrics)),
            Section("Mistakes", mistakes(predictions)),
            Section("Training", training_blocks(run, metrics, training)),
            Section("Explanation", explanation_blocks(explained)),
            Section(
                "Limits",
                [Text(limits(metrics, facts, config, [e for _, e in explained]), listed=True)],
            ),
            Section("Model card", [Facts(model_card(run.resolve().name, metrics, facts, config))]),
            Section("Data", data_blocks(facts, config)),
            Section("Origin", origin_blocks(run, facts, config)),
        ],
    )


def refuse_contradiction(run: Path, metrics: Mapping, predictions: Predictions) -> None:
    """Refuse metrics that do not come from these predictions: a report must not mix the two."""
    k = len(predictions.classes)
    matrix = np.bincount(predictions.y_true * k + predictions.y_pred, minlength=k * k)
    agrees = (
        metrics.get("classes") == list(predictions.classes)
        and metrics.get("confusion_matrix") == matrix.reshape(k, k).tolist()
    )
    if not agrees:
        raise AlloykError(
            f"{run / 'metrics.json'} does not belong to {run / 'predictions.csv'}: run "
            f"`alloyk evaluate {run} --from-predictions` first"
        )


def tiles(metrics: Mapping) -> list[tuple[str, str, str]]:
    """The few numbers to read first."""
    intervals = metrics["confidence_intervals"]
    found = []
    for path, name in HEADLINES.items():
        value = headline(metrics, path)
        between = intervals.get(path)
        note = "95 % [{:.4f}, {:.4f}]".format(*between) if between else ""
        found.append((name, "undefined" if value is None else f"{value:.4f}", note))
    return found


def class_table(metrics: Mapping) -> Table:
    """Every figure of every class, macro and micro below."""
    intervals = metrics["confidence_intervals"]

    def row(name, path, figures):
        cells = [
            with_interval(figures[figure], intervals.get(f"{path}.{figure}"))
            for figure in PER_CLASS
        ]
        return [name, *cells, count(figures["support"])]

    return Table(
        f"Each class against the rest, with 95 % intervals over {metrics['resampling']['over']}",
        ("class", *PER_CLASS.values(), "images"),
        [
            row(display_name(label), f"per_class.{label}", figures)
            for label, figures in metrics["per_class"].items()
        ],
        footer=[row(name, name, metrics[name]) for name in ("macro", "micro")],
    )


def breakdown_tables(file: Path) -> list[Block]:
    """A table for each ``by`` of ``breakdown.csv``, a column for each of its parts."""
    if not file.is_file():
        return []
    tables: dict[tuple, list] = {}
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        for row in csv.DictReader(lines):
            by, values = row["by"].split(BETWEEN), row["value"].split(BETWEEN)
            if len(by) != len(values):  # a value with such a sign of its own
                by, values = [row["by"]], [row["value"]]
            interval = [float(row[end]) for end in ("low", "high") if row[end]]
            cells = [_value(column, value) for column, value in zip(by, values, strict=True)]
            cells.append(with_interval(float(row["accuracy"]), interval))
            cells += [count(int(float(row[name]))) for name in ("images", "plates")]
            tables.setdefault(tuple(by), []).append(cells)
    columns = ("accuracy", "images", "plates")
    return [
        Table(f"Accuracy by {BETWEEN.join(by)}", (*by, *columns), rows)
        for by, rows in tables.items()
    ]


def _value(column: str, text: str) -> Cell:
    """A value of a manifest column, sorted as a number where it is one."""
    if column == "label":
        return Cell(display_name(text))
    try:
        return Cell(text, float(text))
    except ValueError:
        return Cell(text)


def trust_blocks(metrics: Mapping) -> list[Block]:
    """Calibration, abstention, decisions per plate and the reference ceiling."""
    rows = []
    ceiling = metrics.get("reference_ceiling")
    if ceiling:
        rows.append(("reference ceiling", str(ceiling)))
    plates = metrics.get("plates")
    if plates:
        cell = with_interval(plates["accuracy"], plates["interval"])
        text = f"{cell.text} {cell.note}".strip()
        rows.append((f"accuracy per plate ({plates['n']:,} plates)", text))
    calibration = metrics.get("calibration")
    if calibration:
        error = calibration["expected_calibration_error"]
        rows.append(("expected calibration error", f"{error:.4f}"))
        scaling = calibration["temperature_scaling"]
        if scaling and scaling["temperature"] is not None:
            rows.append(
                (
                    f"with temperature {scaling['temperature']:.3f}, fitted on validation",
                    f"{scaling['expected_calibration_error']:.4f}, log loss "
                    f"{scaling['log_loss']:.4f}",
                )
            )
        elif scaling:
            rows.append(("temperature scaling", f"not kept: {scaling['why']}"))
    blocks: list[Block] = [Facts(rows)] if rows else []
    if metrics.get("abstention"):
        blocks.append(abstention_table(metrics["abstention"]))
    return blocks


def abstention_table(abstention: list[dict]) -> Table:
    """What deciding only from a confidence on gives."""
    rows = []
    for row in abstention:
        percent = Cell(f"{100 * row['wanted_error_rate']:g} %", row["wanted_error_rate"])
        rows.append(
            [
                percent,
                number(row["threshold"]),
                number(row.get("coverage")),
                with_interval(row.get("error_rate"), row.get("interval")),
                row["chosen_on"],
            ]
        )
    columns = ("wanted error rate", "decide from confidence", "images decided", "error rate",
               "threshold chosen on")  # fmt: skip
    return Table("Leaving uncertain images undecided", columns, rows)


def mistakes(predictions: Predictions) -> list[Block]:
    """The most confident wrong decisions."""
    wrong = np.flatnonzero(predictions.y_true != predictions.y_pred)
    if not len(wrong):
        return [Text(["No image was taken for another class."])]
    worst = wrong[np.argsort(-predictions.confidence[wrong], kind="stable")][:MOST_MISTAKES]
    table = predictions.table
    rows = [
        [
            table["path"].iloc[row],
            display_name(table["label"].iloc[row]),
            display_name(table["predicted"].iloc[row]),
            number(predictions.confidence[row]),
        ]
        for row in worst
    ]
    caption = f"The most confident of {len(wrong):,} mistakes"
    return [Table(caption, ("image", "true", "taken for", "confidence"), rows)]


def training_blocks(run: Path, metrics: Mapping, drawn: Mapping[str, Picture]) -> list[Block]:
    """How training went."""
    train = metrics.get("train")
    if not train:
        return []
    rows = [
        ("parameters", count(train["parameters"]).text),
        ("best epoch", str(train["best_epoch"])),
        ("final loss", number(train["final_loss"]).text),
        ("final validation loss", number(train["final_val_loss"]).text),
        ("duration", f"{train['seconds']:,.0f} s"),
    ]
    history = read_history(run / "history.csv")
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
        Figures(list(drawn.values())),
        Table("Every epoch", [name.replace("_", " ") for name in names], epochs, closed=True),
    ]


def explanations(run: Path) -> list[tuple[Path, dict]]:
    """Folder and record of everything that `alloyk explain` has left in a run."""
    files = sorted(run.glob("*/explanation.json"))
    return [(file.parent, read_json(file)) for file in files]


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
        blocks.append(Figures([Picture(record["method"], alt, content, wide=True)]))
    return blocks
