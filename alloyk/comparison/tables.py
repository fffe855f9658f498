"""One table as Markdown, CSV and LaTeX."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alloyk.csv_lines import csv_line
from alloyk.files import whole_file

# In Markdown and LaTeX; the CSV file has an empty field.
NOTHING = "–"
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "−": "$-$", "–": "--", "±": r"$\pm$", "×": r"$\times$", "²": "$^2$", "<": "$<$", ">": "$>$",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        key: Key of its value in a row.
        form: Format of a number, such as `.4f`; empty for text.
        interval: Key of the `[low, high]` to append in brackets.
    """

    title: str
    key: str
    form: str = ""
    interval: str | None = None

    def shown(self, row: Mapping[str, Any]) -> str:
        """Format the cell."""
        value = row.get(self.key)
        if value is None:
            return NOTHING
        text = _number(value, self.form) if self.form else str(value)
        between = row.get(self.interval) if self.interval else None
        if between:
            low, high = (_number(end, self.form) for end in between)
            text += f" [{low}, {high}]"
        return text


def _number(value: float, form: str) -> str:
    if form.endswith("p"):  # a p value
        digits = int(form[1:-1])
        return f"{value:.{digits}f}" if value >= 10**-digits else f"<{10**-digits:.{digits}f}"
    if form.endswith("f"):
        form = form.replace(".", "z.")  # no minus zero
    return f"{value:{form}}".replace("-", "−")


def markdown(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> str:
    r"""Format a table as Markdown, its columns aligned.

    >>> print(markdown([Column("Run", "name"), Column("Accuracy", "a", ".2f")],
    ...                [{"name": "cnn", "a": 0.5}, {"name": "a|b", "a": None}]))
    | Run  | Accuracy |
    |:-----|---------:|
    | cnn  |     0.50 |
    | a\|b |        – |
    """
    cells = [[column.title for column in columns]]
    cells += [[column.shown(row).replace("|", r"\|") for column in columns] for row in rows]
    widths = [max(3, *(len(line[k]) for line in cells)) for k in range(len(columns))]

    def line(texts: Sequence[str]) -> str:
        padded = (
            text.rjust(width) if column.form else text.ljust(width)
            for text, width, column in zip(texts, widths, columns, strict=True)
        )
        return "| " + " | ".join(padded) + " |"

    rule = "|".join(
        "-" * (width + 1) + ":" if column.form else ":" + "-" * (width + 1)
        for width, column in zip(widths, columns, strict=True)
    )
    return "\n".join([line(cells[0]), f"|{rule}|", *map(line, cells[1:])])


def latex(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], caption: str) -> str:
    """Format a LaTeX table for the package booktabs."""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(caption)}}}",
        rf"\begin{{tabular}}{{{''.join('r' if column.form else 'l' for column in columns)}}}",
        r"\toprule",
        " & ".join(_escaped(column.title) for column in columns) + r" \\",
        r"\midrule",
        *(" & ".join(_escaped(column.shown(row)) for column in columns) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return re.sub("[" + re.escape("".join(LATEX)) + "]", lambda found: LATEX[found[0]], text)


def csv_text(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> str:
    """Format a CSV table of full precision; an interval has columns `…_low` and `…_high`."""
    keys: dict[str, tuple[str, int | None]] = {}
    for column in columns:
        keys[column.key] = (column.key, None)
        if column.interval:
            keys[f"{column.key}_low"] = (column.interval, 0)
            keys[f"{column.key}_high"] = (column.interval, 1)
    lines = (csv_line(_value(row, *key) for key in keys.values()) for row in rows)
    return csv_line(keys) + "".join(lines)


def _value(row: Mapping[str, Any], key: str, place: int | None) -> Any:
    value = row.get(key)
    return value if value is None or place is None else value[place]


def write_table(
    folder: Path,
    name: str,
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, Any]],
    caption: str,
) -> None:
    """Write `<name>.md`, `<name>.csv` and `<name>.tex`."""
    for suffix, text in (
        ("md", f"{caption}\n\n{markdown(columns, rows)}\n"),
        ("csv", csv_text(columns, rows)),
        ("tex", latex(columns, rows, caption)),
    ):
        with whole_file(Path(folder) / f"{name}.{suffix}") as unfinished:
            unfinished.write_text(text, encoding="utf-8", errors="surrogateescape")
