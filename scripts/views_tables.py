"""The table of docs/five_alloys.md on several images of a plate.

    python scripts/views_tables.py [--check]

From docs/results/views_hard5/, which `scripts/views_runs.py` makes. Takes a second. `--check`
writes nothing, and fails if the page is not what it would write.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from experiments import ROOT
from result_pages import TEXT, decided, difference, page_options, replace_tables

from alloyk.metrics.intervals import accuracy_interval

RESULTS = Path("docs/results/views_hard5")
PREDICTIONS, CEILINGS = "predictions.csv", "ceilings.json"


def main() -> None:
    options = page_options(__doc__, ROOT / RESULTS, ROOT / "docs" / "five_alloys.md")
    file = options.results / CEILINGS
    if not file.is_file():
        sys.exit(f"{file} does not exist; make the results with scripts/views_runs.py")
    described = json.loads(file.read_text(encoding="utf-8"))
    ceilings = {int(count): values for count, values in described["ceilings"].items()}
    text = views_table(options.results / PREDICTIONS, described["arch"], ceilings)
    replace_tables(options.page, Path(__file__).name, text, check=options.check)


def views_table(file: Path, network: str, ceilings: dict[int, list[float]]) -> str:
    """A row for each number of images of a plate that decide together; the first one is 1."""
    table = pd.read_csv(file, dtype=TEXT)
    plates = table.groupby("plate_id", sort=False).ngroup().to_numpy()
    found = {count: right_together(table, count) for count in ceilings}
    lines = [
        f"### Several images of a plate, `{network}` on {table['plate_id'].nunique():,} plates",
        "",
        "| images of a plate | accuracy, % (95 % interval over plates) | minus 1 image, points "
        "| minus 2 images, points | reference ceiling of one image with all their photons, % |",
        "|---|---|---|---|---|",
    ]
    for count, ceiling in ceilings.items():
        low, high = accuracy_interval(found[count], plates) or (np.nan, np.nan)
        less = [
            difference(found[fewer], found[count], plates) if fewer < count else ""
            for fewer in (1, 2)
        ]
        lines.append(
            f"| {count} | {100 * found[count].mean():.1f} [{100 * low:.1f}, {100 * high:.1f}] "
            f"| {less[0]} | {less[1]} | {100 * ceiling[0]:.1f} ± {100 * ceiling[1]:.1f} |"
        )
    return "\n".join(lines) + "\n"


def right_together(table: pd.DataFrame, count: int) -> np.ndarray:
    """Whether the image's group of `count` images of its plate decides right, for each row `(n,)`.

    A group decides by its mean probabilities. All images of all plates take part, so that chance
    in the choice of the images counts little.

    >>> table = pd.DataFrame({"plate_id": ["a", "a"], "label": "x", "p_x": [0.9, 0.4],
    ...     "p_y": [0.1, 0.6]})
    >>> right_together(table, 1), right_together(table, 2)
    (array([ True, False]), array([ True,  True]))
    """
    names = [name for name in table if str(name).startswith("p_")]
    group = table.groupby("plate_id").cumcount() // count
    means = table.groupby(["plate_id", group])[names].transform("mean")
    return np.asarray(decided(table, means.to_numpy()) == table["label"].to_numpy())


if __name__ == "__main__":
    main()
