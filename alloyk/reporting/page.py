"""The parts of a report, and how they are rendered as one HTML file.

The file loads nothing: pictures are data URIs. Its content policy names its one script and its one
style sheet by their hashes and forbids everything else, so a class name cannot act as a script.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources

from alloyk import __version__

# Aspect ratio, or width in pixels, above which a picture gets the full width.
WIDE, WIDE_PIXELS = 1.9, 1300
TEMPLATES = resources.files("alloyk.reporting") / "templates"


@dataclass(frozen=True)
class Cell:
    """A table cell.

    Attributes:
        text: The content.
        value: The number to sort by; None sorts by the text.
        note: Shown below the text.
    """

    text: str
    value: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table that is sorted by a click on a column heading.

    Attributes:
        caption: What it shows.
        columns: Column headings.
        rows: A cell for each column; a plain string is a cell too.
        footer: Rows that stay at the end.
        closed: Whether it is shown on demand only.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    footer: Sequence[Sequence[Cell | str]] = ()
    closed: bool = False
    kind: str = "table"

    def is_numeric(self, column: int) -> bool:
        """Whether a column has numbers, which are right-aligned."""
        cells = [row[column] for row in self.rows]
        return any(not isinstance(cell, str) and cell.value is not None for cell in cells)


@dataclass(frozen=True)
class Figures:
    """Pictures side by side, where the screen is wide enough."""

    pictures: Sequence["Picture"]
    kind: str = "figures"


@dataclass(frozen=True)
class Picture:
    """A picture within the file.

    Attributes:
        title: Shown below it.
        alt: Description for screen readers.
        content: The bytes of a PNG file.
    """

    title: str
    alt: str
    content: bytes

    @property
    def wide(self) -> bool:
        """Whether it would be too small at half the width of a screen."""
        width, height = self.size
        return width > WIDE * height or width > WIDE_PIXELS

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.content).decode()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the file's header (PNG specification, 11.2.2)."""
        return int.from_bytes(self.content[16:20]), int.from_bytes(self.content[20:24])


@dataclass(frozen=True)
class NameValues:
    """Names and their values."""

    rows: Sequence[tuple[str, str]]
    kind: str = "facts"


@dataclass(frozen=True)
class Text:
    """Paragraphs, or a bulleted list if `listed`."""

    paragraphs: Sequence[str]
    listed: bool = False
    kind: str = "text"


@dataclass(frozen=True)
class Code:
    """Text of a file, line by line."""

    caption: str
    text: str
    kind: str = "code"


Block = Table | Figures | NameValues | Text | Code


@dataclass(frozen=True)
class Section:
    """A heading and its content."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """Name for links within the page."""
        return self.title.lower().replace(" ", "-")


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        title: Heading.
        lead: One sentence on what it is about.
        simulated: Whether its numbers come from simulated images.
        tiles: Headline numbers as `(name, number, note)`.
        sections: In order; those without blocks are left out.
    """

    title: str
    lead: str
    simulated: bool
    tiles: Sequence[tuple[str, str, str]] = ()
    sections: Sequence[Section] = field(default=())


def render(page: Page) -> str:
    """The HTML text of a page."""
    script, style = _asset("report.js"), _asset("report.css")
    return _template().render(
        page=page,
        sections=[section for section in page.sections if section.blocks],
        script=script,
        style=style,
        policy=f"default-src 'none'; img-src data:; script-src '{_hash(script)}'; "
        f"style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'",
        version=__version__,
    )


@cache
def _template():
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(_asset("page.html"))


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the CSP hash of an inline script or style (CSP level 3, section 8.4)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def number(value: float | None, digits: int = 4) -> Cell:
    """Return a number with `digits` decimals, or a dash for None.

    >>> number(0.98765), number(None).text
    (Cell(text='0.9877', value=0.98765, note=''), '–')
    """
    return Cell("–") if value is None else Cell(f"{value:.{digits}f}", value)


def count(value: int | None) -> Cell:
    """A whole number.

    >>> count(4049571).text
    '4,049,571'
    """
    return Cell("–") if value is None else Cell(f"{value:,}", value)


def in_unit(value: float | None, interval: Sequence[float] | None) -> Cell:
    """A number of any size, with four digits, and its 95 % interval.

    >>> in_unit(3.1e-5, [2.8e-5, 3.4e-5])
    Cell(text='3.100e-05', value=3.1e-05, note='[2.800e-05, 3.400e-05]')
    """
    if value is None:
        return number(value)
    note = "[{:#.4g}, {:#.4g}]".format(*interval) if interval else ""
    return Cell(f"{value:#.4g}", value, note)


def with_interval(value: float | None, interval: Sequence[float] | None) -> Cell:
    """A number with its 95 % interval.

    >>> with_interval(0.9, [0.85, 0.94])
    Cell(text='0.9000', value=0.9, note='[0.8500, 0.9400]')
    """
    cell = number(value)
    if value is None or not interval:
        return cell
    return replace(cell, note="[{:.4f}, {:.4f}]".format(*interval))
