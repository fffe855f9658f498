"""Pages with tables of committed results are what their scripts make of them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


def test_the_committed_pages_are_made_of_the_committed_results():
    command = [sys.executable, SCRIPTS / "result_tables.py", "--check"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("top\n<!-- end x.py -->\nbottom\n", "must contain <!-- begin x.py -->"),
        ("top\n<!-- begin x.py -->\nbottom\n", "must contain <!-- end x.py --> after"),
        (
            "<!-- end x.py -->\n<!-- begin x.py -->\nbottom\n",
            "must contain <!-- end x.py --> after",
        ),
    ],
)
def test_a_page_without_a_comment_stays_as_it_is(tmp_path, text, wanted):
    from result_pages import replace_tables

    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(SystemExit, match=wanted) as error:
        replace_tables(page, "x.py", "table", check=False)
    assert str(page) in str(error.value)
    assert page.read_text() == text


def test_networks_tested_on_other_images_have_no_common_vote():
    from result_pages import same_images

    one = pd.DataFrame({"path": ["a.png", "b.png"]})
    assert same_images([one, one]) is one
    with pytest.raises(SystemExit, match=r"same images, got 2 from a.png and 2 from b.png"):
        same_images([one, one[::-1].reset_index(drop=True)])


def test_kept_predictions_are_text_and_rounded_probabilities(tmp_path):
    from result_pages import keep_predictions

    file = tmp_path / "predictions.csv"
    file.write_text("path,label,predicted,p_0100,thickness_mm\na.png,0100,0100,0.123456,1\n")
    rows = keep_predictions(file, tmp_path / "kept.csv", ["path", "label"])
    assert list(rows["predicted"]) == ["0100"]
    assert (tmp_path / "kept.csv").read_text() == "path,label,p_0100\na.png,0100,0.1235\n"
    keep_predictions(file, tmp_path / "kept.csv", ["path"], probabilities=False)
    assert (tmp_path / "kept.csv").read_text() == "path\na.png\n"


def test_images_of_a_plate_decide_in_groups_of_all_of_them(tmp_path):
    from views_tables import views_table

    # A plate whose first image is right and whose others are wrong, and one that is always right.
    # Pairs of the first plate: (0.9 + 0.4) / 2 is right, (0.4 + 0.4) / 2 is wrong.
    table = pd.DataFrame(
        {
            "plate_id": np.repeat(["p0", "p1"], 4),
            "label": "1050",
            "p_1050": [0.9, 0.4, 0.4, 0.4, 0.8, 0.8, 0.8, 0.8],
        }
    )
    table["p_2017"] = 1 - table["p_1050"]
    table.to_csv(tmp_path / "views.csv", index=False)
    text = views_table(tmp_path / "views.csv", "cnn", {1: [0.7, 0.01], 2: [0.8, 0.01]})
    one, two = text.splitlines()[-2:]
    assert one.startswith("| 1 | 62.5 [")
    assert two.startswith("| 2 | 75.0 [")
    assert "| +12.5 [" in two


def test_a_row_of_learning_rates_has_the_accuracy_of_the_first_epochs(tmp_path):
    from default_tables import table

    (tmp_path / "adam-0.001-2.csv").write_text(
        "epoch,accuracy\n1,0.5\n2,0.75\n3,0.8125\n4,0.9\n5,0.95\n"
    )
    assert table(tmp_path).splitlines()[2:] == [
        "| Adam | 0.001 | 2 | 0.500 | 0.750 | 0.812 | 0.900 |"
    ]


def test_the_table_of_pretrained_weights_has_the_accuracy_of_each_seed_and_the_gain(tmp_path):
    from pretraining_tables import table

    result = {"target": "castings", "arch": "resnet18", "seeds": [0, 1], "gain": -0.012}
    result["accuracy"] = {"from scratch": [0.9, 0.92], "pretrained": [0.9, 0.896]}
    for labels, more in ((100, {}), (20, {"interval": [-0.1, 0.005]})):
        (tmp_path / f"{labels}.json").write_text(
            json.dumps({**result, "labels_per_class": labels, **more})
        )
    few, more = table(tmp_path).splitlines()[2:]
    accuracies = "0.900, 0.920 | 0.900, 0.896"
    assert few == f"| `resnet18` | `castings` | 20 | {accuracies} | −1.2 [−10.0, +0.5] |"
    assert more == f"| `resnet18` | `castings` | 100 | {accuracies} | −1.2 |"


def test_the_table_of_real_radiographs_has_what_was_measured(tmp_path):
    from real_tables import table

    measured = {"test_images": 40, "alloyk": [0.98, 1.0], "plain": [0.9, 0.8],
                "minus_plain": [0.14, 0.05, 0.2]}  # fmt: skip
    for name in ("castings", "fishbones", "threatobjects"):
        more = {"random": [0.97], "minus_random": [0.02, -0.01, 0.04]} if name == "castings" else {}
        (tmp_path / f"{name}.json").write_text(json.dumps({name: measured | more}))
    lines = table(tmp_path).splitlines()
    assert "| plain script | 0.850 (0.900, 0.800) | 0.850 (0.900, 0.800) |" in lines[4]
    assert "| best random settings | 0.970 | – | – |" in lines
    assert "| alloyk minus best random settings | +0.020 [−0.010, +0.040] | – | – |" in lines
