"""The files of a comparison: tables, pictures, and everything in one JSON file."""

import json
from pathlib import Path

from alloyk import plots
from alloyk.alloys import display_name
from alloyk.comparison.tables import Column, markdown, write_table
from alloyk.files import whole_file

FIGURES = ("table2", "table3", "pairs", "standalone_voting", "seeds")


def write_comparison(folder: Path, comparison: dict) -> str:
    """Write the tables, the pictures, ``comparison.md`` and ``comparison.json``.

    Args:
        folder: Where to.
        comparison: Of `alloyk.comparison.compare_runs`.

    Returns:
        The text of ``comparison.md``.
    """
    folder = Path(folder)
    tables = tables_of(comparison)
    for name, (caption, columns, rows) in tables.items():
        write_table(folder, name, columns, rows, caption)
    _save_pictures(folder / "figures", comparison)
    for gone in {"estimates", "seeds", "seed_tests"} - set(tables):
        for suffix in ("md", "csv", "tex"):
            (folder / f"{gone}.{suffix}").unlink(missing_ok=True)
    text = "\n\n".join(
        [
            f"{len(comparison['runs'])} runs on the same {describe(comparison)}.",
            *(f"{caption}\n\n{markdown(*table)}" for caption, *table in tables.values()),
            *comparison["notes"],
        ]
    )
    content = json.dumps(comparison, indent=1, ensure_ascii=False, allow_nan=False)
    for name, whole in (("comparison.md", text), ("comparison.json", content)):
        with whole_file(folder / name) as unfinished:
            unfinished.write_text(whole + "\n", encoding="utf-8", errors="surrogateescape")
    return text


def describe(comparison: dict) -> str:
    """What the comparison rests on, for example ``1,800 test images of 300 plates, simulated``."""
    text = f"{comparison['n']:,} test images"
    if comparison["plates"]:
        text += f" of {comparison['plates']:,} plates"
    return text + (", simulated" if comparison["simulated"] else "")


def tables_of(comparison: dict) -> dict[str, tuple[str, list[Column], list[dict]]]:
    """File name without ending → caption, columns and rows."""
    on = describe(comparison)
    shape = comparison["timed_shape"]
    timed = f" Milliseconds for one {'×'.join(map(str, shape))} image, one thread." if shape else ""
    over = "plates" if comparison["plates"] else "images"
    ap = [
        Column(f"AP {display_name(label)}", f"average_precision_{label}", ".4f")
        for label in comparison["classes"]
    ]
    rows = [
        row | {f"average_precision_{label}": v for label, v in row["average_precision"].items()}
        for row in comparison["runs"]
    ]
    tables = {
        "table2": (
            f"Accuracy with 95 % interval over {over}, and loss of the last epoch, on {on}.{timed}",
            [
                Column("Run", "name"),
                Column("Accuracy", "accuracy", ".4f", "accuracy_interval"),
                Column("Training loss", "loss", ".4f"),
                Column("Validation loss", "val_loss", ".4f"),
                Column("Parameters", "parameters", ",d"),
                Column("Training, s", "seconds", ".0f"),
                Column("Inference, ms", "inference_ms", ".2f"),
            ],
            rows,
        ),
        "table3": (
            f"Average precision per class, and area under the ROC curve (mean over classes), on "
            f"{on}.",
            [
                Column("Run", "name"),
                *ap,
                Column("Mean AP", "macro_average_precision", ".4f"),
                Column("AUC", "roc_auc", ".4f", "roc_auc_interval"),
            ],
            rows,
        ),
        "pairs": (
            f"Second less first run: difference in accuracy with its 95 % interval and p by paired "
            f"bootstrap over {over}; images that one of the two alone decided rightly, and p by "
            f"McNemar's exact test. Holm: corrected for the number of pairs, "
            f"{len(comparison['pairs'])}.",
            [
                Column("First", "first"),
                Column("Second", "second"),
                Column("Difference", "difference", "+.4f", "interval"),
                Column("p", "p_bootstrap", ".4p"),
                Column("p, Holm", "p_bootstrap_holm", ".4p"),
                Column("First alone", "only_first_right", ",d"),
                Column("Second alone", "only_second_right", ",d"),
                Column("McNemar p", "p_mcnemar", ".4p"),
                Column("McNemar p, Holm", "p_mcnemar_holm", ".4p"),
            ],
            comparison["pairs"],
        ),
    }
    errors = [{"name": run["name"], **row} for run in rows for row in run["regression"]]
    if errors:
        tables["estimates"] = (
            "Numbers estimated beside the class, in their own unit: mean absolute error, root "
            f"mean square error and R² with 95 % intervals over {over}.",
            [
                Column("Run", "name"),
                Column("Number", "column"),
                Column("MAE", "mae", ".4g", "mae_interval"),
                Column("RMSE", "rmse", ".4g", "rmse_interval"),
                Column("R²", "r2", ".4f", "r2_interval"),
            ],
            errors,
        )
    if comparison["seeds"]["groups"]:
        tables["seeds"] = (
            "Accuracy over trainings that differ by their seed: mean and standard deviation.",
            [
                Column("Runs", "name"),
                Column("Seeds", "n", "d"),
                Column("Mean", "mean", ".4f"),
                Column("Standard deviation", "sd", ".4f"),
            ],
            [{**group, "n": len(group["runs"])} for group in comparison["seeds"]["groups"]],
        )
    if comparison["seeds"]["tests"]:
        tables["seed_tests"] = (
            "Second less first: difference of the mean accuracies over seeds, Welch's test.",
            [
                Column("First", "first"),
                Column("Second", "second"),
                Column("Difference", "difference", "+.4f", "interval"),
                Column("p", "p", ".4p"),
                Column("p, Holm", "p_holm", ".4p"),
            ],
            comparison["seeds"]["tests"],
        )
    return tables


def _save_pictures(folder: Path, comparison: dict) -> None:
    runs, subtitle = comparison["runs"], describe(comparison)
    names = {label: display_name(label) for label in comparison["classes"]}
    pictures = {
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
    for name in set(FIGURES) - set(pictures):
        (folder / f"{name}.png").unlink(missing_ok=True)
