"""A search whose objective is the mean over folds of the training and validation images."""

import csv
import time

import numpy as np
import pytest
from own_process import run_command, start
from PIL import Image

import alloyk
from alloyk.config import resolve_config
from alloyk.data.source import open_dataset
from alloyk.errors import AlloykError, DataError, OptionError
from alloyk.runs.folder import RunFolder
from alloyk.runs.predictions import read_predictions
from alloyk.runs.search_records import TrialRecords
from alloyk.tuning import experiment, folds

pytestmark = pytest.mark.usefixtures("uncollected", "unrendered")

SETTINGS = {
    "preprocess.image_size": 16, "preprocess.repair": False, "model.depth": 1,
    "train.epochs": 2, "train.batch_size": 8, "schedule.warmup_epochs": 0,
    "optimizer.name": "sgd", "optimizer.clip_norm": None, "train.deterministic": True,
    "recipe": "study", "schedule.name": "cosine",
}  # fmt: skip
SPACE = {"model.hidden_units": [8, 16]}


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    """Images of two classes on 30 plates of two images each."""
    folder = tmp_path_factory.mktemp("plates")
    random = np.random.default_rng(0)
    rows = ["path,label,plate_id"]
    for number in range(60):
        label = ("1050", "2017")[number // 2 % 2]
        pixels = random.normal(6000 + 500 * (label == "2017"), 900, (16, 16)).astype(np.uint16)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
        rows.append(f"{number:02}.png,{label},{number // 2}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


def tuned(plates, out, *, over=None, **options):
    options = {"folds": 3, **options}
    over = over or SPACE
    return alloyk.tune(data=plates, arch="fnn", over=over, out=out, set=SETTINGS, **options)


@pytest.fixture(scope="module")
def undisturbed(plates, tmp_path_factory):
    out = tmp_path_factory.mktemp("searches") / "s"
    tuned(plates, out)
    return out


def written(folder):
    return {file: file.stat().st_mtime_ns for file in folder.iterdir() if file.is_file()}


def rows_of(out):
    with (out / "trials.csv").open() as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


def test_the_objective_is_the_mean_over_folds_by_plate_without_the_test_images(
    undisturbed,
):
    settings = resolve_config(undisturbed / "best.yaml").data_settings()
    tested = set(open_dataset(settings).split("test")["path"])  # as a training run would test
    rows = rows_of(undisturbed)
    assert len(rows) == 2
    for row in rows:
        trial = undisturbed / f"trial_{row['trial']}"
        histories = [RunFolder(trial / f"fold_{k}").history for k in (1, 2, 3)]
        best = [float(history["val_loss"].min()) for history in histories]
        assert [float(row[f"val_loss_fold_{k}"]) for k in (1, 2, 3)] == pytest.approx(best)
        assert float(row["val_loss"]) == pytest.approx(np.mean(best))
        assert float(row["log_loss_low"]) < float(row["log_loss"]) < float(row["log_loss_high"])
        assert row["epochs"] == "6"
        table = read_predictions(trial / "predictions_val.csv").table
        assert set(table["path"]) == {f"{n:02}.png" for n in range(60)} - tested
        assert not table["path"].duplicated().any()
        assert (table.groupby("plate_id")["fold"].nunique() == 1).all()
        assert set(table["fold"]) == {"fold_1", "fold_2", "fold_3"}
    losses = [float(row["val_loss"]) for row in rows]
    assert losses == sorted(losses)
    assert not list(undisturbed.rglob("checkpoint"))


def test_the_report_and_the_best_configuration_say_so(undisturbed):
    page = (undisturbed / "report.html").read_text(encoding="utf-8")
    assert "The objective is the mean over 3 folds of the training and validation images." in page
    assert "val_loss, fold 3" in page
    assert "The intervals are those of the mean over the folds" in page
    assert ", mean of 3 folds, best of 2 trials." in (undisturbed / "best.yaml").read_text()


def test_a_killed_search_goes_on_with_the_next_fold(undisturbed, plates, tmp_path):
    settings = [x for key, value in SETTINGS.items() for x in ("--set", f"{key}={value}")]
    settings = [text.replace("=None", "=null") for text in settings]
    out = tmp_path / "s"
    command = ["tune", "--data", plates, "--arch", "fnn", "--folds", 3, "--out", out,
               "--over", "model.hidden_units=8,16", *settings]  # fmt: skip
    process = start(run_command, *command, messages=tmp_path / "messages.txt")
    finished = out / "trial_0000" / "fold_1"
    while process.is_alive() and not (finished / folds.OUTCOME_FILE).exists():
        time.sleep(0.01)
    process.kill()
    process.join()
    assert (finished / folds.OUTCOME_FILE).exists(), (tmp_path / "messages.txt").read_text()
    assert TrialRecords(out).running()
    before = written(finished)
    tuned(plates, out)
    assert written(finished) == before
    assert rows_of(out) == rows_of(undisturbed)
    assert not list(out.rglob(".*"))


def test_a_continued_trial_of_hyperband_continues_each_fold(plates, tmp_path, monkeypatch):
    trained, train = [], experiment.train_network

    def counting(config, run, *rest, **options):
        history = RunFolder(run).history if (run / "history.csv").exists() else None
        trained.append((run.parent.name, run.name, history.epochs if history else 0))
        return train(config, run, *rest, **options)

    monkeypatch.setattr(experiment, "train_network", counting)
    over = {"model.hidden_units": [8, 16, 24], "model.dropout": [0.1, 0.3, 0.5]}
    settings = {**SETTINGS, "train.epochs": 3}
    out = tmp_path / "s"
    alloyk.tune(data=plates, arch="fnn", over=over, out=out, set=settings, folds=2,
                search="hyperband")  # fmt: skip
    continued = [t for t in TrialRecords(out) if "tuner/trial_id" in t.values]
    assert continued
    for trial in continued:
        assert [(name, start) for run, name, start in trained if run == f"trial_{trial.name}"] == [
            ("fold_1", 1), ("fold_2", 1),
        ]  # fmt: skip
        assert trial.epochs == 2 * 3
    assert not list(out.rglob("checkpoint"))


def test_wrong_folds_are_refused(undisturbed, plates, tmp_path):
    message = r"^`folds` must not be given with pbt, whose members copy .*; choose another search$"
    with pytest.raises(OptionError, match=message):
        tuned(plates, tmp_path / "p", search="pbt")
    with pytest.raises(AlloykError, match=r"holds another search: --folds was 3, got null"):
        tuned(plates, undisturbed, folds=None)
    with pytest.raises(AlloykError, match=r"folds must be >= 2, got 1"):
        tuned(plates, tmp_path / "one", folds=1)
    with pytest.raises(DataError, match="fold"):
        tuned(plates, tmp_path / "many", folds=20)
    assert not (tmp_path / "many").exists()


def test_checkpoints_go_once_their_results_are_recorded(tmp_path):
    """A trial that is killed before its record is written has its checkpoint."""
    records = TrialRecords(tmp_path)
    trials = [records.begin(values) for values in ({}, {}, {}, {"tuner/epochs": 3})]
    for trial in trials:
        for name in ("checkpoint", "fold_2/checkpoint"):
            (records.folder(trial) / name).mkdir(parents=True)
    records.end(trials[0], 0.5)
    records.end(trials[1], None, error="diverged")
    records.end(trials[3], 0.5)  # of Hyperband, which may be continued
    experiment._remove_checkpoints(records, trials[2])
    left = sorted({path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("checkpoint")})
    assert left == ["trial_0002", "trial_0003"]
