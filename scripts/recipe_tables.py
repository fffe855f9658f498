"""Write the tables of docs/recipe.md from the results of `scripts/recipe_experiments.py`.

    python scripts/recipe_tables.py [--results docs/results/recipe] [--page docs/recipe.md]
        [--check]

Takes a second. `--check` writes nothing, and fails if the page is not what it would write.
"""

import json
import statistics

from experiments import ROOT
from result_pages import page_options, replace_tables, student_interval

RECIPE = "recipe"


def main() -> None:
    docs = ROOT / "docs"
    options = page_options(__doc__, docs / "results" / "recipe", docs / "recipe.md")
    found = [json.loads(file.read_text("utf-8")) for file in sorted(options.results.glob("*.json"))]
    replace_tables(options.page, "recipe_tables.py", tables(found), check=options.check)


def tables(results: list[dict]) -> str:
    """A table for each network and number of training images."""
    if not results:
        return "No experiment is finished yet.\n"
    parts = []
    for arch, images in sorted({(one["arch"], one["training_images"]) for one in results}):
        here = [one for one in results if (one["arch"], one["training_images"]) == (arch, images)]
        parts.append(f"### {arch}, {images:,} training images\n\n{table(here)}")
    return "\n".join(parts)


def table(results: list[dict]) -> str:
    """A row per experiment, the recipe first; differences are paired by seed."""
    by_name: dict[str, dict[int, float]] = {}
    for one in results:
        by_name.setdefault(one["experiment"], {})[one["seed"]] = one["correct"] / one["n"]
    recipe = by_name.get(RECIPE, {})
    lines = [
        "| experiment | test accuracy by seed | mean | minus recipe, 95 % interval over seeds |",
        "|---|---|---|---|",
    ]
    for name in sorted(by_name, key=lambda name: (name != RECIPE, name)):
        accuracies = by_name[name]
        seeds = sorted(accuracies)
        each = ", ".join(f"{accuracies[seed]:.4f}" for seed in seeds)
        common = [seed for seed in seeds if seed in recipe]
        differences = [accuracies[seed] - recipe[seed] for seed in common]
        difference = "" if name == RECIPE else interval(differences)
        mean = statistics.fmean(accuracies.values())
        lines.append(f"| `{name}` | {each} | {mean:.4f} | {difference} |")
    return "\n".join(lines) + "\n"


def interval(differences: list[float]) -> str:
    """Mean and Student's interval of paired differences; `n = 1` has no interval.

    >>> interval([0.01, 0.03])
    '+0.0200 [-0.1071, +0.1471]'
    """
    if not differences:
        return ""
    if len(differences) < 2:
        return f"{differences[0]:+.4f}"
    mean, low, high = student_interval(differences)
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"


if __name__ == "__main__":
    main()
