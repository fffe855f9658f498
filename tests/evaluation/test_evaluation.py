"""A run folder from its files: complete, consistent, whole or not at all."""

import csv
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from alloyk.data import load_dataset
from alloyk.errors import AlloykError
from alloyk.evaluation import evaluate_run
from alloyk.evaluation.text_report import undefined_lines
from alloyk.runs.history import read_history, training_metrics
from alloyk.runs.predictions import write_predictions
from alloyk.simulator.ceiling.reference import reference_ceiling
from alloyk.simulator.dataset.simulation import simulate_dataset
from alloyk.simulator.settings.presets import preset_parameters

pytestmark = pytest.mark.usefixtures("unrendered")

CURVES = {"accuracy.png", "loss.png"}
CLASSIFICATION = {
    "confusion_matrix.png", "confusion_matrix_normalized.png", "pr_curve.png", "roc_curve.png",
    "reliability.png", "coverage.png",
}  # fmt: skip
HISTORY = """\
epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,seconds
1,1.00,0.50,1.10,0.45,0.001,2.5
2,0.50,0.70,0.60,0.70,0.001,2.25
3,0.25,0.90,0.80,0.75,0.001,2.0
"""


def write_files(folder, seed=0, name="predictions.csv", **facts):
    rng = np.random.default_rng(seed)
    y = np.repeat(rng.integers(0, 2, 20), 3)
    logits = rng.normal(size=(60, 2))
    logits[np.arange(60), y] += 1
    table = pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(60)],
            "label": [["1050", "2017"][i] for i in y],
            "plate_id": [f"{i // 3:03d}" for i in range(60)],
        }
    )
    folder.mkdir(exist_ok=True)
    write_predictions(folder / name, table, np.exp(logits), ["1050", "2017"])
    if facts:
        (folder / "facts.json").write_text(json.dumps(facts))


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    write_files(folder, grouped_by="plate_id", simulated=True, parameters=4_049_571)
    (folder / "history.csv").write_text(HISTORY)
    return folder


def evaluate(run, **kw):
    return evaluate_run(run, resamples=50, **kw)


def written(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes()
            for p in folder.rglob("*") if p.is_file()}  # fmt: skip


def change_row(path, row, **values):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[row].update(values)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_a_run_folder_is_complete_and_named_as_promised(run):
    metrics = evaluate(run)
    assert {p.name for p in (run / "figures").iterdir()} == CURVES | CLASSIFICATION
    assert json.loads((run / "metrics.json").read_text()) == metrics
    promised = (
        "n classes accuracy balanced_accuracy log_loss confusion_matrix per_class macro micro "
        "train confidence_intervals"
    )
    assert set(promised.split()) <= set(metrics)
    names = {"precision", "recall", "specificity", "f1", "average_precision", "roc_auc", "support"}
    assert set(metrics["per_class"]) == {"1050", "2017"}
    for part in (*metrics["per_class"].values(), metrics["macro"], metrics["micro"]):
        assert set(part) == names
    assert metrics["train"] == {"final_loss": 0.25, "final_val_loss": 0.8, "best_epoch": 2,
                                "seconds": 6.75, "parameters": 4_049_571}  # fmt: skip


def test_the_report_says_what_the_figures_rest_on(run):
    metrics = evaluate(run)
    report = (run / "report.txt").read_text()
    assert "test split, 60 images of 20 plates, simulated" in report
    assert "Split grouped by plate_id: no plate_id is in two splits." in report
    low, high = metrics["confidence_intervals"]["accuracy"]
    assert f"{metrics['accuracy']:.4f}  [{low:.4f}, {high:.4f}]" in report
    row = re.search(r"Al 1050 +(\S+) +(\S+) +(\S+) +(\d+)", report).groups()
    shown = metrics["per_class"]["1050"]
    figures = [f"{shown[name]:.4f}" for name in ("precision", "recall", "f1")]
    assert row == (*figures, str(shown["support"]))


def test_evaluating_again_changes_no_byte(rendered, run):
    evaluate(run)
    first = written(run)
    evaluate(run)
    assert written(run) == first


@pytest.mark.parametrize("column", ["predicted", "label"])
def test_one_changed_row_changes_all_that_rests_on_it(rendered, run, column):
    before, metrics_before = evaluate(run), written(run)
    with (run / "predictions.csv").open(newline="") as file:
        now = next(csv.DictReader(file))[column]
    change_row(run / "predictions.csv", 0, **{column: "2017" if now == "1050" else "1050"})
    after, metrics_after = evaluate(run), written(run)
    changed = {name for name in metrics_after if metrics_after[name] != metrics_before[name]}
    decisions = {
        "figures/confusion_matrix.png", "figures/confusion_matrix_normalized.png",
        "figures/reliability.png", "figures/coverage.png",
    }  # fmt: skip
    curves = {"figures/pr_curve.png", "figures/roc_curve.png"} if column == "label" else set()
    assert changed == {"predictions.csv", "metrics.json", "report.txt"} | decisions | curves
    assert abs(after["accuracy"] - before["accuracy"]) == pytest.approx(1 / 60)
    assert after["confidence_intervals"]["accuracy"] != before["confidence_intervals"]["accuracy"]
    assert (after["log_loss"] == before["log_loss"]) == (column == "predicted")


def test_a_changed_probability_changes_curves_and_loss_but_no_decision(rendered, run):
    before, files = evaluate(run), written(run)
    change_row(run / "predictions.csv", 0, p_1050="0.001", p_2017="0.999")
    after = evaluate(run)
    changed = {name for name, content in written(run).items() if content != files[name]}
    assert {"figures/pr_curve.png", "figures/roc_curve.png", "metrics.json"} <= changed
    assert "figures/confusion_matrix.png" not in changed
    assert after["accuracy"] == before["accuracy"]
    assert after["log_loss"] != before["log_loss"]


def test_curves_rest_on_the_history_alone(rendered, run):
    evaluate(run)
    files = written(run)
    (run / "history.csv").write_text(HISTORY.replace("0.80", "0.90"))
    evaluate(run)
    changed = {name for name, content in written(run).items() if content != files[name]}
    assert changed == {"history.csv", "metrics.json", "figures/loss.png"}


def test_a_run_without_history_has_no_curves_left_from_before(run):
    evaluate(run)
    (run / "history.csv").unlink()
    metrics = evaluate(run)
    assert metrics["train"] is None
    assert metrics["undefined"]["train"] == "run has no history.csv"
    assert {p.name for p in (run / "figures").iterdir()} == CLASSIFICATION


def test_pictures_of_others_stay(run):
    (run / "figures").mkdir()
    (run / "figures" / "gradcam.png").write_bytes(b"x")
    evaluate(run)
    assert (run / "figures" / "gradcam.png").read_bytes() == b"x"


def test_a_broken_file_leaves_the_old_results(run):
    evaluate(run)
    before = written(run)
    change_row(run / "predictions.csv", 4, p_1050="nan")
    with pytest.raises(AlloykError, match=r"predictions\.csv: line 6, column p_1050"):
        evaluate(run)
    del before["predictions.csv"]
    after = written(run)
    del after["predictions.csv"]
    assert after == before


def test_another_split_does_not_replace_the_test_figures(run):
    evaluate(run)
    test_figures = (run / "metrics.json").read_bytes()
    write_files(run, seed=5, name="predictions_val.csv")
    metrics = evaluate(run, split="val")
    assert metrics["split"] == "val"
    assert (run / "metrics.json").read_bytes() == test_figures
    assert json.loads((run / "evaluation_val" / "metrics.json").read_text()) == metrics
    assert (run / "evaluation_val" / "report.txt").read_text().startswith("val split")


def test_predictions_in_the_output_folder_go_first(run, tmp_path):
    out = tmp_path / "other"
    write_files(out, seed=7)
    assert evaluate(run, out=out)["accuracy"] != evaluate(run)["accuracy"]
    assert (out / "figures" / "loss.png").exists()


@pytest.mark.parametrize(
    ("grouped_by", "sentence"),
    [
        (None, "Split image by image: images of one plate may be in training and test"),
        ("folders", "Split as given by the data set's folders."),
        ("unknown", "What the split was grouped by is not known."),
    ],
)
def test_the_report_says_how_the_split_was_made(tmp_path, grouped_by, sentence):
    write_files(tmp_path / "run", grouped_by=grouped_by, simulated=False)
    evaluate(tmp_path / "run")
    report = (tmp_path / "run" / "report.txt").read_text()
    assert sentence in report
    assert "simulated" not in report


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(AlloykError, match=r"cannot read predictions from .*nowhere"):
        evaluate(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_the_best_epoch_is_the_one_that_training_kept(run):
    (run / "config.yaml").write_text("train: {monitor: val_accuracy}")
    assert evaluate(run)["train"]["best_epoch"] == 3


@pytest.mark.parametrize(("monitor", "best"), [("val_loss", 2), ("val_accuracy", 3)])
def test_best_epochs(run, monitor, best):
    history = read_history(run / "history.csv")
    assert training_metrics(history, monitor=monitor)["best_epoch"] == best


def test_of_equal_epochs_the_first_is_best(run):
    history = read_history(run / "history.csv")
    history["val_loss"][:] = 0.5
    assert training_metrics(history)["best_epoch"] == 1


def test_training_without_validation_has_a_best_epoch_by_its_own_loss(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,loss,val_loss\n1,0.3,\n2,0.2,\n3,0.4,\n")
    metrics = training_metrics(read_history(path))
    assert (metrics["best_epoch"], metrics["final_val_loss"], metrics["seconds"]) == (2, None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch,loss\n", "must have one epoch or more"),
        ("epoch,loss\n1,0.5\n2,high\n", "line 3, column loss must be a number, got 'high'"),
        ("epoch,val_loss\n1,0.5\n", "must have a column loss with a number in every line"),
        ("epoch,loss\n1\n", "must have a column loss with a number in every line"),
    ],
)
def test_a_wrong_history_is_refused(tmp_path, text, message):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(AlloykError, match=message):
        read_history(tmp_path / "history.csv")


def write_conditions(folder, images=None, seed=0):
    """Predictions with a thickness and a validation split; the files of `images` exist."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    for name, n in (("predictions.csv", 90), ("predictions_val.csv", 60)):
        y = np.repeat(rng.integers(0, 2, n // 3), 3)
        logits = 3 * rng.normal(size=(n, 2))  # three times too sure
        logits[np.arange(n), y] += 3
        table = pd.DataFrame(
            {
                "path": [f"{i}.png" for i in range(n)],
                "label": [["1050", "2017"][i] for i in y],
                "plate_id": [f"{name}{i // 3}" for i in range(n)],
                "thickness_mm": np.repeat(rng.choice([1.0, 2.0, 10.0], n // 3), 3),
            }
        )
        folder.mkdir(exist_ok=True)
        write_predictions(folder / name, table, np.exp(logits), ["1050", "2017"])
    facts = {"grouped_by": "plate_id", "simulated": False}
    if images:
        images.mkdir()
        for i in range(90):
            pixels = rng.integers(0, 60_000, (20, 24)).astype(np.uint16)
            Image.fromarray(pixels).save(images / f"{i}.png")
        facts["data_root"] = str(images)
    (folder / "facts.json").write_text(json.dumps(facts))


def test_the_breakdown_file_equals_pandas(tmp_path):
    write_conditions(tmp_path / "run")
    evaluate(tmp_path / "run")
    found = pd.read_csv(tmp_path / "run" / "breakdown.csv", dtype={"value": str})
    table = pd.read_csv(tmp_path / "run" / "predictions.csv", dtype=str)
    table["right"] = table["label"] == table["predicted"]
    by_hand = table.groupby("thickness_mm")["right"].agg(["size", "mean"])
    alone = found[found["by"] == "thickness_mm"].set_index("value")
    assert list(alone.index) == ["1.0", "2.0", "10.0"]
    for value, row in alone.iterrows():
        assert row["images"] == by_hand.loc[value, "size"]
        assert row["accuracy"] == pytest.approx(by_hand.loc[value, "mean"], abs=1e-6)
        assert row["low"] < row["accuracy"] < row["high"]
    both = found[found["by"] == "label × thickness_mm"].set_index("value")
    expected = table.groupby(["label", "thickness_mm"])["right"].mean()
    assert len(both) == len(expected)
    for (label, value), share in expected.items():
        assert both.loc[f"{label} × {value}", "accuracy"] == pytest.approx(share, abs=1e-6)


def test_calibration_plates_and_thresholds_are_in_the_metrics(tmp_path):
    write_conditions(tmp_path / "run")
    metrics = evaluate(tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "predictions.csv", dtype={"label": str})
    mean = table.groupby("plate_id").agg({"p_1050": "mean", "label": "first"})
    right = (mean["p_1050"] < 0.5) == (mean["label"] == "2017")
    assert metrics["plates"]["n"] == 30
    assert metrics["plates"]["accuracy"] == pytest.approx(right.mean())
    low, high = metrics["plates"]["interval"]
    assert low < metrics["plates"]["accuracy"] < high
    scaling = metrics["calibration"]["temperature_scaling"]
    assert scaling["temperature"] > 1
    assert scaling["log_loss"] < metrics["log_loss"]
    assert [row["chosen_on"] for row in metrics["abstention"]] == ["validation"] * 3
    assert [row["threshold"] for row in metrics["abstention"]] == [None] * 3
    report = (tmp_path / "run" / "report.txt").read_text()
    lines = report.splitlines()
    begin = lines.index("No confidence threshold is shown to keep the error rate at")
    assert lines[begin + 1 : begin + 4] == [
        f"  {rate} %: needs {needed} plates without an error on validation, got 20."
        for rate, needed in ((5, 59), (2, 149), (1, 299))
    ]
    assert f"accuracy per plate    {metrics['plates']['accuracy']:.4f}" in report
    assert (
        f"After temperature scaling ({scaling['temperature']:.3f}, fitted on validation)" in report
    )


def test_the_report_says_how_little_an_abstention_rests_on(run):
    """Validation of 120 plates without an error; on the split one plate is decided."""
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(120)], "label": "1050"})
    table["plate_id"] = [f"v{i}" for i in range(120)]
    write_predictions(
        run / "predictions_val.csv", table, np.tile([0.9999, 0.0001], (120, 1)), ["1050", "2017"]
    )
    for row in range(60):
        first, p = row < 2, 0.9999 if row < 2 else 0.6
        change_row(run / "predictions.csv", row, plate_id=str(row // 2), p_1050=p,
                   p_2017=round(1 - p, 4), predicted="1050",
                   **({"label": "1050"} if first else {}))  # fmt: skip
    evaluate(run)
    report = (run / "report.txt").read_text()
    assert (
        "For an error rate of 5 %: abstain below a confidence of 0.9999 (chosen on validation, "
        "where at most 2.47 % are wrong with 95 % confidence); that classifies 3.3 % of the "
        "images, of 1 plate, 0.00 % [0.00, 97.50] of them wrong."
    ) in report
    assert "2 %: needs 149 plates without an error on validation, got 120" in report


def test_one_changed_row_changes_the_breakdown_too(rendered, tmp_path):
    write_conditions(tmp_path / "run", tmp_path / "images")
    evaluate(tmp_path / "run")
    before = written(tmp_path / "run")
    with (tmp_path / "run" / "predictions.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    other = "2017" if row["predicted"] == "1050" else "1050"
    change_row(tmp_path / "run" / "predictions.csv", 0, predicted=other)
    evaluate(tmp_path / "run")
    after = written(tmp_path / "run")
    same = {name for name in after if after[name] == before[name]}
    assert same == {
        "predictions_val.csv", "facts.json",
        "figures/pr_curve.png", "figures/roc_curve.png",  # of probabilities
    } | ({"figures/mistakes.png"} & same)  # fmt: skip


def test_the_most_confident_mistakes_are_shown_as_long_as_the_images_are_there(tmp_path):
    write_conditions(tmp_path / "run", tmp_path / "images")
    metrics = evaluate(tmp_path / "run")
    sheet = tmp_path / "run" / "figures" / "mistakes.png"
    assert sheet.exists()
    assert "figures.mistakes" not in metrics["undefined"]
    table = pd.read_csv(
        tmp_path / "run" / "predictions.csv", dtype={"label": str, "predicted": str}
    )
    wrong = table[table["label"] != table["predicted"]]
    surest = wrong.loc[wrong[["p_1050", "p_2017"]].max(axis=1).idxmax(), "path"]
    (tmp_path / "images" / surest).unlink()
    metrics = evaluate(tmp_path / "run")
    assert not sheet.exists()
    gone = tmp_path / "images" / surest
    assert metrics["undefined"]["figures.mistakes"] == f"the image {gone} is missing"
    assert str(gone) in (tmp_path / "run" / "report.txt").read_text()


def test_why_there_is_no_sheet_of_mistakes(run):
    metrics = evaluate(run)
    assert metrics["undefined"]["figures.mistakes"] == "the folder of the images is not known"
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for i, row in enumerate(rows):
        change_row(run / "predictions.csv", i, predicted=row["label"])
    assert evaluate(run)["undefined"]["figures.mistakes"] == "no image was misclassified"


def test_an_evaluation_elsewhere_takes_the_facts_beside_it(run, tmp_path):
    write_files(tmp_path / "out", grouped_by="folders", simulated=False)
    assert evaluate(run, out=tmp_path / "out")["grouped_by"] == "folders"
    assert evaluate(run)["grouped_by"] == "plate_id"


def test_a_validation_split_of_other_classes_is_refused(tmp_path):
    write_conditions(tmp_path / "run")
    text = (tmp_path / "run" / "predictions_val.csv").read_text()
    (tmp_path / "run" / "predictions_val.csv").write_text(text.replace("2017", "5083"))
    with pytest.raises(
        AlloykError,
        match="must have the classes of the test predictions, 1050, 2017, got 1050, 5083",
    ):
        evaluate(tmp_path / "run")


def test_many_classes_without_images_share_a_line_each_metric(tmp_path):
    """200 classes, of which the split has two: 563 lines before."""
    classes = [f"c{number}" for number in range(200)]
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(40)], "label": ["c0", "c1"] * 20})
    probabilities = np.full((40, 200), 1e-4)
    probabilities[np.arange(40), np.arange(40) % 2] = 1
    (tmp_path / "run").mkdir()
    write_predictions(tmp_path / "run" / "predictions.csv", table, probabilities, classes)
    metrics = evaluate(tmp_path / "run")
    report = (tmp_path / "run" / "report.txt").read_text()
    lines = [line for line in report.splitlines() if line.startswith("Undefined")]
    assert len(metrics["undefined"]) > 500
    assert len(lines) < 20
    assert (
        "Undefined: per_class.*.recall of 198 classes (c2, c3, c4 and 195 more): the split has no "
        "image of the class"
    ) in lines


def test_a_single_undefined_metric_keeps_its_class():
    why = "no image was predicted as A.b"
    assert undefined_lines({"per_class.A.b.precision": why, "train": "no history"}) == [
        f"per_class.A.b.precision: {why}",
        "train: no history",
    ]


@pytest.mark.parametrize(
    ("name", "why", "line"),
    [
        ("regression.t.per_class.{}", "no image with a true value",
         "regression.t.per_class.* of 2 classes (AlMg1.5, AlMg2.5): no image with a true value"),
        ("confidence_intervals.per_class.{}.recall", "too few plates",
         "confidence_intervals.per_class.*.recall of 2 classes (AlMg1.5, AlMg2.5): too few plates"),
    ],
)  # fmt: skip
def test_a_class_name_may_have_dots(name, why, line):
    names = {name.format(label): why for label in ("AlMg1.5", "AlMg2.5")}
    assert undefined_lines(names) == [line]


def test_the_ceiling_is_computed_by_evaluation_and_kept_when_the_images_are_gone(tmp_path):
    data = simulate_dataset(tmp_path / "set", preset="easy", images=60, image_size=16)
    table = load_dataset(data).split("test")
    classes = ["1050", "2017"]
    (tmp_path / "run").mkdir()
    probabilities = np.where((table["label"] == "1050").to_numpy()[:, None] == [1, 0], 0.9, 0.1)
    write_predictions(tmp_path / "run" / "predictions.csv", table, probabilities, classes)
    facts = {"simulated": True, "data_root": str(data)}
    (tmp_path / "run" / "facts.json").write_text(json.dumps(facts))
    found = evaluate(tmp_path / "run")["ceiling"]
    assert found["accuracy"] == pytest.approx(
        reference_ceiling(preset_parameters("easy"), 16).accuracy, abs=1e-3
    )
    shutil.rmtree(data)
    assert evaluate(tmp_path / "run")["ceiling"] == found
    assert json.loads((tmp_path / "run" / "facts.json").read_text()) == facts


def test_a_ceiling_in_the_facts_of_an_earlier_version_is_taken(run):
    recall = {"1050": 0.9, "2017": 0.9}
    ceiling = {"accuracy": 0.9, "error": 0.001, "recall": recall, "recall_error": recall}
    write_files(run, ceiling=ceiling)
    assert evaluate(run)["ceiling"] == ceiling
