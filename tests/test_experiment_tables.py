"""Tables of experiments: a row for each, differences paired by seed, measures of scikit-learn."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
SCRIPT = SCRIPTS / "experiment_tables.py"
EMPTY = "# Title\n\n<!-- begin experiment_tables.py -->\n<!-- end experiment_tables.py -->\nend\n"


def write_result(folder: Path, name: str, seed: int, rows: list[tuple[str, str]], **more) -> None:
    """A finished training run of resnet18 with these labels and decisions."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"arch": "resnet18", "training_images": 2550, "experiment": name, "seed": seed}
    stem = folder / f"resnet18-2550-{name}-{seed}"
    stem.with_suffix(".json").write_text(json.dumps({**about, **more}))
    with stem.with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file).writerows([("label", "predicted"), *rows])


def pages(results: Path, docs: Path) -> dict[str, str]:
    """The text that the script writes into each page."""
    docs.mkdir()
    for name in ("recipe.md", "long_tail.md", "preprocessing.md", "five_alloys.md", "tuning.md"):
        (docs / name).write_text(EMPTY)
    options = ["--results", results, "--docs", docs]
    subprocess.run([sys.executable, SCRIPT, *options], check=True)
    return {file.name: file.read_text() for file in docs.iterdir()}


def test_a_row_has_the_mean_and_the_paired_difference(tmp_path):
    correct = {"recipe": (1480, 1490), "adam": (1495, 1475)}
    for name, counts in correct.items():
        for seed, count in enumerate(counts):
            rows = [("1050", "1050")] * count + [("2017", "1050")] * (1500 - count)
            write_result(tmp_path / "results" / "recipe", name, seed, rows)
    text = pages(tmp_path / "results", tmp_path / "docs")["recipe.md"]
    assert "| `recipe` | 0.9867, 0.9933 | 0.9900 [0.9476, 1.0000] |  |  |" in text
    # Differences 15 and −15 images: mean 0, sd 21.2 / 1500, half width 12.706 · 0.01.
    cells = "0.9967, 0.9833 | 0.9900 [0.9053, 1.0000] | +0.0000 [-0.1271, +0.1271]"
    assert f"| `adam` | {cells} |  |" in text
    assert text.startswith("# Title")
    assert text.endswith("-->\nend\n")


def test_macro_f1_and_recall_of_a_class_and_the_ceiling(tmp_path):
    # Class 1050: recall 3/4, precision 3/4; class 5083: recall 1/2, precision 1/2; mean F1 0.625.
    rows = [("1050", "1050")] * 3 + [("1050", "5083"), ("5083", "5083"), ("5083", "1050")]
    ceiling = {"accuracy": 0.8712, "error": 0.0021}
    folder = tmp_path / "results" / "long_tail_10"
    write_result(folder, "cross-entropy", 0, rows, ceiling=ceiling)
    text = pages(tmp_path / "results", tmp_path / "docs")["long_tail.md"]
    cells = "0.6250 | 0.6250 | 0.6667 [0.3000, 0.9032] | 0.7500 | 0.0000 | 0.5000 | 0.871 ± 0.002"
    assert f"| `resnet18` | 2,550 | {cells} |" in text
    assert "long_tail_100" not in text  # which has no results


def test_networks_without_changes_share_a_table_and_unusual_seeds_are_named(tmp_path):
    folder = tmp_path / "results" / "recipe"
    rows = [("1050", "1050")] * 3 + [("2017", "1050")]
    write_result(folder, "recipe", 2, rows)
    text = pages(tmp_path / "results", tmp_path / "docs")["recipe.md"]
    assert "### `recipe`: networks with `recipe` only, at these numbers of images" in text
    assert "| `resnet18` | 2,550 | 0.7500 (seed 2) | 0.7500 [0.3006, 0.9544] |  |" in text
    assert "minus" not in text


def test_the_star_is_explained_once_where_there_is_one(tmp_path):
    rows = [("1050", "1050"), ("5083", "5083")]
    for name in ("long_tail_10", "long_tail_100"):
        write_result(
            tmp_path / "results" / name, "cross-entropy", 0, rows, packages={"jax": "0.11.2"}
        )
    write_result(tmp_path / "results" / "recipe", "recipe", 0, rows)
    found = pages(tmp_path / "results", tmp_path / "docs")
    assert found["long_tail.md"].count("trained with Keras on JAX") == 1
    assert "trained with Keras on JAX" not in found["recipe.md"]


def test_controls_have_columns_of_their_own(tmp_path):
    rows = [("1050", "1050")] * 3 + [("2017", "1050")]
    folder = tmp_path / "results" / "representation_step"
    controls = ({"noise": 0.5, "classical": 0.9}, {"noise": 0.7, "classical": 0.8})
    for seed, found in enumerate(controls):
        write_result(folder, "robust", seed, rows, baselines=found)
    write_result(folder, "log", 0, rows)
    for name in ("robust", "log"):
        write_result(tmp_path / "results" / "representation_full", name, 0, rows)
    text = pages(tmp_path / "results", tmp_path / "docs")["preprocessing.md"]
    titles = "accuracy of the noise alone | accuracy of the wedge curve alone | reference ceiling"
    assert titles in text
    cells = "0.7500 [0.3006, 0.9544] |  | 0.6000 [0.0000, 1.0000] | 0.8500 [0.2147, 1.0000]"
    assert f"| `robust` | 0.7500, 0.7500 | {cells} |  |" in text
    assert "| `log` | 0.7500 | 0.7500 [0.3006, 0.9544] | +0.0000 | – | – |  |" in text
    # Without any control in its results, a table has no column for it.
    assert "| `log` | 0.7500 | 0.7500 [0.3006, 0.9544] | +0.0000 |  |" in text


def test_votes_of_seeds_and_the_error_of_a_number(tmp_path):
    folder = tmp_path / "results" / "alloys5"
    # Three images of two classes; each seed is wrong in another one, and unsure where it is wrong.
    certain, unsure = 0.9, 0.45
    for seed in range(2):
        write_result(folder, "alloy", seed, [])
        lines = ["path,label,predicted,p_1050,p_2017"]
        for image in range(3):
            p = unsure if image == seed else certain
            lines.append(f"i{image},1050,{'1050' if p > 0.5 else '2017'},{p},{1 - p}")
        (folder / f"resnet18-2550-alloy-{seed}.csv").write_text("\n".join(lines) + "\n")
    second_task = {"true_thickness_mm": 0.0312}
    write_result(folder, "alloy-and-thickness", 0, [], mae=second_task)
    both = folder / "resnet18-2550-alloy-and-thickness-0"
    both.with_suffix(".csv").write_text((folder / "resnet18-2550-alloy-0.csv").read_text())
    text = pages(tmp_path / "results", tmp_path / "docs")["five_alloys.md"]
    assert "absolute error of `true_thickness_mm`" in text
    assert "| `alloy` | 0.6667, 0.6667 | 0.6667 [0.2077, 0.9385] |  | 0.4000 | – |  |" in text
    cells = "0.6667 | 0.6667 [0.2077, 0.9385] | +0.0000 | 0.4000 | 0.0312"
    assert f"| `alloy-and-thickness` | {cells} |  |" in text
    assert "| `alloy`, resnet18 | 2 | 100.0 [43.9, 100.0] | 66.7 |" in text


def test_every_plan_lists_its_trainings():
    command = [sys.executable, SCRIPTS / "run_experiments.py"]
    wrong = subprocess.run(
        [*command, "recipe", "--only", "sorcery"], capture_output=True, text=True
    )
    assert wrong.returncode == 2
    assert "--only must be among recipe, table-optimizer" in wrong.stderr
    found = subprocess.run(
        [*command, "long_tail_10", "--seeds", "0", "--list"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = [line.split(":")[0] for line in found.stdout.splitlines()]
    assert names[0] == "long_tail_10/cnn-2550-cross-entropy-0"
    assert len(names) == 8
    optimizers = ["--only", "table-optimizer", "adam", "--networks", "cnn", "resnet34"]
    found = subprocess.run(
        [*command, "recipe", "--seeds", "0", "--list", *optimizers],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.splitlines() == [
        "recipe: table-optimizer is what the recipe of cnn has",
        "recipe/resnet34-2550-table-optimizer-0: to do",
        "recipe: adam is what the recipe of cnn has",
        "recipe/resnet34-2550-adam-0: to do",
    ]


@pytest.mark.parametrize(
    "plan", ["long_tail_10", "representation_full", "recipe", "voltages", "alloys5"]
)
def test_the_settings_of_every_experiment_are_a_valid_configuration(plan, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import run_experiments
    from experiment_plans import PLANS
    from experiments import nested

    from alloyk.config import resolve_config

    monkeypatch.setattr(run_experiments, "simulated", lambda folder, **options: folder)
    chosen = PLANS[plan]
    for network in chosen.networks:
        for name in chosen.changes:
            settings = run_experiments.settings_of(chosen, network, name, 0, 2550, tmp_path)
            config = resolve_config(None, nested(settings))
            assert config.model.arch == network
