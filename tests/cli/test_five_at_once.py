"""Five commands at once on one folder: one writes it, or all of them share the work."""

import csv
import re

import pytest
from own_process import run_command, start
from tiny_run import write_dataset, write_run

from alloyk.evaluation import evaluate_run
from alloyk.runs.folder import RunFolder

FIVE = range(5)
SETTINGS = (
    "preprocess.image_size=16", "preprocess.repair=false", "model.arch=fnn", "model.depth=1",
    "model.hidden_units=8", "train.epochs=2", "train.batch_size=4", "schedule.warmup_epochs=0",
)  # fmt: skip
OPTIONS = [option for setting in SETTINGS for option in ("--set", setting)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / "plates")


def five(tmp_path, *command):
    """Exit status and messages of five processes that are started together with one command."""
    files = [tmp_path / f"{number}.txt" for number in FIVE]
    processes = [start(run_command, *command, messages=file, cwd=tmp_path) for file in files]
    for process in processes:
        process.join()
    return [(one.exitcode, file.read_text()) for one, file in zip(processes, files, strict=True)]


def refused(ended, message):
    """Those that were refused, each by one line."""
    found = [text for code, text in ended if code]
    for text in found:
        assert "Traceback" not in text, text
        assert re.fullmatch(message, text.splitlines()[-1]), text
        assert text.count("Error: ") == 1, text
    assert {code for code, _ in ended} <= {0, 1}
    return found


def no_leftovers(folder):
    assert not [path for path in folder.rglob(".*") if path.name != ".keras"]


def test_one_of_five_trainings_gets_the_run(tmp_path, data):
    run = tmp_path / "run"
    ended = five(tmp_path, "train", "--data", data, "--run", run, *OPTIONS)
    in_use = r"Error: run is in use by process \d+ on .*; wait until .*"
    finished = r"Error: --run must be a new or empty folder, got .*run with a finished run; .*"
    assert len(refused(ended, f"{in_use}|{finished}".replace("Error: run", "Error: .*run"))) == 4
    folder = RunFolder(run)
    assert folder.is_finished
    assert folder.history.epochs == 2
    assert len(folder.predictions.table) == 18
    no_leftovers(run)


@pytest.mark.slow
def test_each_of_five_trainings_gets_a_default_folder_of_its_own(tmp_path, data):
    ended = five(tmp_path, "train", "--data", data, *OPTIONS)
    assert [code for code, _ in ended] == [0] * 5, ended
    runs = sorted(path.name for path in (tmp_path / "saved_models").iterdir())
    assert runs == ["fnn", "fnn-2", "fnn-3", "fnn-4", "fnn-5"]
    for name in runs:
        assert RunFolder(tmp_path / "saved_models" / name).is_finished
    no_leftovers(tmp_path / "saved_models")


def test_five_evaluations_of_a_run_leave_one_evaluation(tmp_path, data):
    run = write_run(tmp_path / "run", data)
    evaluate_run(run)
    before = {path.relative_to(run): path.read_bytes() for path in run.rglob("*.*")}
    ended = five(tmp_path, "evaluate", run, "--from-predictions")
    assert len(refused(ended, r"Error: .*run is in use by process \d+ on .*; wait until .*")) < 5
    after = {path.relative_to(run): path.read_bytes() for path in run.rglob("*.*")}
    pictures = {path for path in before if path.suffix == ".png"}  # of one pixel in the processes
    assert set(after) == set(before)
    assert {p: after[p] for p in set(after) - pictures} == {
        p: before[p] for p in set(before) - pictures
    }


@pytest.mark.slow
def test_five_searches_in_one_folder_share_the_trials(tmp_path, data):
    over = ("--over", "model.hidden_units=4,8,12", "--over", "model.dropout=0.1,0.3")
    fixed = [x for one in SETTINGS if "hidden_units" not in one for x in ("--set", one)]
    ended = five(tmp_path, "tune", "--data", data, "--out", tmp_path / "s", *over, *fixed)
    assert [code for code, _ in ended] == [0] * 5, ended
    with (tmp_path / "s" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    tried = {(row["model.hidden_units"], row["model.dropout"]) for row in rows}
    assert len(rows) == len(tried) == 6
    assert [row["error"] for row in rows] == [""] * 6
    for row in rows:
        assert RunFolder(tmp_path / "s" / f"trial_{row['trial']}").history.epochs == 2
    no_leftovers(tmp_path / "s")


@pytest.mark.slow
def test_one_of_five_cross_validations_gets_the_folder(tmp_path, data):
    out = tmp_path / "folds"
    options = ("--folds", "2", *OPTIONS)
    ended = five(tmp_path, "cross-validate", "--data", data, "--out", out, *options)
    # One that comes when another has finished finds all folds finished.
    refused(ended, r"Error: .*folds is in use by process \d+ on .*; wait until .*")
    assert 0 in {code for code, _ in ended}
    assert len(RunFolder(out).predictions.table) == 27
    for name in ("fold_1", "fold_2"):
        assert RunFolder(out / name).history.epochs == 2
    no_leftovers(out)
