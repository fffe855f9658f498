"""The files of a comparison: tables, figures, and everything in one JSON file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alloyk import plots
from alloyk.alloys import display_name
from alloyk.comparison.tables import Column, markdown, write_table
from alloyk.files import files_together
from alloyk.runs.destination import refuse_unless_made_by
from alloyk.runs.folder import RunFolder
from alloyk.runs.run_data import refuse_in_run_data

COMPARISON = "comparison.json"
"""Everything in one file; it marks the folder of a comparison."""

# Files that a comparison may lack.
_OPTIONAL = (
    "estimates.*", "seeds.*", "seed_tests.*", "figures/standalone_voting.png", "figures/seeds.png",
)  # fmt: skip


def write_comparison(folder: Path, comparison: Mapping[str, Any]) -> str:
    """Write the tables, the figures, `comparison.md` and `comparison.json`, all or none of them.

    Args:
        folder: Folder to write to.
        comparison: From `alloyk.comparison.compare_runs`.

    Returns:
        The text of `comparison.md`.

    Raises:
        AlloykError: As `check_output_folder`, or a file cannot be written.
    """
    folder = Path(folder)
    check_output_folder(folder, [run["path"] for run in comparison["runs"]])
    text = comparison_text(comparison)
    content = json.dumps(comparison, indent=1, ensure_ascii=False, allow_nan=False)
    with files_together(folder, _OPTIONAL) as unfinished:
        for name, table in tables_of(comparison).items():
            write_table(unfinished, name, table.columns, table.rows, table.caption)
        _save_figures(RunFolder(unfinished).figures_folder, comparison)
        for name, whole in (("comparison.md", text), (COMPARISON, content)):
            file = unfinished / name
            file.write_text(whole + "\n", encoding="utf-8", errors="surrogateescape")
    return text


def comparison_text(comparison: Mapping[str, Any]) -> str:
    """Return the tables and the notes as Markdown, the text of `comparison.md`."""
    tables = tables_of(comparison).values()
    return "\n\n".join(
        [
            f"{len(comparison['runs'])} runs on the same {describe(comparison)}.",
            *(f"{one.caption}\n\n{markdown(one.columns, one.rows)}" for one in tables),
            *comparison["notes"],
        ]
    )


def check_output_folder(folder: Path, runs: Sequence[str | Path]) -> None:
    """Require a folder that a comparison of some runs may be written to.

    Raises:
        AlloykError: It is or lies in a run or in the data set of one of `runs`, or is neither empty
            nor an earlier comparison.
    """
    refuse_unless_made_by(folder, COMPARISON, "comparison")
    for run in runs:
        refuse_in_run_data(folder, run)


def describe(comparison: Mapping[str, Any]) -> str:
    """Describe the images, for example `1,800 test images of 300 plates, simulated`."""
    text = f"{comparison['n']:,} test images"
    if comparison["plates"]:
        text += f" of {comparison['plates']:,} plates"
    return text + (", simulated" if comparison["simulated"] else "")


@dataclass(frozen=True)
class ComparisonTable:
    """A table of a comparison.

    Attributes:
        caption: What it shows, and on which images.
        columns: Its columns.
        rows: Column key → value, for each row.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]


def tables_of(comparison: Mapping[str, Any]) -> dict[str, ComparisonTable]:
    """File name without suffix → table."""
    over = "plates" if comparison["plates"] else "images"
    tables = {
        "table2": _accuracy_table(comparison, over),
        "table3": _class_table(comparison),
        "pairs": _pair_table(comparison, over),
        "estimates": _estimate_table(comparison, over),
        "seeds": _seed_table(comparison),
        "seed_tests": _seed_test_table(comparison),
    }
    always = ("table2", "table3", "pairs")
    return {name: table for name, table in tables.items() if table.rows or name in always}


def _accuracy_table(comparison: Mapping[str, Any], over: str) -> ComparisonTable:
    shape = comparison["timed_shape"]
    timed = f" Milliseconds for one {'×'.join(map(str, shape))} image, one thread." if shape else ""
    return ComparisonTable(
        f"Accuracy with 95 % interval (resampled {over}), and loss of the last epoch, on "
        f"{describe(comparison)}.{timed}",
        [
            Column("Run", "name"),
            Column("Accuracy", "accuracy", ".4f", "accuracy_interval"),
            Column("Training loss", "loss", ".4f"),
            Column("Validation loss", "val_loss", ".4f"),
            Column("Parameters", "parameters", ",d"),
            Column("Training, s", "seconds", ".0f"),
            Column("Inference, ms", "inference_ms", ".2f"),
        ],
        comparison["runs"],
    )


def _class_table(comparison: Mapping[str, Any]) -> ComparisonTable:
    by_class = [
        Column(f"AP {display_name(label)}", f"average_precision_{label}", ".4f")
        for label in comparison["classes"]
    ]
    return ComparisonTable(
        "Average precision per class, and area under the ROC curve (mean over classes), on "
        f"{describe(comparison)}.",
        [
            Column("Run", "name"),
            *by_class,
            Column("Mean AP", "macro_average_precision", ".4f"),
            Column("AUC", "roc_auc", ".4f", "roc_auc_interval"),
        ],
        [
            row | {f"average_precision_{k}": value for k, value in row["average_precision"].items()}
            for row in comparison["runs"]
        ],
    )


def _pair_table(comparison: Mapping[str, Any], over: str) -> ComparisonTable:
    return ComparisonTable(
        "Second minus first run: difference in accuracy with its 95 % interval and p by paired "
        f"bootstrap over {over}; images that only one of the two classified correctly, and p by "
        "McNemar's exact test. Holm: corrected for the number of pairs, "
        f"{len(comparison['pairs'])}.",
        [
            Column("First", "first"),
            Column("Second", "second"),
            Column("Difference", "difference", "+.4f", "interval"),
            Column("p", "p_score", ".4p"),
            Column("p, Holm", "p_score_holm", ".4p"),
            Column("Only first correct", "only_first_right", ",d"),
            Column("Only second correct", "only_second_right", ",d"),
            Column("McNemar p", "p_mcnemar", ".4p"),
            Column("McNemar p, Holm", "p_mcnemar_holm", ".4p"),
        ],
        comparison["pairs"],
    )


def _estimate_table(comparison: Mapping[str, Any], over: str) -> ComparisonTable:
    return ComparisonTable(
        "Quantities estimated beside the class: mean absolute error and root mean square error, in "
        f"the unit of the quantity, and R², with 95 % intervals (resampled {over}).",
        [
            Column("Run", "name"),
            Column("Quantity", "column"),
            Column("MAE", "mae", ".4g", "mae_interval"),
            Column("RMSE", "rmse", ".4g", "rmse_interval"),
            Column("R²", "r2", ".4f", "r2_interval"),
        ],
        [{"name": run["name"], **row} for run in comparison["runs"] for row in run["regression"]],
    )


def _seed_table(comparison: Mapping[str, Any]) -> ComparisonTable:
    return ComparisonTable(
        "Accuracy of runs that differ by their seed only: mean and standard deviation.",
        [
            Column("Runs", "name"),
            Column("Seeds", "n", "d"),
            Column("Mean", "mean", ".4f"),
            Column("Standard deviation", "sd", ".4f"),
        ],
        [{**group, "n": len(group["runs"])} for group in comparison["seeds"]["groups"]],
    )


def _seed_test_table(comparison: Mapping[str, Any]) -> ComparisonTable:
    return ComparisonTable(
        "Second minus first: difference of the mean accuracies over seeds, Welch's test.",
        [
            Column("First", "first"),
            Column("Second", "second"),
            Column("Difference", "difference", "+.4f", "interval"),
            Column("p", "p", ".4p"),
            Column("p, Holm", "p_holm", ".4p"),
        ],
        comparison["seeds"]["tests"],
    )


def _save_figures(folder: Path, comparison: Mapping[str, Any]) -> None:
    runs, subtitle = comparison["runs"], describe(comparison)
    names = {label: display_name(label) for label in comparison["classes"]}
    pictures = {  # `table2` and `table3` are named after the study's tables of the same content
        "table2": plots.plot_runs(runs, subtitle=subtitle),
        "table3": plots.plot_average_precision(runs, names, subtitle=subtitle),
        "pairs": plots.plot_differences(comparison["pairs"], subtitle=subtitle),
    }
    if any(run["vote"] for run in runs):
        pictures["standalone_voting"] = plots.plot_standalone_and_voting(runs, subtitle=subtitle)
    if comparison["seeds"]["groups"]:
        pictures["seeds"] = plots.plot_seeds(comparison["seeds"]["groups"], subtitle=subtitle)
    for name, ax in pictures.items():
        plots.save_figure(ax, folder / f"{name}.png")
