"""Write the tables of the pages in docs/ from the results of `scripts/run_experiments.py`.

    python scripts/experiment_tables.py [--results docs/results] [--docs docs] [--check]

Takes a few seconds. `--check` writes nothing, and fails if a page is not what it would write.
"""

import argparse
import json
import math
import statistics
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from experiment_plans import PLANS, SEARCH, SEARCH_PLAN, Plan
from experiments import ROOT
from result_pages import (
    JAX_MARK,
    TEXT,
    decided,
    difference,
    mean_interval,
    percent,
    probabilities,
    replace_tables,
    same_images,
    star_note,
    student_interval,
)
from sklearn.metrics import accuracy_score, f1_score, recall_score

Result = dict[str, Any]

INTERVALS = """\
Intervals of means are at 95 %: Student's t over the seeds, or Wilson's over the test images where
there is one seed or all of them agree; then a macro F1, a recall or an error has none.
"""
MEAN = "mean, 95 % interval"
BASELINE_TITLES = {
    "noise": "accuracy of the noise alone",
    "classical": "accuracy of the wedge curve alone",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    pages: dict[str, list[str]] = {}
    for name, plan in {**PLANS, SEARCH: SEARCH_PLAN}.items():
        found = read_results(options.results / name)
        pages.setdefault(plan.page, []).extend(tables(name, plan, found))
    for page, parts in pages.items():
        text = "\n".join([INTERVALS, *parts])
        if star_note(text):
            text += f"\n{star_note(text)}\n"
        replace_tables(options.docs / page, Path(__file__).name, text, check=options.check)


def read_results(folder: Path) -> list[Result]:
    """The finished runs of a plan; `rows` are the labels and decisions of the test images."""
    found = []
    for file in sorted(folder.glob("*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        result["rows"] = pd.read_csv(file.with_suffix(".csv"), dtype=TEXT)
        found.append(result)
    return found


def tables(name: str, plan: Plan, results: list[Result]) -> list[str]:
    """A table for each network and number of training images that has several experiments.

    Those that have only the base, to which nothing can be compared, share one table.
    """
    parts, alone = [], []
    base_name = next(iter(plan.changes))
    for network, images in sorted({(one["arch"], one["training_images"]) for one in results}):
        here = [
            one for one in results if (one["arch"], one["training_images"]) == (network, images)
        ]
        if {one["experiment"] for one in here} == {base_name}:
            alone += here
        else:
            heading = f"### `{name}`: {network}, {images:,} training images"
            parts.append(f"{heading}\n\n{table(plan, here)}")
    if alone:
        which = f" with `{base_name}` only, at these numbers of images" * (len(plan.changes) > 1)
        heading = f"### `{name}`: networks{which}"
        parts.append(f"{heading}\n\n{base_table(plan, alone)}")
    if plan.votes:
        parts += votes_tables(name, plan, results)
    return parts


def base_table(plan: Plan, results: list[Result]) -> str:
    """A row for each network and number of training images, all of one experiment."""
    first, *others = plan.measures
    shown = shown_measures(others, results)
    titles = [
        "network",
        "training images",
        f"{title(first)} by seed",
        MEAN,
        *(f"mean {title(measure)}" for measure in shown),
        "reference ceiling of the accuracy",
    ]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for network, images in sorted({(one["arch"], one["training_images"]) for one in results}):
        some = {
            one["seed"]: one
            for one in results
            if (one["arch"], one["training_images"]) == (network, images)
        }
        cells = [
            f"`{network}`",
            f"{images:,}",
            by_seed(first, some),
            *(mean_of(measure, some.values()) for measure in (first, *shown)),
            ceiling_of(some.values()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def by_seed(measure: str, some: dict[int, Result]) -> str:
    """A measure of each run, by rising seed; the seeds are named unless they are 0, 1, …."""
    values = {
        seed: f"{measured(measure, some[seed]):.4f}{mark(some[seed])}" for seed in sorted(some)
    }
    if list(values) == list(range(len(values))):
        return ", ".join(values.values())
    return ", ".join(f"{value} (seed {seed})" for seed, value in values.items())


def shown_measures(measures: Sequence[str], results: list[Result]) -> list[str]:
    """The measures that any of the runs has."""
    return [
        measure
        for measure in measures
        if not all(math.isnan(measured(measure, one)) for one in results)
    ]


def table(plan: Plan, results: list[Result]) -> str:
    """A row per experiment, the base first; differences are paired by seed."""
    base_name = next(iter(plan.changes))
    by_name: dict[str, dict[int, Result]] = {}
    for one in results:
        by_name.setdefault(one["experiment"], {})[one["seed"]] = one
    first, *others = plan.measures
    shown = shown_measures(others, results)
    baselines = [
        name
        for name in plan.baselines
        if any(name in (one.get("baselines") or {}) for one in results)
    ]
    titles = [
        "experiment",
        f"{title(first)} by seed",
        MEAN,
        f"minus `{base_name}`, 95 % interval over seeds",
        *(f"mean {title(measure)}" for measure in shown),
        *(BASELINE_TITLES[name] for name in baselines),
        "reference ceiling of the accuracy",
    ]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    base = by_name.get(base_name, {})
    for name in sorted(by_name, key=list(plan.changes).index):
        some = by_name[name]
        values = {seed: measured(first, some[seed]) for seed in sorted(some)}
        common = [seed for seed in values if seed in base and name != base_name]
        cells = [
            f"`{name}`",
            by_seed(first, some),
            mean_of(first, some.values()),
            interval([values[seed] - measured(first, base[seed]) for seed in common]),
            *(mean_of(measure, some.values()) for measure in shown),
            *(baseline_of(control, some.values()) for control in baselines),
            ceiling_of(some.values()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def votes_tables(name: str, plan: Plan, results: list[Result]) -> list[str]:
    """A table for each number of training images: soft votes of seeds, then of all runs."""
    titles = (
        "| soft vote of | training runs | accuracy, % (95 % interval) | mean of the runs, % "
        "| minus the best of them on these plates, points |"
    )
    tables = []
    for images in sorted({one["training_images"] for one in results}):
        here = [one for one in results if one["training_images"] == images]
        groups = [
            (f"`{experiment}`, {network}", [
                one for one in here if (one["arch"], one["experiment"]) == (network, experiment)
            ])
            for network in sorted({one["arch"] for one in here})
            for experiment in plan.changes
        ]  # fmt: skip
        rows = [
            f"| {voters} | {len(some)} | {percent(soft_vote(some))} "
            f"| {100 * statistics.fmean(measured('accuracy', one) for one in some):.1f} "
            f"| {over_best(some)} |"
            for voters, some in [*groups, ("all", here)]
            if len(some) > 1
        ]
        if rows:
            lines = [f"### `{name}`: votes, {images:,} training images", "", titles]
            tables.append("\n".join([*lines, "|---" * 5 + "|", *rows]) + "\n")
    return tables


def soft_vote(results: list[Result]) -> np.ndarray:
    """Whether the mean of the probabilities decides right `(n,)`, on the same test images."""
    first = same_images([one["rows"] for one in results])
    together = np.mean([probabilities(one["rows"]) for one in results], axis=0)
    return np.asarray(decided(first, together) == first["label"].to_numpy())


def over_best(results: list[Result]) -> str:
    """Accuracy of the soft vote minus that of the best run, with its interval over plates."""
    best = max(results, key=lambda one: measured("accuracy", one))["rows"]
    right = (best["predicted"] == best["label"]).to_numpy()
    return difference(right, soft_vote(results), np.arange(len(right)))  # one image of each plate


def mark(result: Result) -> str:
    """A star for a training run on JAX."""
    return JAX_MARK if "jax" in (result.get("packages") or {}) else ""


def ceiling_of(results: Iterable[Result]) -> str:
    """The reference ceiling of an experiment, which all of its seeds share."""
    found = next((one["ceiling"] for one in results if one.get("ceiling")), None)
    return f"{found['accuracy']:.3f} ± {found['error']:.3f}" if found else ""


def baseline_of(name: str, results: Iterable[Result]) -> str:
    """The mean accuracy of a control over the runs that have it; a dash if there is none."""
    found = [one for one in results if name in (one.get("baselines") or {})]
    if not found:
        return "–"
    return mean_interval([one["baselines"][name] for one in found], trials=len(found[0]["rows"]))


def title(measure: str) -> str:
    """Title of a column.

    >>> title("macro_f1"), title("recall 5083"), title("mae true_thickness_mm")
    ('macro F1', 'recall 5083', 'absolute error of `true_thickness_mm`')
    """
    if measure.startswith("mae "):
        return f"absolute error of `{measure.removeprefix('mae ')}`"
    return measure.replace("macro_f1", "macro F1")


def measured(measure: str, result: Result) -> float:
    """A measure of the test images of a run; NaN where the network does not estimate it."""
    if measure.startswith("mae "):
        return float((result.get("mae") or {}).get(measure.removeprefix("mae "), math.nan))
    truth, decided = result["rows"]["label"], result["rows"]["predicted"]
    if measure == "accuracy":
        return float(accuracy_score(truth, decided))
    if measure == "macro_f1":
        return float(f1_score(truth, decided, average="macro"))
    label = measure.removeprefix("recall ")
    return float(recall_score(truth, decided, labels=[label], average="macro"))


def mean_of(measure: str, results: Collection[Result]) -> str:
    """The mean of a measure over seeds with its interval."""
    return mean_interval(
        [measured(measure, one) for one in results],
        highest=math.inf if measure.startswith("mae ") else 1.0,
        trials=len(next(iter(results))["rows"]) if measure == "accuracy" else 0,
    )


def interval(differences: list[float]) -> str:
    """Mean and Student's interval of paired differences; `n = 1` has no interval.

    >>> interval([0.01, 0.03])
    '+0.0200 [-0.1071, +0.1471]'
    """
    if not differences:
        return ""
    if len(differences) < 2:
        return f"{differences[0]:+z.4f}"
    mean, low, high = student_interval(differences)
    return f"{mean:+z.4f} [{low:+z.4f}, {high:+z.4f}]"


if __name__ == "__main__":
    main()
