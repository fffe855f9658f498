"""Recognise the kind of a folder, and write its report as a file."""

from pathlib import Path

from alloyk.comparison.output import COMPARISON
from alloyk.errors import ConfigError, ModelError
from alloyk.files import whole_file
from alloyk.messages import shown
from alloyk.reporting.comparison import comparison_page
from alloyk.reporting.page import Page, render
from alloyk.reporting.run_page import run_page
from alloyk.reporting.search_page import search_page
from alloyk.runs.destination import refuse_other_content, refuse_other_ending, refuse_other_run
from alloyk.runs.folder import RunFolder
from alloyk.runs.search_folder import SearchFolder

SUFFIXES = (".html", ".htm")
MADE_BY = b'<meta name="generator" content="alloyk '


def report_page(folder: str | Path) -> Page:
    """Build the page of a run, a comparison, a cross-validation or a search.

    Raises:
        AlloykError: The folder is none of them, or its files contradict each other.
    """
    folder = Path(folder)
    if (folder / COMPARISON).is_file():
        return comparison_page(folder)
    if SearchFolder(folder).is_search:
        return search_page(SearchFolder(folder))
    run = RunFolder(folder)
    if run.has_evaluation:
        return run_page(run)
    if not folder.exists():
        raise ModelError(
            "the folder must be a run, a comparison, a cross-validation or a search, but "
            f"{shown(folder)} does not exist; check the path"
        )
    raise ModelError(
        f"the folder must be a run with {run.predictions_file().name} and {run.metrics_file.name}, "
        "or made by `alloyk compare`, `alloyk cross-validate` or `alloyk tune`, got "
        f"{shown(folder)}"
    )


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a folder; the same files give the same bytes.

    Args:
        folder: Run, comparison, cross-validation or search.
        out: The file; by default `report.html` in the folder.

    Returns:
        The file.

    Raises:
        AlloykError: As `report_page`; or `out` is no HTML file, belongs to another run, search or
            comparison, or is no report.
    """
    out = Path(out or RunFolder(folder).page_file)
    refuse_other_ending(out, SUFFIXES)
    _refuse_other_page(out, Path(folder))
    text = render(report_page(folder))
    with whole_file(out) as unfinished:
        # A file name on Linux may be any bytes; those that are not text become question marks.
        unfinished.write_text(text, encoding="utf-8", errors="replace")
    return out


def _refuse_other_page(out: Path, folder: Path) -> None:
    refuse_other_run(out, folder)
    there = out.parent
    if there.resolve() != folder.resolve() and (
        SearchFolder(there).is_search or (there / COMPARISON).is_file()
    ):
        raise ConfigError(
            f"--out must not lie in another search or comparison, got {shown(out)}; choose another "
            "--out"
        )
    refuse_other_content(out, lambda head: MADE_BY in head, "an earlier report")
