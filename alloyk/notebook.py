"""Small HTML tables, in which results show themselves in a notebook."""

from collections.abc import Iterable, Sequence
from html import escape

MAX_ROWS = 20
"""Rows shown; the rest is counted."""


def html_table(caption: object, columns: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as HTML, every text escaped, numbers with four significant digits.

    >>> html_table("<b>", ["class", "recall"], [["Al 1050", 0.98765]])
    '<table><caption>&lt;b&gt;</caption><tr><th>class</th><th>recall</th></tr><tr><td>Al
    1050</td><td>0.9877</td></tr></table>'
    """
    lines = [_row("th", columns), *(_row("td", row) for row in rows[:MAX_ROWS])]
    if len(rows) > MAX_ROWS:
        left = f"… and {len(rows) - MAX_ROWS:,} more"
        lines.append(f'<tr><td colspan="{len(columns)}">{left}</td></tr>')
    return f"<table><caption>{escape(str(caption))}</caption>{''.join(lines)}</table>"


def _row(tag: str, cells: Iterable[object]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(_text(cell))}</{tag}>" for cell in cells) + "</tr>"


def _text(cell: object) -> str:
    if cell is None:
        return ""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
