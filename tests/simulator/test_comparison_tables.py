"""One table in three forms."""

import csv
import io

import pytest

from alloyk.comparison.tables import Column, csv_text, latex, markdown, write_table

COLUMNS = [
    Column("Run", "name"),
    Column("Accuracy", "accuracy", ".4f", "interval"),
    Column("Difference", "difference", "+.2f"),
    Column("p", "p", ".4p"),
]
ROWS = [
    {"name": "a_b & c", "accuracy": 0.98765, "interval": [0.9, 1.0], "difference": -0.5, "p": 1e-9},
    {"name": "x|y", "accuracy": None, "interval": None, "difference": 0.25, "p": 0.0312},
]


def test_people_read_rounded_numbers_with_intervals():
    lines = markdown(COLUMNS, ROWS).splitlines()
    assert len({len(line) for line in lines}) == 1  # aligned
    cells = [cell.strip() for cell in lines[2].strip("| ").split(" | ")]
    assert cells == ["a_b & c", "0.9877 [0.9000, 1.0000]", "−0.50", "<0.0001"]
    assert "x\\|y" in lines[3]
    assert [cell.strip() for cell in lines[3].strip("| ").split(" | ")][1] == "–"


def test_latex_escapes_names():
    text = latex(COLUMNS, ROWS, "50 % of #1")
    assert r"a\_b \& c & 0.9877 [0.9000, 1.0000] & $-$0.50 & $<$0.0001 \\" in text
    assert r"\caption{50 \% of \#1}" in text
    assert r"\begin{tabular}{lrrr}" in text


def test_latex_escapes_a_backslash_once():
    row = [{"name": "\\{x}"}]
    assert r"\textbackslash{}\{x\} \\" in latex([Column("Run", "name")], row, "")


def test_csv_keeps_full_precision_and_the_ends_of_intervals():
    rows = list(csv.DictReader(io.StringIO(csv_text(COLUMNS, ROWS))))
    assert float(rows[0]["accuracy"]) == 0.98765
    assert (rows[0]["accuracy_low"], rows[0]["accuracy_high"]) == ("0.9", "1.0")
    assert float(rows[0]["p"]) == 1e-9
    assert (rows[1]["accuracy"], rows[1]["accuracy_low"]) == ("", "")


def test_three_files_are_written(tmp_path):
    write_table(tmp_path, "t", COLUMNS, ROWS, "Caption.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", "t.md", "t.tex"]
    assert (tmp_path / "t.md").read_text().startswith("Caption.\n\n| Run")


@pytest.mark.parametrize(("p", "shown"), [(0.0001, "0.0001"), (0.00009, "<0.0001"), (1, "1.0000")])
def test_small_p_values_are_not_shown_as_0(p, shown):
    assert Column("p", "p", ".4p").shown({"p": p}) == shown
