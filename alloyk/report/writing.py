"""Which kind of folder it is, and its report as a file."""

from pathlib import Path

from alloyk.errors import AlloykError
from alloyk.files import whole_file
from alloyk.imaging import shown
from alloyk.report.comparison import COMPARISON, comparison_page
from alloyk.report.page import Page, render
from alloyk.report.run_page import run_page

REPORT = "report.html"


def report_page(folder: str | Path) -> Page:
    """The page of a run, a comparison or a cross-validation.

    Raises:
        AlloykError: The folder is none of them, or its files contradict each other.
    """
    folder = Path(folder)
    if (folder / COMPARISON).is_file():
        return comparison_page(folder)
    if (folder / "predictions.csv").is_file() and (folder / "metrics.json").is_file():
        return run_page(folder)
    if not folder.exists():
        raise AlloykError(
            f"no folder {shown(folder)}: name a run, a comparison or a cross-validation"
        )
    raise AlloykError(
        f"{shown(folder)} holds no evaluation: wanted a run with predictions.csv and metrics.json, "
        "or a folder made by alloyk compare or alloyk cross-validate"
    )


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a folder; the same files give the same bytes.

    Args:
        folder: Run, comparison or cross-validation.
        out: The file; by default ``report.html`` in the folder.

    Returns:
        The file.
    """
    out = Path(out or Path(folder) / REPORT)
    text = render(report_page(folder))
    with whole_file(out) as unfinished:
        # A file name on Linux may be any bytes: those that are no text become question marks.
        unfinished.write_text(text, encoding="utf-8", errors="replace")
    return out
