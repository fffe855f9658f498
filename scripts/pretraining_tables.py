"""Write the table of pretrained weights in docs/recipe.md from docs/results/pretraining/.

    python scripts/pretraining_tables.py [--check]

`scripts/pretraining_check.py` makes the results. `--check` writes nothing, and fails if the page is
not what it would write.
"""

import json
from pathlib import Path
from typing import Any

from experiments import ROOT
from result_pages import page_options, replace_tables

TITLES = ("network", "images", "labels per class", "from scratch", "pretrained", "gain")


def main() -> None:
    results = ROOT / "docs" / "results" / "pretraining"
    options = page_options(__doc__, results, ROOT / "docs" / "recipe.md")
    text = table(options.results)
    replace_tables(options.page, Path(__file__).name, text, check=options.check)


def table(results: Path) -> str:
    """A row for each file: accuracy of each seed, and the mean gain in points."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in results.glob("*.json")]
    found.sort(key=lambda one: (one["arch"], one["target"], one["labels_per_class"]))
    lines = [f"| {' | '.join(TITLES)} |", "|---" * len(TITLES) + "|"]
    lines += [f"| {' | '.join(cells(one))} |" for one in found]
    return "\n".join(lines) + "\n"


def cells(result: dict[str, Any]) -> list[str]:
    gain = f"{100 * result['gain']:+.1f}"
    if "interval" in result:
        low, high = result["interval"]
        gain += f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return [
        f"`{result['arch']}`",
        f"`{result['target']}`",
        str(result["labels_per_class"]),
        *(
            ", ".join(f"{value:.3f}" for value in result["accuracy"][way])
            for way in ("from scratch", "pretrained")
        ),
        gain.replace("-", "−"),
    ]


if __name__ == "__main__":
    main()
