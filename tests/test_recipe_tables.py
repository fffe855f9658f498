"""The tables of docs/recipe.md: a row per experiment, differences paired by seed."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts" / "recipe_tables.py"
EMPTY = "# Title\n\n<!-- begin recipe_tables.py -->\n<!-- end recipe_tables.py -->\nend\n"


def test_a_row_has_the_mean_and_the_paired_difference(tmp_path):
    correct = {"recipe": (1480, 1490), "adam": (1495, 1475)}
    for name, counts in correct.items():
        for seed, count in enumerate(counts):
            result = {
                "arch": "resnet18", "training_images": 2550, "experiment": name, "seed": seed,
                "n": 1500, "correct": count,
            }  # fmt: skip
            (tmp_path / f"{name}{seed}.json").write_text(json.dumps(result))
    page = tmp_path / "page.md"
    page.write_text(EMPTY)
    options = ["--results", tmp_path, "--page", page]
    subprocess.run([sys.executable, SCRIPT, *options], check=True)
    text = page.read_text()
    assert "| `recipe` | 0.9867, 0.9933 | 0.9900 |  |" in text
    # Differences 15 and −15 images: mean 0, sd 21.2 / 1500, half width 12.706 · 0.01.
    assert "| `adam` | 0.9967, 0.9833 | 0.9900 | +0.0000 [-0.1271, +0.1271] |" in text
    assert text.startswith("# Title")
    assert text.endswith("-->\nend\n")
