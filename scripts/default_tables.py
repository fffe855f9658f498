"""Write the table of learning rates in docs/recipe.md from docs/results/default/learning_rate/.

    python scripts/default_tables.py [--check]

`--check` writes nothing, and fails if the page is not what it would write.
"""

from pathlib import Path

import pandas as pd
from experiments import ROOT
from result_pages import page_options, replace_tables

EPOCHS = 4  # in which the rate is constant after warm-up

NAMES = {"rmsprop": "RMSprop", "adam": "Adam"}


def main() -> None:
    results = ROOT / "docs" / "results" / "default" / "learning_rate"
    options = page_options(__doc__, results, ROOT / "docs" / "recipe.md")
    text = table(options.results)
    replace_tables(options.page, Path(__file__).name, text, check=options.check)


def table(results: Path) -> str:
    """A row for each `OPTIMIZER-RATE-SEED.csv`, the history of a training run."""
    titles = [
        "optimizer",
        "learning rate",
        "seed",
        *(f"after epoch {epoch}" for epoch in range(1, EPOCHS + 1)),
    ]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for file in sorted(results.glob("*.csv"), reverse=True):
        optimizer, rate, seed = file.stem.split("-")
        accuracy = pd.read_csv(file)["accuracy"][:EPOCHS]
        cells = [NAMES[optimizer], rate, seed, *(f"{value:.3f}" for value in accuracy)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
