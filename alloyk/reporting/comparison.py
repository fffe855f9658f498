"""The report of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from alloyk.comparison.output import COMPARISON, ComparisonTable, describe, tables_of
from alloyk.comparison.tables import Column
from alloyk.reporting.page import Block, Cell, Figures, Page, Picture, Section, Table, Text
from alloyk.runs.folder import RunFolder
from alloyk.runs.json_file import read_json

MAX_PAIRS = 12
# Heading → its content: a table and the figure of the same name.
HEADINGS = {
    "Accuracy and loss": ("table2", "standalone_voting"),
    "Average precision and AUC": ("table3",),
    "Estimates": ("estimates",),
    "Tests between runs": ("pairs",),
    "Seeds": ("seeds", "seed_tests"),
}
ONE_SEED = (
    "Each run has one seed, and another would give another accuracy: the tests tell "
    "whether two trained networks differ, not whether two architectures do."
)


def comparison_page(folder: Path) -> Page:
    """Build the page of a folder that `alloyk compare` has written."""
    comparison = read_json(folder / COMPARISON)
    tables, runs = tables_of(comparison), comparison["runs"]
    pictures = _pictures(RunFolder(folder).figures_folder, comparison)
    sections = []
    for heading, names in HEADINGS.items():
        blocks: list[Block] = []
        for name in names:
            if name in tables:
                blocks.append(as_table(tables[name]))
            if name in pictures:
                blocks.append(Figures([pictures[name]]))
        sections.append(Section(heading, blocks))
    best = max(runs, key=lambda run: run["accuracy"])
    between = best["accuracy_interval"]
    note = "95 % [{:.4f}, {:.4f}]".format(*between) if between else ""
    return Page(
        title=f"Comparison: {folder.resolve().name}",
        lead=f"{len(runs)} runs on the same {describe(comparison)}.",
        simulated=bool(comparison["simulated"]),
        tiles=[
            ("highest accuracy", f"{best['accuracy']:.4f}", f"{best['name']} {note}".strip()),
            ("runs", str(len(runs)), ""),
            ("test images", f"{comparison['n']:,}", ""),
            *([("plates", f"{comparison['plates']:,}", "")] if comparison["plates"] else []),
        ],
        sections=[
            *sections,
            Section("Limits", [Text(_limits(comparison), listed=True)]),
            Section("Origin", _origin(folder, runs)),
        ],
    )


def as_table(table: ComparisonTable) -> Table:
    """Return a table of a comparison as part of a page."""
    return Table(
        table.caption,
        [column.title for column in table.columns],
        [[_cell(column, row) for column in table.columns] for row in table.rows],
    )


def _cell(column: Column, row: Mapping) -> Cell:
    text = replace(column, interval=None).shown(row)
    value = row.get(column.key) if column.form else None
    return Cell(text, value, note=column.shown(row).removeprefix(text).strip())


def _limits(comparison: Mapping) -> list[str]:
    limits = list(comparison["notes"])
    if comparison["simulated"]:
        limits.append("The images are simulated: on radiographs another run may be the best.")
    if not comparison["seeds"]["groups"]:
        limits.append(ONE_SEED)
    if len(comparison["runs"]) > 2:
        limits.append(
            "The highest of many accuracies is optimistic: the run was selected on the images that "
            "it is evaluated on."
        )
    return limits


def _pictures(folder: Path, comparison: Mapping) -> dict[str, Picture]:
    """Name → figure; the alternative text refers to the tables."""
    runs = ", ".join(f"{run['name']} {run['accuracy']:.4f}" for run in comparison["runs"])
    pairs = "; ".join(
        f"{pair['second']} less {pair['first']} {pair['difference']:+z.4f}"
        for pair in comparison["pairs"][:MAX_PAIRS]
    )
    known = {
        "table2": ("Accuracy and loss", f"Accuracy of each run: {runs}."),
        "standalone_voting": ("Standalone against voting", f"Accuracy of each run: {runs}."),
        "table3": ("Average precision of each class", "As in the table above."),
        "pairs": ("Differences in accuracy", f"{pairs}."),
        "seeds": ("Accuracy over seeds", "Accuracy of each training run, by experiment."),
    }
    return {
        name: Picture(title, f"{title}. {words}", (folder / f"{name}.png").read_bytes())
        for name, (title, words) in known.items()
        if (folder / f"{name}.png").is_file()
    }


def _origin(folder: Path, runs: Sequence[Mapping]) -> list[Block]:
    columns = ("run", "folder", "seed", "votes of")
    rows = [
        [
            run["name"],
            run["path"],
            Cell("–") if run["seed"] is None else Cell(str(run["seed"]), run["seed"]),
            ", ".join(run["members"] or []) or "–",
        ]
        for run in runs
    ]
    return [Table("The runs", columns, rows)]
