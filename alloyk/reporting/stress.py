"""The stress test of a run in its report."""

from pathlib import Path

from alloyk.reporting.page import Block, Cell, Figures, Picture, Table, number
from alloyk.robustness.table import CLEAN, read_rows
from alloyk.runs.file_names import STRESS_FIGURE, STRESS_TABLE


def stress_blocks(folder: Path) -> list[Block]:
    """Show what `alloyk stress` wrote to a folder; nothing if it did not run.

    Raises:
        DataError: The table cannot be read.
    """
    file = folder / STRESS_TABLE
    if not file.is_file():
        return []
    found = read_rows(file)
    columns = ["disturbance", "strength", "accuracy, %", "unlike, %", "silent errors, %"]
    shares, caption = ["accuracy", "unlike", "silent_errors"], "Disturbed test images"
    if any(row.detectable is not None for row in found):
        columns.append("detectable, %")
        shares.append("detectable")
        caption += ", and images simulated anew"
    rows: list[list[Cell | str]] = [
        [
            row.kind,
            "" if row.kind == CLEAN else f"{row.strength:g} {row.unit}".strip(),
            *(_percent(getattr(row, name)) for name in shares),
        ]
        for row in found
    ]
    blocks: list[Block] = [Table(caption, columns, rows)]
    figure = folder / STRESS_FIGURE
    if figure.is_file():
        alt = "Accuracy by kind of disturbance, a dot for each strength"
        blocks.append(Figures([Picture("Accuracy under disturbance", alt, figure.read_bytes())]))
    return blocks


def _percent(share: float | None) -> Cell:
    return number(None if share is None else 100 * share, 1)
