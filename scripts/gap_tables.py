"""Tables of docs/five_alloys.md on the gap between networks and the reference ceiling.

    python scripts/gap_tables.py [--check]

From docs/results/gap_hard5/, which `scripts/gap_runs.py` makes. Takes a second. `--check` writes
nothing, and fails if the page is not what it would write.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from experiments import ROOT
from result_pages import (
    JAX_MARK,
    TEXT,
    decided,
    page_options,
    percent,
    probabilities,
    replace_tables,
    same_images,
    star_note,
)

from alloyk.metrics.intervals import accuracy_interval
from alloyk.metrics.significance import accuracy_difference

RESULTS = Path("docs/results/gap_hard5")
NETWORKS, VIEWS, CEILINGS = "networks", "views.csv", "ceilings.json"


def main() -> None:
    options = page_options(__doc__, ROOT / RESULTS, ROOT / "docs" / "five_alloys.md")
    file = options.results / CEILINGS
    if not file.is_file():
        sys.exit(f"{file} does not exist; make the results with scripts/gap_runs.py")
    described = json.loads(file.read_text(encoding="utf-8"))
    ceilings = {int(count): values for count, values in described["ceilings"].items()}
    text = "\n".join(
        [
            networks_table(options.results / NETWORKS, ceilings[1]),
            views_table(options.results / VIEWS, described["voting"], ceilings),
        ]
    )
    replace_tables(options.page, Path(__file__).name, text, check=options.check)


def networks_table(folder: Path, ceiling: list[float]) -> str:
    """A row for each network and one for their vote, on the same test plates."""
    tables = {file.stem: read(file) for file in sorted(folder.glob("*.csv"))}
    first = same_images(list(tables.values()))
    together = np.mean([probabilities(table) for table in tables.values()], axis=0)
    rows = [
        (f"`{name.removesuffix('-jax')}`{JAX_MARK * name.endswith('-jax')}", right(table))
        for name, table in tables.items()
    ]
    rows = sorted(rows, key=lambda row: float(row[1].mean()))
    vote = decided(first, together) == first["label"].to_numpy()
    plates = np.arange(len(first))  # one image each
    lines = [
        f"### Networks on `hard5`, {len(first):,} test plates",
        "",
        "| network | accuracy, % (95 % interval) | minus the reference ceiling, points "
        "| the vote minus this, points (95 % interval) |",
        "|---|---|---|---|",
        *(
            f"| {name} | {percent(one)} | {gap(one, ceiling)} | {difference(one, vote, plates)} |"
            for name, one in rows
        ),
        f"| soft vote of all {len(tables)} | {percent(vote)} | {gap(vote, ceiling)} | |",
    ]
    bound = f"Reference ceiling: {100 * ceiling[0]:.1f} ± {100 * ceiling[1]:.1f} %."
    note = star_note("\n".join(lines))
    return "\n".join([*lines, "", f"{bound} {note}".rstrip()]) + "\n"


def views_table(file: Path, network: str, ceilings: dict[int, list[float]]) -> str:
    """A row for each number of images of a plate that decide together; the first one is 1."""
    table = read(file)
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


def difference(first: np.ndarray, second: np.ndarray, plates: np.ndarray) -> str:
    """Accuracy of the second minus that of the first in points, paired by plate."""
    found = accuracy_difference(first, second, plates)
    text = f"{100 * found['difference']:+.1f}"
    if found["interval"]:
        low, high = found["interval"]
        text += f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return text.replace("-", "−")


def read(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, dtype=TEXT)


def right(table: pd.DataFrame) -> np.ndarray:
    """Whether each decision `(n,)` is right."""
    return np.asarray(decided(table, probabilities(table)) == table["label"].to_numpy())


def gap(found: np.ndarray, ceiling: list[float]) -> str:
    """Accuracy minus ceiling, in points.

    >>> gap(np.array([True, False]), [0.6, 0.01])
    '−10.0'
    """
    return f"{100 * (found.mean() - ceiling[0]):+.1f}".replace("-", "−")


if __name__ == "__main__":
    main()
