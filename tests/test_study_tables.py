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
    """A training run whose first `right` of 40 test plates are classified right.

    The first of its two epochs is the best.
    """
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
        "train": {"best_epoch": 1},
        "confidence_intervals": {"accuracy": [0.5, 1.0]},
        "ceiling": {"accuracy": 0.995, "error": 0.002},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "history.csv").write_text("epoch,loss,val_loss\n1,0.125,0.5\n2,0.0625,0.75\n")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    for row, rights in {
        "study-fnn": (32, 34), "alloyk-fnn": (36, 40), "alloyk-cnn": (39, 38),
        "alloyk-resnet34": (30, 30), "alloyk-resnet18": (30,), "alloyk-resnet18-1mm": (20,),
        "study-resnet18": (29,),
    }.items():  # fmt: skip
        for seed, right in enumerate(rights):
            write_result(folder / row / str(seed), right)
    write_result(folder / "alloyk-cnn" / "4", 10)  # no other row has this seed
    page = folder / "page.md"
    page.write_text(EMPTY)
    options = ["--results", folder, "--page", page]
    subprocess.run([sys.executable, SCRIPT, *options], check=True)
    return page.read_text()


def test_a_network_has_both_recipes_their_difference_and_the_printed_accuracy(page):
    (row,) = [line for line in page.splitlines() if line.startswith("| `fnn` |")]
    # 80 and 85 %: mean 82.5, sd 3.5355, half width 12.7062 · 2.5 = 31.77, cut at 100.
    assert "| 82.50 [50.73, 100.00] (80.00, 85.00) | 95.00 [31.47, 100.00] (90.00, 100.00) |" in row
    # 10 and 15 points: mean 12.5, sd 3.5355, half width 31.77 again.
    assert "| +12.50 [-19.27, +44.27] |" in row
    assert row.endswith("| 95.8 | -0.8 |")


def test_one_seed_has_the_interval_over_plates_and_a_difference_without_one(page):
    (row,) = [line for line in page.splitlines() if line.startswith("| `resnet18` |")]
    assert "| 72.50 [50.00, 100.00] (one seed) | 75.00 [50.00, 100.00] (one seed) |" in row
    assert "| +2.50 (one seed) |" in row


def test_every_seed_of_a_row_is_shown(page):
    (row,) = [line for line in page.splitlines() if line.startswith("| `cnn` |")]
    assert "(97.50, 95.00, 25.00)" in row


def test_losses_are_of_the_best_epoch(page):
    assert "| `alloyk-fnn` | 2 | 0.1250 | 0.5000 | 0.2500 | 0.8750 | 0.8750 | 0.7500 |" in page


def test_votes_are_of_the_networks_that_have_all_seeds(page):
    # Sorted by plate, the right ones are nested: the soft vote is that of the majority of three.
    three = "`fnn`, `cnn`, `resnet34`"
    assert f"| `alloyk` | 0 | {three} | 97.50 | 90.00 | 90.00 |" in page
    assert f"| `alloyk` | 1 | {three} | 100.00 | 95.00 | 95.00 |" in page
    assert "| `alloyk` | 4 |" not in page
    assert "| `study` | 0 |" not in page  # one network has no vote


def test_a_changed_row_stands_beside_the_row_it_differs_from(page):
    line = "| `alloyk-resnet18-1mm` | 50.00 [50.00, 100.00] (one seed) | "
    assert line + "75.00 [50.00, 100.00] (one seed) | 99.5 |" in page


def test_what_is_not_trained_is_listed(page):
    assert (
        "### Not trained yet\n\n`study-fnn` seed 2, `alloyk-fnn` seed 2, `study-cnn`, `alloyk-cnn` "
        "seed 2, `study-resnet18` seeds 1 and 2, `alloyk-resnet18` seeds 1 and 2, `study-resnet34`"
    ) in page
    assert page.startswith("# Title")
    assert page.endswith("-->\nend\n")
