"""Write the tables of docs/study.md from the results of `scripts/reproduce_study`.

    python scripts/study_tables.py [--results docs/results/study] [--page docs/study.md] [--check]

Takes a few seconds. `--check` writes nothing, and fails if the page is not what it would write.
"""

import importlib.machinery
import importlib.util
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from experiments import ROOT
from result_pages import JAX_MARK, JAX_NOTE, page_options, replace_tables, student_interval

from alloyk.metrics.significance import accuracy_difference
from alloyk.runs.facts import Facts
from alloyk.runs.folder import RunFolder
from alloyk.runs.metrics import Metrics
from alloyk.runs.predictions import Predictions
from alloyk.voting.voting import hard_vote, soft_vote

# Accuracy in %, by the confusion matrices that the study printed.
PRINTED = {"fnn": 95.8, "resnet18": 99.5, "resnet50": 99.7, "vgg16": 98.0, "efficientnetb0": 98.9}
PRINTED_AVERAGE_PRECISION, PRINTED_AUC = 0.97, 0.96


class Result(NamedTuple):
    """A finished training run."""

    seed: int
    metrics: Metrics
    predictions: Predictions
    facts: Facts


Results = dict[str, list[Result]]
"""Row of `scripts/reproduce_study` → its finished training runs, by seed."""


def main() -> None:
    docs = ROOT / "docs"
    options = page_options(__doc__, docs / "results" / "study", docs / "study.md")
    study = study_script()
    names = list(study.rows())
    results = read_results(options.results, names)
    parts = [
        accuracy_table(results, study.ARCHITECTURES),
        figures_table(results, study.ARCHITECTURES),
        votes_table(results, study.ARCHITECTURES),
        variants_table(results, names),
        missing(results, names),
    ]
    if any(mark(one) for some in results.values() for one in some):
        parts.insert(0, f"{JAX_NOTE}\n")
    text = "\n".join(part for part in parts if part)
    replace_tables(options.page, "study_tables.py", text, check=options.check)


def study_script():  # type: ignore[no-untyped-def]
    """`scripts/reproduce_study`, whose name has no ending, as a module."""
    path = str(ROOT / "scripts" / "reproduce_study")
    loader = importlib.machinery.SourceFileLoader("reproduce_study", path)
    spec = importlib.util.spec_from_loader("reproduce_study", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def read_results(folder: Path, names: Sequence[str]) -> Results:
    """The finished training runs of each row that has any."""
    found = {}
    for name in names:
        runs = sorted(file.parent for file in (folder / name).glob("*/metrics.json"))
        if runs:
            found[name] = [
                Result(
                    int(run.name),
                    RunFolder(run).metrics,
                    RunFolder(run).predictions,
                    RunFolder(run).facts,
                )
                for run in runs
            ]
    return found


def accuracy_table(results: Results, architectures: Sequence[str]) -> str:
    """Table 2: a row per network, both recipes beside the study's printed accuracy."""
    lines = [
        "### Accuracy on the test plates, %",
        "",
        "| network | `recipe=study`, simulated | `recipe=alloyk`, simulated | alloyk minus study, "
        "95 % interval over plates | study, printed | alloyk minus printed |",
        "|---|---|---|---|---|---|",
    ]
    for arch in architectures:
        study, alloyk = results.get(f"study-{arch}", []), results.get(f"alloyk-{arch}", [])
        if not study and not alloyk:
            continue
        printed = PRINTED.get(arch)
        beyond = ""
        if printed is not None and alloyk:
            beyond = f"{100 * mean(alloyk, accuracy) - printed:+.1f}"
        lines.append(
            f"| `{arch}` | {accuracies(study)} | {accuracies(alloyk)} | "
            f"{paired_difference(study, alloyk)} | {printed or ''} | {beyond} |"
        )
    ceiling = next((one.metrics.get("ceiling") for some in results.values() for one in some), None)
    if ceiling:
        lines += [
            "",
            f"Reference ceiling of these images: {100 * ceiling['accuracy']:.1f} ± "
            f"{100 * ceiling['error']:.1f} %.",
        ]
    return "\n".join(lines) + "\n"


def figures_table(results: Results, architectures: Sequence[str]) -> str:
    """Table 3: losses, average precision of each class and the area under the ROC curve."""
    classes = next(iter(results.values()))[0].predictions.classes if results else ()
    lines = [
        "### Losses, average precision and area under the ROC curve, means over seeds",
        "",
        "| row | seeds | training loss | validation loss | test log loss | "
        + " | ".join(f"AP {label}" for label in classes)
        + " | AUC |",
        "|---|---|---|---|---|" + "---|" * len(classes) + "---|",
    ]
    for recipe in ("study", "alloyk"):
        for arch in architectures:
            some = results.get(f"{recipe}-{arch}")
            if not some:
                continue
            cells = [
                mean(some, lambda one: one.metrics["train"]["final_loss"]),
                mean(some, lambda one: one.metrics["train"]["final_val_loss"]),
                mean(some, lambda one: one.metrics["log_loss"]),
                *(mean(some, average_precision_of(label)) for label in classes),
                mean(some, lambda one: one.metrics["macro"]["roc_auc"]),
            ]
            numbers = " | ".join(f"{cell:.4f}" for cell in cells)
            lines.append(f"| `{recipe}-{arch}` | {len(some)} | {numbers} |")
    lines += [
        "",
        f"The study prints an average precision of {PRINTED_AVERAGE_PRECISION} and an area of "
        f"{PRINTED_AUC}.",
    ]
    return "\n".join(lines) + "\n"


def votes_table(results: Results, architectures: Sequence[str]) -> str:
    """Soft and hard votes of all networks that have the seed."""
    lines = [
        "### Votes of all networks of a recipe and a seed, %",
        "",
        "| recipe | seed | networks | best of them | soft vote | hard vote |",
        "|---|---|---|---|---|---|",
    ]
    header = len(lines)
    for recipe in ("study", "alloyk"):
        rows = [results.get(f"{recipe}-{arch}", []) for arch in architectures]
        for seed in sorted({one.seed for some in rows for one in some}):
            members = [one.predictions for some in rows for one in some if one.seed == seed]
            if len(members) < 2:
                continue
            truth = members[0].y_true
            probabilities = np.stack([member.probabilities for member in members])
            decisions = np.stack([member.y_pred for member in members])
            weights = np.full(len(members), 1 / len(members))
            soft = soft_vote(probabilities, weights).argmax(axis=1)
            _, hard = hard_vote(decisions, probabilities, weights)
            best = max((member.y_pred == truth).mean() for member in members)
            cells = " | ".join(f"{100 * share:.2f}" for share in
                               (best, (soft == truth).mean(), (hard == truth).mean()))  # fmt: skip
            lines.append(f"| `{recipe}` | {seed} | {len(members)} | {cells} |")
    return "\n".join(lines) + "\n" if len(lines) > header else ""


def variants_table(results: Results, names: Sequence[str]) -> str:
    """Rows on other data sets, or with other settings, beside the row from which they differ."""
    lines = [
        "### Other data and other settings, %",
        "",
        "| row | accuracy | of the row without the change | reference ceiling |",
        "|---|---|---|---|",
    ]
    header = len(lines)
    for name in names:
        base = "-".join(name.split("-")[:2])
        if name == base or name not in results:
            continue
        ceiling = results[name][0].metrics.get("ceiling")
        bound = f"{100 * ceiling['accuracy']:.1f}" if ceiling else ""
        lines.append(
            f"| `{name}` | {accuracies(results[name])} | {accuracies(results.get(base, []))} | "
            f"{bound} |"
        )
    return "\n".join(lines) + "\n" if len(lines) > header else ""


def missing(results: Results, names: Sequence[str]) -> str:
    """The rows that are not trained yet, and how many seeds the others have."""
    absent = [f"`{name}`" for name in names if name not in results]
    if not absent:
        return ""
    return "### Not trained yet\n\n" + ", ".join(absent) + ".\n"


def accuracy(one: Result) -> float:
    return one.metrics["accuracy"]


def average_precision_of(label: str) -> Callable[[Result], float | None]:
    return lambda one: one.metrics["per_class"][label]["average_precision"]


def mean(some: Sequence[Result], value: Callable[[Result], float | None]) -> float:
    return statistics.fmean(found for one in some if (found := value(one)) is not None)


def accuracies(some: Sequence[Result]) -> str:
    """Mean over seeds, with Student's interval; of one seed, the interval over plates."""
    if not some:
        return ""
    if len(some) > 1:
        each = ", ".join(f"{100 * accuracy(one):.2f}{mark(one)}" for one in some)
        average, low, high = student_interval([100 * accuracy(one) for one in some])
        return f"{average:.2f} [{max(low, 0):.2f}, {min(high, 100):.2f}] ({each})"
    low, high = some[0].metrics["confidence_intervals"]["accuracy"]
    only = f"{100 * accuracy(some[0]):.2f} [{100 * low:.2f}, {100 * high:.2f}]"
    return f"{only} (one seed{mark(some[0])})"


def mark(one: Result) -> str:
    """A star for a training run on JAX."""
    return JAX_MARK if "jax" in one.facts.packages else ""


def paired_difference(first: Sequence[Result], second: Sequence[Result]) -> str:
    """Difference in points on the same plates, over the seeds that both have."""
    by_seed = {one.seed: one.predictions for one in second}
    pairs = [(one.predictions, by_seed[one.seed]) for one in first if one.seed in by_seed]
    if not pairs:
        return ""
    right = [
        np.concatenate([pair[side].y_pred == pair[side].y_true for pair in pairs])
        for side in (0, 1)
    ]
    plates = np.concatenate([pair[0].table["plate_id"].to_numpy() for pair in pairs])
    groups = np.unique(plates, return_inverse=True)[1]
    found = accuracy_difference(right[0], right[1], groups)
    low, high = found["interval"]
    return f"{100 * found['difference']:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


if __name__ == "__main__":
    main()
