"""Write the table of real radiographs in docs/configure.md from docs/results/defaults/.

    python scripts/real_tables.py [--check]

The results are those of `scripts/defaults_check.py`, a file for each data set. `--check` writes
nothing, and fails if the page is not what it would write.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import ROOT
from result_pages import page_options, replace_tables

WAYS = {
    "alloyk": "`alloyk train --data OUT/SET/sorted`",
    "plain": "plain script",
    "forest": "forest",
    "random": "best random settings",
}
SETS = ("castings", "fishbones", "threatobjects")


def main() -> None:
    page = ROOT / "docs" / "configure.md"
    options = page_options(__doc__, ROOT / "docs" / "results" / "defaults", page)
    text = table(options.results)
    replace_tables(options.page, Path(__file__).name, text, check=options.check)


def table(results: Path) -> str:
    """A column for each data set: mean accuracy of each way (each seed), and the differences."""
    found = {
        name: json.loads((results / f"{name}.json").read_text(encoding="utf-8"))[name]
        for name in SETS
    }
    lines = [f"| | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
    images = [f"{one['test_images']}" for one in found.values()]
    lines.append(f"| test images | {' | '.join(images)} |")
    for way, title in WAYS.items():
        cells = [accuracies(one.get(way, ())) for one in found.values()]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    for way, title in WAYS.items():
        if way != "alloyk":
            cells = [difference(one, way) for one in found.values()]
            lines.append(f"| alloyk minus {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def accuracies(values: Sequence[float]) -> str:
    """The mean over seeds, and each seed.

    >>> accuracies([0.98, 1.0]), accuracies([0.98]), accuracies([])
    ('0.990 (0.980, 1.000)', '0.980', '–')
    """
    if not values:
        return "–"
    each = ", ".join(f"{value:.3f}" for value in values)
    return f"{statistics.fmean(values):.3f} ({each})" if len(values) > 1 else each


def difference(found: Mapping[str, Any], way: str) -> str:
    """The difference with its interval.

    >>> difference({"minus_plain": [0.01, -0.00001, 0.02]}, "plain")
    '+0.010 [+0.000, +0.020]'
    """
    if f"minus_{way}" not in found:
        return "–"
    value, low, high = found[f"minus_{way}"]
    return f"{value:+z.3f} [{low:+z.3f}, {high:+z.3f}]".replace("-", "−")


if __name__ == "__main__":
    main()
