"""Alloy and thickness from one network, on simulated plates of five alloys."""

import csv
import dataclasses
import io
import json
import re
import shutil
from functools import partial

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

import alloyk
from alloyk.cli import main
from alloyk.config import parse_overrides, resolve_config
from alloyk.errors import AlloykError
from alloyk.evaluation import evaluate_run
from alloyk.evaluation.split_predictions import evaluate_split
from alloyk.models.nested import nested_layers
from alloyk.runs.predictions import read_predictions, write_predictions
from alloyk.simulator.dataset.simulation import simulate_dataset
from alloyk.training.run import run_training
from alloyk.voting import ensemble_runs

pytestmark = pytest.mark.usefixtures("unrendered", "untimed")

COLUMN = "true_thickness_mm"
SETTINGS = (
    "model.arch=cnn", "model.depth=2", "preprocess.image_size=24", "preprocess.normalize=log",
    "optimizer.learning_rate=0.003", "train.batch_size=16", "schedule.warmup_epochs=1",
    "train.deterministic=true", "preprocess.repair=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def plates(tmp_path_factory):
    """Simulated 16-bit images of five alloys of 1, 2 and 5 mm, two of each plate."""
    folder = tmp_path_factory.mktemp("plates") / "five"
    simulate_dataset(folder, preset="alloys5", images=300, image_size=32, images_per_plate=2)
    return folder


def configured(data, *settings, tasks="alloy,thickness", epochs=8):
    own = (f"data.path={data}", f"model.tasks=[{tasks}]", f"train.epochs={epochs}")
    return resolve_config(None, parse_overrides([*own, *SETTINGS, *settings]))


# Fewer resamples: what they are worth is tested elsewhere.
evaluate = partial(evaluate_run, resamples=60)


def trained(config, folder, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alloyk.training.run.evaluate_run", evaluate)
        return run_training(config, folder, **options)


@pytest.fixture(scope="module")
def run(plates, tmp_path_factory):
    return trained(configured(plates), tmp_path_factory.mktemp("runs") / "five")


@pytest.mark.parametrize("weighting", ["fixed", "learned"])
def test_two_tasks_are_trained_in_mixed_precision(plates, tmp_path, weighting):
    settings = ("train.mixed_precision=true", f"multitask.weighting={weighting}")
    run = trained(configured(plates, *settings, epochs=1), tmp_path / "run")
    model = keras.models.load_model(run / "model.keras")
    assert {layer.compute_dtype for layer in nested_layers(model)} == {"float32"}


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_thickness_is_learnt_beside_five_alloys(run):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["classes"] == ["1050", "2017", "5083", "6082", "7075"]
    figures = metrics["regression"][COLUMN]
    low, _ = metrics["confidence_intervals"][f"regression.{COLUMN}.r2"]
    assert low > 0.5
    assert figures["n"] == metrics["n"] == sum(f["n"] for f in figures["per_class"].values())


def test_figures_are_those_of_scikit_learn_on_the_file(run):
    rows = rows_of((run / "predictions.csv").read_text())
    figures = json.loads((run / "metrics.json").read_text())["regression"][COLUMN]
    for label, part in [(None, figures), *figures["per_class"].items()]:
        chosen = [row for row in rows if label in (None, row["label"])]
        true = [float(row[COLUMN]) for row in chosen]
        found = [float(row[f"predicted_{COLUMN}"]) for row in chosen]
        assert part["mae"] == pytest.approx(mean_absolute_error(true, found), rel=1e-9)
        assert part["rmse"] == pytest.approx(root_mean_squared_error(true, found), rel=1e-9)
        assert part["r2"] == pytest.approx(r2_score(true, found), rel=1e-9)


def test_the_report_says_which_column_and_how_well(run):
    report = (run / "report.txt").read_text()
    assert f"The task thickness is the column {COLUMN}, not thickness_mm" in report
    figures = json.loads((run / "metrics.json").read_text())["regression"][COLUMN]
    table = report[report.index(f"{COLUMN}, estimated") :].splitlines()
    assert table[1].split() == ["MAE", "RMSE", "R²", "images"]
    assert table[2].split()[:2] == ["all", f"{figures['mae']:.4g}"]
    assert [line.split()[1] for line in table[3:8]] == list(figures["per_class"])


def test_evaluation_on_the_images_says_which_column_too(run, tmp_path):
    evaluate_split(run, split="val", out=tmp_path / "again")
    assert (
        f"The task thickness is the column {COLUMN}, not"
        in (tmp_path / "again" / "report.txt").read_text()
    )


def test_the_run_folder_holds_errors_per_epoch_and_the_picture(run):
    history = rows_of((run / "history.csv").read_text())
    assert list(history[0])[:7] == [
        "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds",
    ]  # fmt: skip
    assert list(history[0])[7:] == [f"mae_{COLUMN}", f"val_mae_{COLUMN}"]
    best = json.loads((run / "metrics.json").read_text())["train"]["best_epoch"]
    rows = rows_of((run / "predictions_val.csv").read_text())
    errors = [abs(float(r[COLUMN]) - float(r[f"predicted_{COLUMN}"])) for r in rows]
    shown = float(history[best - 1][f"val_mae_{COLUMN}"])
    assert shown == pytest.approx(np.mean(errors), rel=1e-4)
    assert (run / "figures" / f"estimated_{COLUMN}.png").is_file()
    assert json.loads((run / "facts.json").read_text())["loss_weights"] == {"alloy": 1, COLUMN: 1}


def test_one_changed_estimate_changes_its_figures_and_nothing_else(rendered, run, tmp_path):
    def evaluated():
        metrics = evaluate(run, out=tmp_path)
        return metrics, {p.name: p.read_bytes() for p in (tmp_path / "figures").iterdir()}

    lines = (run / "predictions.csv").read_text().splitlines()
    (tmp_path / "predictions.csv").write_text("\n".join(lines) + "\n")
    before, pictures = evaluated()
    assert len(pictures[f"estimated_{COLUMN}.png"]) > 10_000
    place = lines[0].split(",").index(f"predicted_{COLUMN}")
    cells = lines[1].split(",")
    cells[place] = "9.5"
    (tmp_path / "predictions.csv").write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]))
    after, pictures_after = evaluated()
    changed = {name for name in pictures if pictures[name] != pictures_after[name]}
    assert changed == {f"estimated_{COLUMN}.png"}
    assert after["regression"][COLUMN]["mae"] > before["regression"][COLUMN]["mae"]
    assert after["accuracy"] == before["accuracy"]


def test_the_saved_model_answers_in_millimetres(run, plates):
    classifier = alloyk.load(run)
    predictions = read_predictions(run / "predictions.csv")
    paths = [plates / path for path in predictions.table["path"]]
    found = classifier.predict(paths)
    assert list(found.estimates) == [COLUMN]
    np.testing.assert_allclose(
        found.estimates[COLUMN], predictions.estimates[COLUMN].predicted, atol=1e-4
    )
    np.testing.assert_allclose(found.probabilities, predictions.probabilities, atol=1e-5)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """Format → the file, and the table that the command printed."""
    folder = tmp_path_factory.mktemp("exported")
    made = {}
    for file_format, name in (("tflite", "five.tflite"), ("savedmodel", "five")):
        done = CliRunner().invoke(
            main, ["export", str(run), "--format", file_format, "--out", str(folder / name)]
        )
        assert done.exit_code == 0, done.output
        made[file_format] = folder / name, done.stdout
    return made


@pytest.mark.parametrize("file_format", ["tflite", "savedmodel"])
def test_exports_estimate_the_same_thickness(run, plates, exported, file_format):
    path, table = exported[file_format]
    predictions = read_predictions(run / "predictions.csv")
    (line,) = [line for line in table.splitlines() if line.startswith(f"max |Δ {COLUMN}|")]
    assert float(line.split("|")[2].split()[0]) < 1e-4
    (line,) = [line for line in table.splitlines() if line.startswith("predictions.csv")]
    assert f"|Δ {COLUMN}|" in line
    found = alloyk.load(path).predict([plates / p for p in predictions.table["path"]])
    np.testing.assert_allclose(
        found.estimates[COLUMN], predictions.estimates[COLUMN].predicted, atol=1e-4
    )


def test_predict_prints_estimates_as_csv_and_json(exported, plates):
    image = str(sorted((plates / "2017").iterdir())[0])
    model = str(exported["tflite"][0])
    (row,) = rows_of(CliRunner().invoke(main, ["predict", model, image]).stdout)
    assert list(row)[-2:] == [f"predicted_{COLUMN}", "unlike"]
    told = json.loads(CliRunner().invoke(main, ["predict", model, image, "--json"]).stdout)
    assert told[0]["estimates"] == {COLUMN: float(row[f"predicted_{COLUMN}"])}
    assert 0 < told[0]["estimates"][COLUMN] < 7


def test_an_export_that_estimates_otherwise_does_not_get_its_name(run, tmp_path, monkeypatch):
    from alloyk.exporting import conversion, export_run

    right = conversion.FORMATS["savedmodel"]

    def write(classifier, path, image_shape):
        name = f"estimate_{COLUMN}_dense"
        last = next(layer for layer in nested_layers(classifier) if layer.name == name)
        kernel, bias = last.get_weights()
        last.set_weights([kernel, bias + 0.005])  # in standard deviations
        right.write(classifier, path, image_shape)
        last.set_weights([kernel, bias])

    changed = dataclasses.replace(right, write=write)
    monkeypatch.setitem(conversion.FORMATS, "savedmodel", changed)
    message = rf"difference of {COLUMN} must be at most \d.*, got \d"
    with pytest.raises(AlloykError, match=message):
        export_run(run, "savedmodel", tmp_path / "saved")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights(plates, tmp_path, monkeypatch):
    """With learned weights of the tasks, which are part of what training goes on from."""
    config = configured(
        plates, "multitask.weighting=learned", "optimizer.name=rmsprop",
        "train.monitor=val_accuracy", epochs=2,
    )  # fmt: skip
    monkeypatch.setattr("alloyk.training.run.evaluate_run", lambda run: None)
    undisturbed = run_training(config, tmp_path / "undisturbed")

    def stop(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("alloyk.training.callbacks.StopOnNaN.on_epoch_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            run_training(config, tmp_path / "disturbed")
    disturbed = run_training(config, tmp_path / "disturbed", resume=True)
    for name in ("predictions.csv", "predictions_val.csv"):
        assert (disturbed / name).read_bytes() == (undisturbed / name).read_bytes()
    weights = [json.loads((r / "facts.json").read_text())["loss_weights"]
               for r in (undisturbed, disturbed)]  # fmt: skip
    assert weights[0] == weights[1]
    assert weights[0][COLUMN] != 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.tasks=[alloy,thicknes]"], "'thicknes' needs a column .* did you mean thickness"),
        (["model.tasks=[alloy,tube_voltage_kvp]"], "must vary, got 50 for every training image"),
        (
            ["model.tasks=[alloy,thickness]", "multitask.weights.thickness=-1"],
            "must be > 0, got -1",
        ),
    ],
)
def test_a_wrong_task_leaves_nothing_behind(plates, tmp_path, settings, message):
    options = [option for setting in settings for option in ("--set", setting)]
    command = ["train", "--data", str(plates), "--run", str(tmp_path / "run"), *options]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    *_plan, last = done.stderr.splitlines()
    assert last.startswith("Error: ")
    assert re.search(message, last)
    assert not (tmp_path / "run").exists()


def test_images_without_a_thickness_are_learnt_from_all_the_same(plates, tmp_path):
    manifest = rows_of((plates / "manifest.csv").read_text())
    for number, row in enumerate(manifest):
        row["gap_mm"] = "" if number % 3 == 0 else row["thickness_mm"]
    lists = plates / "partly.csv"
    with lists.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(manifest[0]))
        writer.writeheader()
        writer.writerows(manifest)
    config = configured(lists, tasks="alloy,gap_mm", epochs=1)
    run = trained(config, tmp_path / "run")
    lists.unlink()
    metrics = json.loads((run / "metrics.json").read_text())
    truths = [row["gap_mm"] for row in rows_of((run / "predictions.csv").read_text())]
    assert 0 < metrics["regression"]["gap_mm"]["n"] == sum(t != "" for t in truths) < len(truths)
    assert "Images without gap_mm: " in (run / "report.txt").read_text()


def test_a_vote_estimates_the_mean_of_its_members(run, plates, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    predictions = read_predictions(run / "predictions.csv")
    numbers = predictions.estimates[COLUMN].predicted
    for name in ("predictions.csv", "predictions_val.csv"):
        of_split = read_predictions(run / name)
        # In the file alone: the two models are one.
        shifted = {COLUMN: of_split.estimates[COLUMN].predicted + 1}
        table = of_split.table.drop(columns="predicted")
        write_predictions(
            other / name, table, of_split.probabilities, of_split.classes, estimates=shifted
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alloyk.voting.combine.evaluate_run", evaluate)
        vote = ensemble_runs([run, other], "soft", tmp_path / "vote")
    voted = read_predictions(vote / "predictions.csv").estimates[COLUMN]
    np.testing.assert_allclose(voted.predicted, numbers + 0.5, rtol=1e-12)
    np.testing.assert_array_equal(voted.true, predictions.estimates[COLUMN].true)
    paths = [plates / path for path in predictions.table["path"][:8]]
    found = alloyk.load(vote).predict(paths)
    np.testing.assert_allclose(found.estimates[COLUMN], numbers[:8], atol=1e-4)
    np.testing.assert_allclose(found.probabilities, predictions.probabilities[:8], atol=1e-5)
