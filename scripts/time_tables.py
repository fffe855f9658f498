"""The tables on time budgets in docs/configure.md and on the time to 99 % in docs/performance.md.

    python scripts/time_tables.py [--check]

From docs/results/budgets/ and docs/results/time_to_accuracy/, which `scripts/budget_check.py` and
`scripts/time_to_accuracy.py` make. Takes a second. `--check` writes nothing, and fails if a page is
not what it would write.
"""

import argparse
import json
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from experiments import ROOT
from result_pages import percent, replace_tables

DOCS = ROOT / "docs"
BUDGETS = ("processor", "budget, minutes", "taken", "epochs", "test accuracy, % (95 % interval)")
TIMES = (
    "processor", "network", "seed", "alloyk: minutes asked, seconds, test accuracy",
    "plain script: epochs, seconds, best test accuracy", "plain over alloyk",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for page, text in (
        ("configure.md", budgets_table(found("budgets"))),
        ("performance.md", times_table(found("time_to_accuracy"))),
    ):
        replace_tables(DOCS / page, Path(__file__).name, text, check=check)


def found(folder: str) -> list[dict[str, Any]]:
    files = sorted((DOCS / "results" / folder).glob("*.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def budgets_table(results: list[dict[str, Any]]) -> str:
    """A row for each budget; the interval is Wilson's, over test images."""
    rows = [
        (
            result["machine"],
            f"{row['minutes']:g}",
            f"{row['taken']:.2f}",
            str(row["epochs"]),
            percent(np.arange(row["images"]) < round(row["accuracy"] * row["images"])),
        )
        for result in results
        for row in result["rows"]
    ]
    return table(BUDGETS, rows)


def times_table(results: list[dict[str, Any]]) -> str:
    """A row for each seed with which both ways were measured; alloyk by its last budget."""
    rows = []
    for result in results:
        of_seeds = groupby(result["rows"], key=lambda row: (row["arch"], row["seed"]))
        for (network, seed), group in of_seeds:
            *ours, last = group
            if last["way"] == "plain":
                best, target = ours[-1], result["target"]
                rows.append((
                    result["machine"],
                    f"`{network}`",
                    str(seed),
                    f"{best['minutes']:g}, {best['seconds']:.0f}, {best['accuracy']:.4f}",
                    f"{last['epochs']}, {last['seconds']:.0f}, {last['accuracy']:.4f}",
                    ratio(best, last, target),
                ))  # fmt: skip
    return table(TIMES, rows)


def ratio(ours: dict[str, Any], plain: dict[str, Any], target: float) -> str:
    """The time of the plain script over alloyk's; a bound where it does not reach the target.

    >>> ours = {"seconds": 100, "accuracy": 0.995}
    >>> ratio(ours, {"seconds": 700, "accuracy": 0.9}, 0.99)
    'more than 7.0'
    >>> ratio(ours | {"accuracy": 0.9}, {"seconds": 700, "accuracy": 0.99}, 0.99)
    'alloyk did not reach it'
    """
    if ours["accuracy"] < target:
        return "alloyk did not reach it"
    least = "" if plain["accuracy"] >= target else "more than "
    return f"{least}{plain['seconds'] / ours['seconds']:.1f}"


def table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


if __name__ == "__main__":
    main()
