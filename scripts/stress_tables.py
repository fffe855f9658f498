"""Tables and figures of docs/stress.md from docs/results/stress/*.csv.

    .venv/bin/python scripts/stress_tables.py

Each CSV file is the `stress.csv` of `alloyk stress RUN` on simulated images; docs/stress.md says
which run. Everything
below the line `## Results` is written anew.
"""

from pathlib import Path

from alloyk.robustness.table import draw_rows, format_markdown, read_rows

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "results" / "stress"
HEADING = "## Results\n"
TITLES = {
    "quickstart": "EfficientNetB0 on the embedded data set (`study`, two alloys)",
    "alloys5": "resnet18 on `alloys5` (five alloys)",
    "hard5": "resnet18 on `hard5` (five alloys)",
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
    page = DOCS / "stress.md"
    head = page.read_text(encoding="utf-8").split(HEADING)[0]
    page.write_text(head + HEADING + sections(), encoding="utf-8")
    for file in sorted(RESULTS.glob("*.csv")):
        draw_rows(read_rows(file), DOCS / "images" / f"stress_{file.stem}.png", simulated=True)


if __name__ == "__main__":
    main()
