"""How far a run's figures can be trusted: ceiling, controls, plates, calibration, abstention."""

from collections.abc import Mapping

from alloyk.alloys import display_name
from alloyk.report.page import Block, Cell, Facts, Table, Text, count, number, with_interval

ABOVE = (
    "The accuracy lies above the ceiling: the classifier has seen these plates before, or "
    "something in the images tells the class that the simulator's model does not know of."
)


def reference_blocks(metrics: Mapping) -> list[Block]:
    """The accuracy beside what an ideal classifier and simple controls reach."""
    ceiling, controls = metrics.get("ceiling"), metrics.get("controls") or {}
    if not ceiling and not controls:
        return []
    interval = metrics["confidence_intervals"].get("accuracy")
    rows = [["this run", with_interval(metrics["accuracy"], interval), ""]]
    for name, control in controls.items():
        cell = with_interval(control["accuracy"], control["interval"])
        rows.append([f"{name} control", cell, control["what"]])
    if not ceiling:
        return [Table("Accuracy beside simple classifiers", ("what", "accuracy", "by"), rows)]
    value, error = ceiling["accuracy"], ceiling["error"]
    cell = Cell(f"{value:.4f}", value, f"± {error:.4f} (Monte Carlo)")
    rows.append(["reference ceiling", cell, "ideal classifier under the simulator's own model"])
    by_class = [
        [display_name(label), number(ceiling["recall"].get(label)), number(figures["recall"])]
        for label, figures in metrics["per_class"].items()
    ]
    notes = [
        "The reference ceiling holds for single images of plates never seen before. It is a number "
        "of the simulator's own, linearised model, and is printed even where a run lies above it.",
        *ceiling.get("notes", []),
    ]
    if interval and interval[0] > value + 2 * error:
        notes.append(ABOVE)
    return [
        Table("Accuracy beside what is possible, simulated", ("what", "accuracy", "by"), rows),
        Table("Recall of each class", ("class", "of the ceiling", "of this run"), by_class),
        Text(notes),
    ]


def trust_blocks(metrics: Mapping) -> list[Block]:
    """Decisions per plate, calibration and abstention."""
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
            rows.append(("temperature scaling", f"not kept: {scaling['why']}"))
    blocks: list[Block] = [Facts(rows)] if rows else []
    if metrics.get("abstention"):
        blocks.append(abstention_table(metrics["abstention"], metrics["resampling"]["over"]))
    return blocks


def abstention_table(abstention: list[dict], over: str) -> Table:
    """What deciding only from a confidence on gives."""
    rows = []
    for row in abstention:
        percent = Cell(f"{100 * row['wanted_error_rate']:g} %", row["wanted_error_rate"])
        rows.append(
            [
                percent,
                number(row["threshold"]),
                number(row.get("coverage")),
                count(row.get("groups")),
                with_interval(row.get("error_rate"), row.get("interval")),
                row["chosen_on"] + (f": {row['why']}" if row.get("why") else ""),
            ]
        )
    columns = ("wanted error rate", "decide from confidence", "images decided", over,
               "error rate", "threshold chosen on")  # fmt: skip
    return Table("Leaving uncertain images undecided", columns, rows)
