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
    decided,
    page_options,
    percent,
    probabilities,
    replace_tables,
)

RESULTS = Path("docs/results/gap_hard5")
NETWORKS, VIEWS, CEILINGS = "networks", "views.csv", "ceilings.json"
NOTE = (
    "\\* trained with Keras on JAX (`scripts/train_on_jax.py`) on one NVIDIA H200; all others on "
    "two CPU cores with TensorFlow."
)


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
    first = next(iter(tables.values()))
    for table in tables.values():
        assert table["path"].equals(first["path"]), "the networks were tested on other images"
    together = np.mean([probabilities(table) for table in tables.values()], axis=0)
    rows = [
        (f"`{name.removesuffix('-jax')}`{JAX_MARK * name.endswith('-jax')}", right(table))
        for name, table in tables.items()
    ]
    rows = sorted(rows, key=lambda row: float(row[1].mean()))
    vote = decided(first, together) == first["label"].to_numpy()
    rows.append((f"soft vote of all {len(tables)}", vote))
    lines = [
        f"### Networks on `hard5`, {len(first):,} test plates",
        "",
        "| network | accuracy, % (95 % interval) | minus the reference ceiling, points |",
        "|---|---|---|",
        *(f"| {name} | {percent(one)} | {gap(one, ceiling)} |" for name, one in rows),
        "",
        f"Reference ceiling: {100 * ceiling[0]:.1f} ± {100 * ceiling[1]:.1f} %. {NOTE}",
    ]
    return "\n".join(lines) + "\n"


def views_table(file: Path, network: str, ceilings: dict[int, list[float]]) -> str:
    """A row for each number of images of a plate that decide together."""
    table = read(file)
    numbers = table.groupby("plate_id").cumcount()
    lines = [
        f"### Several images of a plate, `{network}` on {table['plate_id'].nunique():,} plates",
        "",
        "| images of a plate | accuracy, % (95 % interval) "
        "| reference ceiling of one image with all their photons, % |",
        "|---|---|---|",
    ]
    names = [name for name in table if str(name).startswith("p_")]
    for count, ceiling in ceilings.items():
        some = table[numbers < count].groupby("plate_id", sort=False)
        plates = some[names].mean().assign(label=some["label"].first())
        one = right(plates)
        lines.append(
            f"| {count} | {percent(one)} | {100 * ceiling[0]:.1f} ± {100 * ceiling[1]:.1f} |"
        )
    return "\n".join(lines) + "\n"


def read(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, dtype={"label": str, "plate_id": str})


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
