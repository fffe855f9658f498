"""The tables of docs/study.md, made of results written here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "study_tables.py"
EMPTY = "# Title\n\n<!-- begin study_tables.py -->\n<!-- end study_tables.py -->\nend\n"


def write_result(folder, right):
    """A training run whose first `right` of 40 test plates are classified right."""
    folder.mkdir(parents=True)
    lines = ["path,label,predicted,p_1050,p_2017,plate_id"]
    for number in range(40):
        label = ("1050", "2017")[number % 2]
        other = ("2017", "1050")[number % 2]
        predicted = label if number < right else other
        p = 0.9 if predicted == "1050" else 0.1
        lines.append(f"{label}/{number}.png,{label},{predicted},{p},{round(1 - p, 1)},p{number}")
    (folder / "predictions.csv").write_text("\n".join(lines) + "\n")
    each = {"average_precision": 0.875, "roc_auc": 0.75}
    metrics = {
        "accuracy": right / 40,
        "log_loss": 0.25,
        "per_class": {"1050": each, "2017": each},
        "macro": each,
        "train": {"final_loss": 0.125, "final_val_loss": 0.5},
        "confidence_intervals": {"accuracy": [0.5, 1.0]},
        "ceiling": {"accuracy": 0.995, "error": 0.002},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    for row, rights in {
        "study-fnn": (32, 34), "alloyk-fnn": (36, 38), "alloyk-cnn": (39,),
        "alloyk-resnet18": (30,), "alloyk-resnet18-1mm": (20,),
    }.items():  # fmt: skip
        for seed, right in enumerate(rights):
            write_result(folder / row / str(seed), right)
    page = folder / "page.md"
    page.write_text(EMPTY)
    options = ["--results", folder, "--page", page]
    subprocess.run([sys.executable, SCRIPT, *options], check=True)
    return page.read_text()


def test_a_network_has_both_recipes_their_difference_and_the_printed_accuracy(page):
    (row,) = [line for line in page.splitlines() if line.startswith("| `fnn` |")]
    # 80 and 85 %: mean 82.5, sd 3.5355, half width 12.7062 · 2.5 = 31.77, cut at 100.
    assert "| 82.50 [50.73, 100.00] (80.00, 85.00) | 92.50 [60.73, 100.00] (90.00, 95.00) |" in row
    # 4 of 40 plates more are right, with either seed.
    assert "| +10.00 [" in row
    assert row.endswith("| 95.8 | -3.3 |")


def test_one_seed_has_the_interval_over_plates(page):
    assert "| `cnn` |  | 97.50 [50.00, 100.00] (one seed) |  |  |  |" in page


def test_figures_are_means_over_seeds(page):
    assert "| `alloyk-fnn` | 2 | 0.1250 | 0.5000 | 0.2500 | 0.8750 | 0.8750 | 0.7500 |" in page


def test_votes_are_of_the_networks_that_have_the_seed(page):
    # Sorted by plate, the right ones are nested: the soft vote is that of the majority of three.
    assert "| `alloyk` | 0 | 3 | 97.50 | 90.00 | 90.00 |" in page
    assert "| `study` | 0 |" not in page  # one network has no vote


def test_a_changed_row_stands_beside_the_row_it_differs_from(page):
    line = "| `alloyk-resnet18-1mm` | 50.00 [50.00, 100.00] (one seed) | "
    assert line + "75.00 [50.00, 100.00] (one seed) | 99.5 |" in page


def test_what_is_not_trained_is_listed(page):
    assert "### Not trained yet\n\n`study-cnn`, `study-resnet18`" in page
    assert page.startswith("# Title")
    assert page.endswith("-->\nend\n")
