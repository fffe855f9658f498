"""Scripts that train: what they reuse of an earlier call, and what they refuse."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


def test_simulated_images_made_with_other_options_are_refused(tmp_path):
    from experiments import simulated

    folder = tmp_path / "plates"
    options = {"preset": "easy", "images": 4, "image_size": 32, "seed": 7}
    simulated(folder, **options)
    before = sorted(folder.rglob("*"))
    assert simulated(folder, **options) == folder
    assert sorted(folder.rglob("*")) == before
    for other in ({"images_per_plate": 2}, {"seed": 8}, {"set": {"wedge.height_mm": 12}}):
        with pytest.raises(SystemExit, match="must be simulated with the options of this script"):
            simulated(folder, **{**options, **other})


def test_a_missing_data_set_is_a_usage_error(tmp_path):
    command = [sys.executable, SCRIPTS / "defaults_check.py", tmp_path, tmp_path / "out"]
    found = subprocess.run([*command, "--sets", "castings"], capture_output=True, text=True)
    assert found.returncode == 2
    assert f"FOLDER_OF_SETS must have a folder castings, got {tmp_path}" in found.stderr


def test_images_of_a_plate_are_a_power_of_two(tmp_path):
    command = [sys.executable, SCRIPTS / "views_runs.py", tmp_path, "--views", "6"]
    for message in (f"RUN must be a finished run, got {tmp_path}", "power of two, got 6"):
        found = subprocess.run(command, capture_output=True, text=True)
        assert found.returncode == 2
        assert message in found.stderr
        (tmp_path / "model.keras").touch()


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Commands that were run in place of trainings; each leaves the files of a finished one."""
    commands = []

    def run(command, **options):
        commands.append(command)
        if "--run" in command:
            folder = Path(command[command.index("--run") + 1])
            folder.mkdir(parents=True)  # fails where an unfinished run is left
            (folder / "metrics.json").write_text(json.dumps({"accuracy": 0.995}))
            return subprocess.CompletedProcess(command, 0)
        Path(command[3]).mkdir(parents=True)
        epochs = [{"epoch": 1, "seconds": 60.0, "test_accuracy": 0.99}, {"end": True}]
        text = "\n".join(json.dumps(epoch) for epoch in epochs)
        return subprocess.CompletedProcess(command, 0, stdout=text)

    monkeypatch.setattr("time_to_accuracy.subprocess.run", run)
    return commands


@pytest.mark.parametrize("left", [(), ("metrics.json",)])
def test_an_interrupted_time_to_accuracy_starts_again(tmp_path, trained, left):
    from time_to_accuracy import alloyk_rows, plain_row

    options = argparse.Namespace(out=tmp_path, budgets=[2, 4], target=0.99, minutes=40)
    unfinished = tmp_path / "resnet18-0-2min"
    unfinished.mkdir()
    for name in left:
        (unfinished / name).write_text("{}")
    (tmp_path / "plain-resnet18-0-0.99-40min").mkdir()
    rows = [
        (
            *alloyk_rows(options, tmp_path, "resnet18", 0),
            plain_row(options, tmp_path, "resnet18", 0),
        )
        for _ in range(2)
    ]
    assert rows[0] == rows[1]  # the second call takes what the first one left
    assert len(trained) == 2
    ours, plain = rows[0]
    assert (ours["minutes"], ours["accuracy"]) == (2, 0.995)
    assert (plain["seconds"], plain["epochs"]) == (60.0, 1)


def test_the_ratio_over_seeds_is_that_of_the_sums():
    from time_to_accuracy import summary

    seeds = [[(120, 0.8), (180, 0.99), (900, 0.995)], [(120, 0.999), (1200, 0.99)]]
    rows = [[{"seconds": s, "accuracy": a} for s, a in one] for one in seeds]
    assert summary("cnn", rows, 0.99) == "cnn: plain over alloyk 7.0, sum of 2 seeds"
    assert summary("cnn", rows, 0.995) == "cnn: alloyk did not reach 0.995 from every seed"
    rows[1][-1]["accuracy"] = 0.9
    assert summary("cnn", rows, 0.99) == "cnn: plain over alloyk more than 7.0, sum of 2 seeds"


def test_the_defaults_are_compared_with_the_best_random_setting(tmp_path, monkeypatch, capsys):
    import defaults_check

    images = [f"{label}/{number}" for label in "ab" for number in range(10)]

    def files(run, wrong):
        run.mkdir(parents=True)
        (run / "metrics.json").write_text("{}")
        (run / "config.yaml").write_text("model: {arch: cnn}")
        rows = [f"{i}.png,{i[0]},{'c' if i in wrong else i[0]}" for i in images]
        (run / "predictions.csv").write_text("\n".join(["path,label,predicted", *rows]))

    commands = []

    def run(command, **options):
        commands.append(command[3:])
        if "train" in command:
            files(Path(command[-1]), wrong=())

    monkeypatch.setattr("defaults_check.subprocess.run", run)
    options = argparse.Namespace(out=tmp_path, seeds=[0, 1], trials=20)
    for seed in options.seeds:
        files(tmp_path / "castings" / f"alloyk-{seed}", wrong=images[:2])
    right = {
        "alloyk": [
            defaults_check.alloyk_answers(options, "castings", tmp_path, seed) for seed in (0, 1)
        ],
        "plain": [],
        "forest": [],
        "random": [defaults_check.random_answers(options, "castings", tmp_path)],
    }
    search, training = commands
    folder = tmp_path / "castings"
    assert search[:5] == ["tune", "--search", "random", "--trials", "20"]
    assert str(SCRIPTS.parent / "configs" / "tune_cnn.yaml") in search
    assert training == [
        "train",
        str(folder / "random" / "best.yaml"),
        "--run",
        str(folder / "random-best"),
    ]
    results = {}
    defaults_check.report("castings", right, results)
    assert results["castings"]["random"] == [1.0]
    assert results["castings"]["minus_random"][0] == pytest.approx(-0.1)
    assert "plain" not in capsys.readouterr().out
