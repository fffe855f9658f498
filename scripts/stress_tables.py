"""Tables and figures of docs/stress.md from docs/results/stress/*.csv.

    python scripts/stress_tables.py [--check]

Each CSV file is the `stress.csv` of `alloyk stress RUN` on simulated images; docs/stress.md says
which run. `--check` writes nothing, and fails if the page is not what it would write.
"""

import argparse

from experiments import ROOT
from result_pages import replace_tables

from alloyk.robustness.table import draw_rows, format_markdown, read_rows

DOCS = ROOT / "docs"
RESULTS = DOCS / "results" / "stress"
TITLES = {
    "quickstart": "EfficientNetB0 on the embedded data set (`study`, two alloys)",
    "alloys5": "resnet18 on `alloys5` (five alloys)",
    "hard5": "EfficientNetB0 on `hard5` (five alloys)",
}


def sections() -> str:
    """The tables of all files, each with its figure."""
    text = ""
    for file in sorted(RESULTS.glob("*.csv")):
        title = TITLES.get(file.stem, file.stem)
        picture = f"images/stress_{file.stem}.png"
        table = format_markdown(read_rows(file), simulated=True)
        text += f"\n### {title}\n\n{table}\n![{title}]({picture})\n"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    replace_tables(DOCS / "stress.md", "stress_tables.py", sections().lstrip("\n"), check=check)
    if check:
        return
    for file in sorted(RESULTS.glob("*.csv")):
        draw_rows(read_rows(file), DOCS / "images" / f"stress_{file.stem}.png", simulated=True)


if __name__ == "__main__":
    main()
