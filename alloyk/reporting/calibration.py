"""How reliable a run's metrics are: ceiling, baselines, plates, calibration, abstention."""

from typing import Any

from alloyk.alloys import display_name
from alloyk.metrics.selective import threshold_text
from alloyk.reporting.page import (
    Block,
    Cell,
    NameValues,
    Table,
    Text,
    count,
    number,
    with_interval,
)
from alloyk.runs.metrics import Metrics

ABOVE = (
    "The accuracy is above the ceiling: these plates were used in training, or the images carry "
    "information on the class that the simulator's model lacks."
)


def reference_blocks(metrics: Metrics) -> list[Block]:
    """Compare the accuracy with an ideal classifier and simple baselines."""
    ceiling, baselines = metrics.get("ceiling"), metrics.get("controls") or {}
    if not ceiling and not baselines:
        return []
    interval = metrics["confidence_intervals"].get("accuracy")
    rows: list[list[Cell | str]] = [["this run", with_interval(metrics["accuracy"], interval), ""]]
    for name, baseline in baselines.items():
        cell = with_interval(baseline["accuracy"], baseline["interval"])
        rows.append([f"{name} baseline", cell, baseline["what"]])
    if not ceiling:
        return [
            Table("Accuracy beside simple baselines", ("classifier", "accuracy", "method"), rows)
        ]
    value, error = ceiling["accuracy"], ceiling["error"]
    cell = Cell(f"{value:.4f}", value, f"± {error:.4f} (Monte Carlo)")
    rows.append(["reference ceiling", cell, "ideal classifier under the simulator's own model"])
    by_class: list[list[Cell | str]] = [
        [display_name(label), number(ceiling["recall"].get(label)), number(of_class["recall"])]
        for label, of_class in metrics["per_class"].items()
    ]
    notes = [
        "The reference ceiling is for one image, or one sample of several channels, of a plate "
        "that was not used in training. It belongs to the simulator's own, linearised model, and "
        "is printed even where a run is above it.",
        *ceiling.get("notes", []),
    ]
    if interval and interval[0] > value + 2 * error:
        notes.append(ABOVE)
    return [
        Table(
            "Accuracy beside the reference ceiling, simulated",
            ("classifier", "accuracy", "method"),
            rows,
        ),
        Table("Recall of each class", ("class", "ceiling", "this run"), by_class),
        Text(notes),
    ]


def calibration_blocks(metrics: Metrics) -> list[Block]:
    """Report accuracy per plate, calibration and abstention."""
    rows = []
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
            rows.append(("temperature scaling", f"none: {scaling['why']}"))
    unlike = metrics.get("unlike")
    if unlike:
        known = unlike["validation_share"]
        beside = "" if known is None else f" (validation: {100 * known:.2f} %)"
        rows.append(("unlike the training images", f"{100 * unlike['share']:.2f} %{beside}"))
        silent = f"{100 * unlike['silent_errors']:.2f} %"
        rows.append(("silent errors: not unlike, confident, wrong", silent))
    blocks: list[Block] = [NameValues(rows)] if rows else []
    if metrics.get("abstention"):
        blocks.append(abstention_table(metrics["abstention"], metrics["resampling"]["over"]))
    return blocks


def abstention_table(abstention: list[dict[str, Any]], over: str) -> Table:
    """Tabulate what abstaining below a confidence threshold gives."""
    rows = []
    for row in abstention:
        threshold = row["threshold"]
        percent = Cell(f"{100 * row['wanted_error_rate']:g} %", row["wanted_error_rate"])
        rows.append(
            [
                percent,
                Cell("–" if threshold is None else threshold_text(threshold), threshold),
                number(row.get("coverage")),
                count(row.get("groups")),
                with_interval(row.get("error_rate"), row.get("interval")),
                row["chosen_on"] + (f": {row['why']}" if row.get("why") else ""),
            ]
        )
    columns = ("target error rate", "confidence threshold", "images classified", over,
               "error rate", "threshold chosen on")  # fmt: skip
    return Table("Abstaining on uncertain images", columns, rows)
