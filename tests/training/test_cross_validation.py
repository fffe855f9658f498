"""Cross-validation: what is put together, what is left alone, what is refused."""

import csv
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import metrics as sk

from alloyk.cli import main
from alloyk.config import resolve_config, write_config
from alloyk.data.source import open_dataset
from alloyk.errors import AlloykError
from alloyk.evaluation import evaluate_run
from alloyk.runs.history import read_history
from alloyk.runs.predictions import read_predictions, write_predictions
from alloyk.runs.split_record import write_split_record
from alloyk.training import cross_validation
from alloyk.training.cross_validation import cross_validate

pytestmark = pytest.mark.usefixtures("uncollected", "unrendered")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """72 images of 36 plates, two alloys, two thicknesses."""
    root = tmp_path_factory.mktemp("data")
    plate = np.repeat(np.arange(36), 2)
    table = pd.DataFrame(
        {
            "path": [f"{i:02}.png" for i in range(72)],
            "label": np.where(plate % 2, "1050", "2017"),
            "plate_id": [f"P{p}" for p in plate],
            "thickness_mm": np.where(plate % 4 < 2, 1.0, 2.0),
        }
    )
    rng = np.random.default_rng(0)
    for path, label in zip(table["path"], table["label"], strict=True):
        bright = 90 if label == "1050" else 160
        pixels = rng.normal(bright, 30, (12, 12)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / path)
    table.to_csv(root / "manifest.csv", index=False)
    return root


def configuration(data, **more):
    return resolve_config(
        None,
        {
            "data": {"path": str(data)},
            "model": {"arch": "fnn", "depth": 1, "hidden_units": 4},
            "preprocess": {"image_size": 8, "repair": False},
            "train": {"epochs": 2},
            **more,
        },
    )


@contextmanager
def training_replaced():
    """Predictions without training; yields the names of the runs that were asked for."""
    asked = []

    def fake(config, run, *, resume=False, progress=None):
        asked.append((run.name, resume))
        dataset = open_dataset(config.data_settings())
        run.mkdir(exist_ok=True)
        write_config(config, run / "config.yaml")
        rng = np.random.default_rng(len(run.name) + int(run.name[-1]))
        for split, name in (("val", "predictions_val.csv"), ("test", "predictions.csv")):
            table = dataset.split(split)
            logits = rng.normal(size=(len(table), 2))
            logits[np.arange(len(table)), dataset.labels(split)] += 1
            thickness = {
                "thickness_mm": table["thickness_mm"].astype(float) + rng.normal(0, 0.1, len(table))
            }
            write_predictions(
                run / name, table, np.exp(logits), dataset.classes, estimates=thickness
            )
        (run / "history.csv").write_text("epoch,loss,val_loss\n1,0.9,0.8\n2,0.5,0.6\n")
        facts = {"simulated": False, "grouped_by": dataset.grouped_by, "notes": list(dataset.notes)}
        (run / "facts.json").write_text(json.dumps(facts))
        (run / "metrics.json").write_text("{}")
        write_split_record(run / "split.csv", dataset, {})
        return run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_validation, "run_training", fake)
        yield asked


@pytest.fixture
def trained():
    with training_replaced() as asked:
        yield asked


@pytest.fixture(scope="module")
def three_folds(data, tmp_path_factory):
    """A cross-validation of three folds, and the names of its runs."""
    with training_replaced() as asked:
        out = tmp_path_factory.mktemp("three") / "cv"
        cross_validate(configuration(data), out, folds=3)
    return out, [name for name, _ in asked]


def test_every_image_is_in_the_predictions_once_from_its_fold(three_folds):
    out, names = three_folds
    together = read_predictions(out / "predictions.csv")
    assert sorted(together.table["path"]) == [f"{i:02}.png" for i in range(72)]
    assert set(together.table["fold"]) == {"fold_1", "fold_2", "fold_3"}
    for fold in ("fold_1", "fold_2", "fold_3"):
        own = read_predictions(out / fold / "predictions.csv")
        rows = together.select((together.table["fold"] == fold).to_numpy())
        assert list(rows.table["path"]) == list(own.table["path"])
        np.testing.assert_allclose(rows.probabilities, own.probabilities, rtol=1e-14)
        np.testing.assert_array_equal(rows.y_pred, own.y_pred)
        np.testing.assert_array_equal(
            rows.estimates["thickness_mm"].predicted, own.estimates["thickness_mm"].predicted
        )
    plates = together.table.groupby("plate_id")["fold"].nunique()
    assert (plates == 1).all()
    assert names == ["fold_1", "fold_2", "fold_3"]


def test_figures_are_of_all_images_and_the_spread_of_each_fold(three_folds):
    out, _ = three_folds
    metrics = json.loads((out / "metrics.json").read_text())
    table = pd.read_csv(out / "predictions.csv", dtype={"label": str, "predicted": str})
    assert metrics["accuracy"] == pytest.approx((table["label"] == table["predicted"]).mean())
    assert metrics["undefined"]["train"] == "each fold has a history of its own"
    with (out / "folds.csv").open(newline="") as file:
        rows = {row["fold"]: row for row in csv.DictReader(file)}
    values = []
    for fold, group in table.groupby("fold"):
        accuracy = sk.accuracy_score(group["label"], group["predicted"])
        values.append(accuracy)
        assert float(rows[fold]["accuracy"]) == pytest.approx(accuracy)
        assert float(rows[fold]["log_loss"]) == pytest.approx(
            sk.log_loss(group["label"], group[["p_1050", "p_2017"]].to_numpy())
        )
        assert rows[fold]["held_out"] == f"{fold[-1]}/3"
    assert float(rows["mean"]["accuracy"]) == pytest.approx(np.mean(values))
    assert float(rows["sd"]["accuracy"]) == pytest.approx(np.std(values, ddof=1))
    report = (out / "report.txt").read_text()
    assert report.startswith("3-fold cross-validation, 72 images of 36 plates\n")
    assert f"{np.mean(values):.4f}  ± {np.std(values, ddof=1):.4f} over folds" in report
    pictures = {path.name for path in (out / "figures").iterdir()}
    assert {"folds.png", "accuracy.png", "loss.png", "roc_curve.png"} <= pictures


def test_one_changed_row_changes_the_spread(three_folds, rendered, tmp_path):
    out = shutil.copytree(three_folds[0], tmp_path / "cv")
    evaluate_run(out, resamples=20)
    before = (out / "folds.csv").read_text(), (out / "figures" / "folds.png").read_bytes()
    lines = (out / "predictions.csv").read_text().splitlines()
    path, label, predicted, *rest = lines[1].split(",")
    other = "1050" if predicted == "2017" else "2017"
    lines[1] = ",".join([path, label, other, *rest])
    (out / "predictions.csv").write_text("\n".join(lines) + "\n")
    evaluate_run(out, resamples=20)
    assert (out / "folds.csv").read_text() != before[0]
    assert (out / "figures" / "folds.png").read_bytes() != before[1]


def test_it_resumes_where_it_was_interrupted(data, trained, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="alloyk")
    fake = cross_validation.run_training

    def killed(config, run, **options):
        if run.name == "fold_2":
            run.mkdir()
            (run / "config.yaml").write_text("")
            raise KeyboardInterrupt
        return fake(config, run, **options)

    monkeypatch.setattr(cross_validation, "run_training", killed)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(configuration(data), tmp_path / "cv", folds=3)
    first = (tmp_path / "cv" / "fold_1" / "metrics.json").stat().st_mtime_ns
    assert not (tmp_path / "cv" / "predictions.csv").exists()
    monkeypatch.setattr(cross_validation, "run_training", fake)
    file = tmp_path / "cv" / "cross_validation.json"
    plan = json.loads(file.read_text())
    del plan["config"]["train"]["average_weights"]  # as a version wrote it that lacked the setting
    file.write_text(json.dumps(plan))
    caplog.clear()
    cross_validate(configuration(data), tmp_path / "cv", folds=3)
    assert trained == [("fold_1", False), ("fold_2", True), ("fold_3", False)]
    assert caplog.messages[0] == "fold_1 (1 of 3): already finished"
    assert (tmp_path / "cv" / "fold_1" / "metrics.json").stat().st_mtime_ns == first


def test_images_changed_since_a_finished_part_stop_it(data, trained, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    out = cross_validate(configuration(copy), tmp_path / "cv", leave_out="thickness_mm")
    before = (out / "predictions.csv").read_bytes()
    table = pd.read_csv(copy / "manifest.csv", dtype=str)
    shutil.copy(copy / "00.png", copy / "new.png")
    more = table.iloc[:1].assign(path="new.png")
    pd.concat([table, more]).to_csv(copy / "manifest.csv", index=False)
    with pytest.raises(AlloykError, match=r"in \S+data 1 image was added \(new\.png\); restore"):
        cross_validate(configuration(copy), out, leave_out="thickness_mm")
    assert (out / "predictions.csv").read_bytes() == before


def test_each_thickness_is_left_out_in_turn(data, trained, tmp_path):
    out = cross_validate(configuration(data), tmp_path / "cv", leave_out="thickness_mm")
    table = read_predictions(out / "predictions.csv").table
    assert table.groupby("fold")["thickness_mm"].unique().to_dict() == {
        "without_1": ["1.0"], "without_2": ["2.0"],
    }  # fmt: skip
    report = (out / "report.txt").read_text()
    assert report.startswith("each thickness_mm left out in turn, 72 images of 36 plates")
    with (out / "folds.csv").open(newline="") as file:
        assert [row["held_out"] for row in csv.DictReader(file)][:2] == [
            "thickness_mm=1.0", "thickness_mm=2.0",
        ]  # fmt: skip


def test_a_fold_is_the_run_that_train_would_make(three_folds):
    out, _ = three_folds
    config = resolve_config(out / "fold_2" / "config.yaml")
    assert config.data.fold == "2/3"
    assert set(open_dataset(config.data_settings()).split("test")["path"]) == set(
        read_predictions(out / "fold_2" / "predictions.csv").table["path"]
    )


@pytest.mark.parametrize("change", [{"folds": 4}, {"leave_out": "thickness_mm"}, {"seed": 1}])
def test_another_cross_validation_in_the_folder_is_left_alone(data, three_folds, trained, change):
    out, _ = three_folds
    config = configuration(data, seed=change.pop("seed", 0))
    with pytest.raises(AlloykError, match="holds another cross-validation, with "):
        cross_validate(config, out, **{"folds": 3, **change})
    assert not trained


def test_a_folder_with_something_else_is_left_alone(data, trained, tmp_path):
    (tmp_path / "cv").mkdir()
    (tmp_path / "cv" / "mine.txt").write_text("x")
    with pytest.raises(AlloykError, match="must be a new or empty folder"):
        cross_validate(configuration(data), tmp_path / "cv", folds=3)
    assert not trained


def test_folds_that_cannot_be_made_are_refused_before_the_first_training(data, trained, tmp_path):
    with pytest.raises(AlloykError, match="needs at least 30 groups of each class"):
        cross_validate(configuration(data), tmp_path / "cv", folds=30)
    with pytest.raises(AlloykError, match=r"data set's \(thickness_mm\), got 'voltage'"):
        cross_validate(configuration(data), tmp_path / "cv", leave_out="voltage")
    assert not trained
    assert not (tmp_path / "cv").exists()


def test_the_command_trains_and_finds_its_work_done(data, tmp_path, runner):
    command = [
        "cross-validate", "--folds", "2", "--arch", "fnn", "--data", str(data), "--out",
        str(tmp_path / "cv"), "--set", "model.hidden_units=4", "--set", "preprocess.image_size=8",
        "--set", "train.epochs=1", "--set", "preprocess.repair=false", "--set", "model.depth=1",
    ]  # fmt: skip
    result = runner.invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "2-fold cross-validation, 72 images of 36 plates" in result.stdout
    assert len(read_predictions(tmp_path / "cv" / "predictions.csv")) == 72
    for fold in ("fold_1", "fold_2"):
        assert (tmp_path / "cv" / fold / "model.keras").exists()
        assert len(read_history(tmp_path / "cv" / fold / "history.csv")["epoch"]) == 1
    result = runner.invoke(main, command)
    assert result.exit_code == 0
    assert "fold_2 (2 of 2): already finished" in result.stderr
    both = runner.invoke(main, [*command, "--leave-out", "thickness_mm"])
    assert both.exit_code == 2
    assert "--folds and --leave-out are two ways to hold images out; give one" in both.stderr


MEMORY = """
import sys
from alloyk.config import parse_overrides, resolve_config
from alloyk.training import cross_validation

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))

after, released = [], cross_validation.networks_released
class Measured:
    def __enter__(self):
        self.block = released()
        self.block.__enter__()
    def __exit__(self, *error):
        self.block.__exit__(*error)
        after.append(resident())

cross_validation.networks_released = Measured
config = resolve_config(None, parse_overrides(sys.argv[2:]))
cross_validation.cross_validate(config, sys.argv[1], folds=12)
print(after[1], after[11])
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)  # 12 training runs
def test_memory_after_twelve_folds_is_that_after_two(tmp_path):
    # 35 MB of weights, of which a fold that is not released would leave at least one copy.
    settings = [
        "data.simulate.preset=easy", "data.simulate.images=400", "data.simulate.image_size=16",
        "preprocess.image_size=128", "model.arch=fnn", "model.hidden_units=8", "train.epochs=1",
        "schedule.warmup_epochs=0", "train.batch_size=16", "optimizer.name=sgd",
    ]  # fmt: skip
    command = [sys.executable, "-c", MEMORY, tmp_path / "out", *settings]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    after_two, after_twelve = map(int, done.stdout.split()[-2:])
    assert after_twelve < 1.1 * after_two
