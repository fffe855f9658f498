"""Write the tables of docs/study.md from the results of `scripts/reproduce_study`.

    python scripts/study_tables.py [--results docs/results/study] [--page docs/study.md] [--check]

Takes a few seconds. `--check` writes nothing, and fails if the page is not what it would write.
"""

import importlib.machinery
import importlib.util
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from experiments import ROOT
from result_pages import JAX_MARK, page_options, replace_tables, star_note, student_interval

from alloyk.runs.facts import Facts
from alloyk.runs.folder import RunFolder
from alloyk.runs.metrics import Metrics
from alloyk.runs.predictions import Predictions
from alloyk.voting.voting import hard_vote, soft_vote

# Accuracy in %, by the confusion matrices that the study printed.
PRINTED = {"fnn": 95.8, "resnet18": 99.5, "resnet50": 99.7, "vgg16": 98.0, "efficientnetb0": 98.9}
PRINTED_AVERAGE_PRECISION, PRINTED_AUC = 0.97, 0.96

# Those of a complete row; networks vote seed by seed.
SEEDS = (0, 1, 2)


class Result(NamedTuple):
    """A finished training run."""

    seed: int
    metrics: Metrics
    predictions: Predictions
    facts: Facts
    losses: dict[str, float]
    """`loss` and `val_loss` of the epoch whose weights were kept."""


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
    text = "\n".join(part for part in parts if part)
    if star_note(text):
        text = f"{star_note(text)}\n\n{text}"
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
    """The finished training runs of each row that has any, in the order of their seeds."""
    found = {}
    for name in names:
        runs = sorted((folder / name).glob("[0-9]*"), key=lambda run: int(run.name))
        finished = [read_result(run) for run in runs if (run / "metrics.json").is_file()]
        if finished:
            found[name] = finished
    return found


def read_result(folder: Path) -> Result:
    run = RunFolder(folder)
    training = run.metrics["train"]
    if training is None:
        sys.exit(f"{folder} must be a training run; its metrics.json has no training")
    history = pd.read_csv(run.history_file)
    [best] = history.index[history["epoch"] == training["best_epoch"]]
    losses = {name: float(history[name][best]) for name in ("loss", "val_loss")}
    return Result(int(folder.name), run.metrics, run.predictions, run.facts, losses)


def accuracy_table(results: Results, architectures: Sequence[str]) -> str:
    """Table 2: a row per network, both recipes beside the study's printed accuracy."""
    lines = [
        "### Accuracy on the test plates, %",
        "",
        "| network | `recipe=study`, simulated | `recipe=alloyk`, simulated | alloyk minus study, "
        "95 % interval over seeds | study, printed | alloyk minus printed |",
        "|---|---|---|---|---|---|",
    ]
    for arch in architectures:
        study, alloyk = results.get(f"study-{arch}", []), results.get(f"alloyk-{arch}", [])
        if not study and not alloyk:
            continue
        printed = PRINTED.get(arch)
        beyond = ""
        if printed is not None and alloyk:
            beyond = f"{100 * mean(alloyk, accuracy) - printed:+z.1f}"
        lines.append(
            f"| `{arch}` | {accuracies(study)} | {accuracies(alloyk)} | "
            f"{difference_by_seed(study, alloyk)} | {printed or ''} | {beyond} |"
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
        "### Losses of the best epoch, average precision and area under the ROC curve, "
        "means over seeds",
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
                mean(some, lambda one: one.losses["loss"]),
                mean(some, lambda one: one.losses["val_loss"]),
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
    """Soft and hard votes of the networks of a recipe that have all of `SEEDS`."""
    lines = [
        "### Votes of the networks of a recipe that have the seeds 0 to 2, %",
        "",
        "| recipe | seed | networks | best of them on the test plates | soft vote | hard vote |",
        "|---|---|---|---|---|---|",
    ]
    header = len(lines)
    for recipe in ("study", "alloyk"):
        rows = {arch: results.get(f"{recipe}-{arch}", []) for arch in architectures}
        trained = {arch: {one.seed for one in some} for arch, some in rows.items()}
        seeds = [seed for seed in SEEDS if any(seed in one for one in trained.values())]
        voters = [arch for arch, one in trained.items() if one and one.issuperset(seeds)]
        if len(voters) < 2:
            continue
        names = ", ".join(f"`{arch}`" for arch in voters)
        for seed in seeds:
            members = [one.predictions for arch in voters for one in rows[arch] if one.seed == seed]
            truth = members[0].y_true
            probabilities = np.stack([member.probabilities for member in members])
            decisions = np.stack([member.y_pred for member in members])
            weights = np.full(len(members), 1 / len(members))
            soft = soft_vote(probabilities, weights).argmax(axis=1)
            _, hard = hard_vote(decisions, probabilities, weights)
            best = max((member.y_pred == truth).mean() for member in members)
            cells = " | ".join(f"{100 * share:.2f}" for share in
                               (best, (soft == truth).mean(), (hard == truth).mean()))  # fmt: skip
            lines.append(f"| `{recipe}` | {seed} | {names} | {cells} |")
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
    """The seeds from 0 to 2 that are not trained yet."""
    absent = []
    for name in names:
        seeds = {one.seed for one in results.get(name, ())}
        lacking = [str(seed) for seed in SEEDS if seed not in seeds]
        if len(lacking) == len(SEEDS):
            absent.append(f"`{name}`")
        elif lacking:
            absent.append(f"`{name}` seed{'s' * (len(lacking) > 1)} {' and '.join(lacking)}")
    return "### Not trained yet\n\n" + ", ".join(absent) + ".\n" if absent else ""


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


def difference_by_seed(first: Sequence[Result], second: Sequence[Result]) -> str:
    """Accuracy of the second minus that of the first in points, over the seeds that both have."""
    by_seed = {one.seed: accuracy(one) for one in second}
    points = [100 * (by_seed[one.seed] - accuracy(one)) for one in first if one.seed in by_seed]
    if not points:
        return ""
    if len(points) < 2:
        return f"{points[0]:+z.2f} (one seed)"
    average, low, high = student_interval(points)
    return f"{average:+z.2f} [{low:+z.2f}, {high:+z.2f}]"


if __name__ == "__main__":
    main()
