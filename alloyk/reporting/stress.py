"""The stress test of a run in its report."""

from pathlib import Path

from alloyk.reporting.page import Block, Cell, Figures, Picture, Table
from alloyk.robustness.table import CLEAN, Row, read_rows
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
    limited = any(row.detectable is not None for row in found)

    def shares_of(row: Row) -> tuple[float | None, ...]:
        shares = (row.accuracy, row.unlike, row.silent_errors)
        return (*shares, row.detectable) if limited else shares

    rows = [
        [
            row.kind,
            "" if row.kind == CLEAN else f"{row.strength:g} {row.unit}".strip(),
            *(_share(share) for share in shares_of(row)),
        ]
        for row in found
    ]
    columns = ["disturbance", "strength", "accuracy, %", "unlike, %", "silent errors, %"]
    if limited:
        columns.append("detectable, %")
    caption = (
        "Disturbed test images, and images simulated anew" if limited else "Disturbed test images"
    )
    blocks: list[Block] = [Table(caption, columns, rows)]
    figure = folder / STRESS_FIGURE
    if figure.is_file():
        alt = "Accuracy by kind of disturbance, a dot for each strength"
        blocks.append(Figures([Picture("Accuracy under disturbance", alt, figure.read_bytes())]))
    return blocks


def _share(share: float | None) -> Cell | str:
    return "–" if share is None else Cell(f"{100 * share:.1f}", share)
