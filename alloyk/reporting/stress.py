"""The stress test of a run in its report."""

import csv
from pathlib import Path

from alloyk.errors import ModelError
from alloyk.imaging import shown
from alloyk.reporting.page import Block, Cell, Figures, Picture, Table
from alloyk.runs.folder import STRESS_FIGURE, STRESS_TABLE

SHARES = ("accuracy", "unlike", "silent_errors")


def stress_blocks(folder: Path) -> list[Block]:
    """Show what `alloyk stress` wrote to a folder; nothing where it did not run.

    Raises:
        ModelError: The table cannot be read.
    """
    file = folder / STRESS_TABLE
    if not file.is_file():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as text:
            rows = [
                [
                    row["kind"],
                    "" if row["kind"] == "clean" else f"{row['strength']} {row['unit']}".strip(),
                    *(_share(row[name]) for name in SHARES),
                ]
                for row in csv.DictReader(text)
            ]
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(
            f"cannot read {shown(file)}: {error}; write it again with `alloyk stress`"
        ) from error
    columns = ("disturbance", "strength", "accuracy, %", "unlike, %", "silent errors, %")
    blocks: list[Block] = [Table("Disturbed test images", columns, rows)]
    figure = folder / STRESS_FIGURE
    if figure.is_file():
        alt = "Accuracy by kind of disturbance, a dot for each strength"
        blocks.append(Figures([Picture("Accuracy under disturbance", alt, figure.read_bytes())]))
    return blocks


def _share(text: str) -> Cell | str:
    return Cell(f"{100 * float(text):.1f}", float(text)) if text else "–"
