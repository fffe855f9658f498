"""The result of a stress test: a row for each disturbance, as CSV, Markdown and figure."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alloyk.errors import DataError
from alloyk.files import write_csv
from alloyk.inference.novelty import FALSE_ALARMS
from alloyk.messages import shown
from alloyk.metrics.selective import CONFIDENT
from alloyk.plots.style import in_house_style, new_axes, save_figure

CLEAN = "clean"
SIMULATED_AGAIN = "simulated again"
"""Other plates in the set-up of training: clean too, and what other set-ups compare with."""

COLUMNS = ("kind", "strength", "unit", "n", "accuracy", "unlike", "silent_errors", "detectable")


@dataclass(frozen=True)
class Row:
    """One disturbance at one strength.

    Attributes:
        kind: Key of `KINDS`, or `clean`.
        strength: Its strength in `unit`.
        unit: What the strength counts.
        n: Number of images.
        accuracy: Share of right answers; None where the image no longer shows its label.
        unlike: Share of images that the run calls unlike those of training; None if it cannot.
        silent_errors: Share of answers that are confident and wrong, to images not called unlike.
        detectable: Share that the best possible detector of foreign plates reports; None where
            the plates are those of training, or not simulated.
    """

    kind: str
    strength: float
    unit: str
    n: int
    accuracy: float | None
    unlike: float | None
    silent_errors: float
    detectable: float | None = None


def mean_accuracy(rows: Sequence[Row]) -> float:
    """Mean accuracy over all disturbances whose images still show their label."""
    clean = (CLEAN, SIMULATED_AGAIN)
    disturbed = [row.accuracy for row in rows if row.kind not in clean]
    return float(np.mean([accuracy for accuracy in disturbed if accuracy is not None]))


def format_markdown(rows: Sequence[Row], *, simulated: bool) -> str:
    """The table with a line for each kind, and the summary below it.

    Args:
        rows: As in `draw_rows`.
        simulated: Whether the images are simulated, which the summary then says.
    """
    clean, kind = rows[0], "simulated images" if simulated else "images"
    lines = [
        "| disturbance | strengths | accuracy, % | unlike, % | silent errors, % |",
        "|---|---|---|---|---|",
    ]
    limited = any(row.detectable is not None for row in rows)
    if limited:
        lines = [lines[0] + " detectable, % |", lines[1] + "---|"]
    for name in dict.fromkeys(row.kind for row in rows):
        own = [row for row in rows if row.kind == name]
        strengths = ", ".join(f"{row.strength:g}" for row in own)
        strengths = f"{strengths} {own[0].unit}" if own[0].unit else ""
        cells = [
            _percent([row.accuracy for row in own]),
            _percent([row.unlike for row in own]),
            _percent([row.silent_errors for row in own]),
        ]
        if limited:
            known = any(row.detectable is not None for row in own)
            cells.append(_percent([row.detectable for row in own]) if known else "")
        lines.append(f"| {name} | {strengths} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Mean accuracy over all disturbances: {100 * mean_accuracy(rows):.1f} % "
        f"({clean.n} {kind} each). Silent errors: wrong with a probability of {CONFIDENT:g} or "
        "more, and not called unlike.",
    ]
    if limited:
        lines[-1] += (
            " Detectable: share that the best possible detector reports at "
            f"{100 * FALSE_ALARMS:g} % false alarms, by the reference ceiling's model."
        )
    return "\n".join(lines) + "\n"


def _percent(shares: Sequence[float | None]) -> str:
    """Shares of one kind, from weak to strong.

    >>> _percent([1.0, 0.985, None])
    '100.0 / 98.5 / –'
    """
    return " / ".join("–" if share is None else f"{100 * share:.1f}" for share in shares)


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write a row for each disturbance and strength as CSV."""
    table: list[Sequence[object]] = [COLUMNS]
    for row in rows:
        shares = (row.accuracy, row.unlike, row.silent_errors, row.detectable)
        cells = [None if share is None else f"{share:.6g}" for share in shares]
        table.append([row.kind, row.strength, row.unit, row.n, *cells])
    write_csv(path, table)


def read_rows(path: Path) -> tuple[Row, ...]:
    """Read the table that `stress_run` wrote.

    Raises:
        DataError: It is not such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(
                Row(
                    row["kind"],
                    float(row["strength"]),
                    row["unit"],
                    int(row["n"]),
                    float(row["accuracy"]) if row["accuracy"] else None,
                    float(row["unlike"]) if row["unlike"] else None,
                    float(row["silent_errors"]),
                    # Tables of earlier versions lack it.
                    float(row["detectable"]) if row.get("detectable") else None,
                )
                for row in csv.DictReader(file)
            )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{shown(path)} must be a table of `alloyk stress`, got {error!r}; write it again"
        ) from error


@in_house_style
def draw_rows(rows: Sequence[Row], path: Path, *, simulated: bool) -> None:
    """Draw the accuracy by kind, one dot for each strength; the strongest is the darkest.

    Args:
        rows: The clean images first.
        path: The PNG file.
        simulated: Whether the images are simulated, which the title then says.
    """
    names = list(dict.fromkeys(row.kind for row in rows if row.accuracy is not None))[1:]
    ax = new_axes(7.0, 0.26 * len(names) + 1.2)
    for place, name in enumerate(names):
        own = [row.accuracy for row in rows if row.kind == name and row.accuracy is not None]
        for number, accuracy in enumerate(own):
            ax.plot(100 * accuracy, place, "o", color="C0", alpha=0.35 + 0.3 * number)
    if rows[0].accuracy is not None:
        ax.axvline(100 * rows[0].accuracy, color="0.5", linewidth=1, label="clean images")
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel("Accuracy (%)")
    kind = "simulated images, " if simulated else ""
    title = f"Accuracy under disturbance ({kind}darker dots are stronger)"
    ax.set_title(title, loc="left", fontsize=10)
    ax.legend(loc="lower left", frameon=False, fontsize=8)
    save_figure(ax, path)
