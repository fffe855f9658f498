"""A vote is a run like any other: its files, its model, its errors."""

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_run import CLASSES, write_dataset, write_run

from alloyk.cli import main
from alloyk.errors import AlloykError
from alloyk.evaluation import evaluate_run
from alloyk.evaluation.split_predictions import evaluate_split
from alloyk.files import sha256
from alloyk.inference import load
from alloyk.runs.folder import RunFolder
from alloyk.runs.predictions import read_predictions, write_predictions
from alloyk.runs.split_record import read_split_record
from alloyk.voting import ensemble_runs

pytestmark = pytest.mark.usefixtures("unrendered", "untraced")


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Two untrained runs of unlike preprocessing, with predictions of both splits."""
    folder = tmp_path_factory.mktemp("members")
    data = write_dataset(folder / "data")
    runs = [
        write_run(folder / "cnn", data),
        write_run(folder / "fnn", data, arch="fnn", image_size=24),
    ]
    for number, run in enumerate(runs):
        evaluate_split(run, split="val")
        text = (run / "evaluation_val" / "predictions_val.csv").read_text()
        (run / "predictions_val.csv").write_text(text)
        facts = {"parameters": 100 + number, "simulated": False, "data_root": str(data)}
        (run / "facts.json").write_text(json.dumps(facts))
    return runs


@pytest.fixture(scope="module")
def soft(members, tmp_path_factory):
    return ensemble_runs(members, "soft", tmp_path_factory.mktemp("out") / "soft")


def test_a_soft_vote_is_the_mean_of_its_members(members, soft):
    both = [read_predictions(run / "predictions.csv") for run in members]
    voted = read_predictions(soft / "predictions.csv")
    mean = (both[0].probabilities + both[1].probabilities) / 2
    np.testing.assert_allclose(voted.probabilities, mean, atol=1e-12)
    np.testing.assert_array_equal(voted.y_pred, mean.argmax(axis=1))
    assert list(voted.table["path"]) == list(both[0].table["path"])


def test_a_vote_has_the_files_of_a_run_but_no_history(members, soft):
    files = {path.name for path in soft.iterdir()}
    assert files == {
        "config.yaml", "ensemble.yaml", "facts.json", "figures", "metrics.json", "model.keras",
        "predictions.csv", "predictions_val.csv", "report.txt", "split.csv",
    }  # fmt: skip
    metrics = json.loads((soft / "metrics.json").read_text())
    assert metrics["train"] is None
    assert metrics["undefined"]["train"] == "soft has no history.csv"
    assert json.loads((soft / "facts.json").read_text())["parameters"] == 201
    described = yaml.safe_load((soft / "ensemble.yaml").read_text())
    assert (described["vote"], described["weights"]) == ("soft", "equal")
    assert [member["run"] for member in described["members"]] == ["cnn", "fnn"]
    assert [member["weight"] for member in described["members"]] == [0.5, 0.5]
    before = (soft / "metrics.json").read_bytes()
    evaluate_run(soft)
    assert (soft / "metrics.json").read_bytes() == before


def test_the_model_of_a_soft_vote_holds_its_members(soft):
    voted = read_predictions(soft / "predictions.csv")
    root = json.loads((soft / "facts.json").read_text())["data_root"]
    found = load(soft).predict([f"{root}/{path}" for path in voted.table["path"]])
    assert found.classes == CLASSES
    np.testing.assert_allclose(found.probabilities, voted.probabilities, atol=1e-5)


def test_a_vote_can_be_evaluated_on_images(soft, tmp_path):
    out = evaluate_split(soft, split="val", out=tmp_path / "val")
    np.testing.assert_allclose(
        read_predictions(out / "predictions_val.csv").probabilities,
        read_predictions(soft / "predictions_val.csv").probabilities,
        atol=1e-5,
    )


def test_a_hard_vote_counts_and_has_no_model(members, tmp_path):
    out = ensemble_runs(members, "hard", tmp_path / "hard")
    both = [read_predictions(run / "predictions.csv") for run in members]
    voted = read_predictions(out / "predictions.csv")
    agree = both[0].y_pred == both[1].y_pred
    assert 0 < agree.sum() < len(agree)
    np.testing.assert_array_equal(voted.y_pred[agree], both[0].y_pred[agree])
    np.testing.assert_allclose(voted.probabilities[agree].max(axis=1), 1)
    np.testing.assert_allclose(voted.probabilities[~agree].max(axis=1), 0.5)
    mean = (both[0].probabilities + both[1].probabilities)[~agree]
    rows = np.arange(len(mean))
    one, two = (mean[rows, run.y_pred[~agree]] for run in both)
    expected = np.where(one > two, both[0].y_pred[~agree], both[1].y_pred[~agree])
    np.testing.assert_array_equal(voted.y_pred[~agree], expected)
    assert not (out / "model.keras").exists()


def with_predictions(run, out, name, probabilities):
    """A copy of a run's predictions with other probabilities."""
    old = read_predictions(run / name)
    out.mkdir(exist_ok=True)
    table = old.table.drop(columns="predicted")
    write_predictions(out / name, table, probabilities, old.classes)


def test_weights_from_validation_go_into_predictions_and_model(members, tmp_path):
    y = read_predictions(members[0] / "predictions_val.csv").y_true
    better = np.full((3, 3), 0.1) + 0.7 * np.eye(3)[y]
    worse = np.full((3, 3), 0.1) + 0.7 * np.eye(3)[(y + 1) % 3]
    copies = []
    for run, p in zip(members, (better, worse), strict=True):
        copy = tmp_path / run.name
        with_predictions(run, copy, "predictions_val.csv", p)
        for name in ("predictions.csv", "model.keras", "config.yaml"):
            (copy / name).symlink_to(run / name)
        copies.append(copy)
    out = ensemble_runs(copies, "soft", tmp_path / "out", weighting="validation")
    described = yaml.safe_load((out / "ensemble.yaml").read_text())
    assert [member["weight"] for member in described["members"]] == [1.0, 0.0]
    alone = read_predictions(copies[0] / "predictions.csv")
    voted = read_predictions(out / "predictions.csv")
    np.testing.assert_allclose(voted.probabilities, alone.probabilities, atol=1e-12)


def test_without_validation_predictions_the_vote_has_none(members, tmp_path, runner):
    copies = []
    for run in members:
        copy = tmp_path / run.name
        copy.mkdir()
        (copy / "predictions.csv").symlink_to(run / "predictions.csv")
        copies.append(str(copy))
    out = tmp_path / "out"
    result = runner.invoke(main, ["ensemble", *copies, "--vote", "hard", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "is not written: " + copies[0] + "/predictions_val.csv is missing" in result.stderr
    assert "cnn: weight 0.5000" in result.stderr
    assert not (out / "predictions_val.csv").exists()
    with pytest.raises(AlloykError, match=r"cnn/predictions_val\.csv is missing; use --weights eq"):
        ensemble_runs(copies, "hard", tmp_path / "other", weighting="validation")
    with pytest.raises(AlloykError, match=r"model\.keras is missing; remove that run, or"):
        ensemble_runs(copies, "soft", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def copy_of(run, out):
    """A run whose `split.csv` and `facts.json` may be changed."""
    out.mkdir()
    for name in ("predictions.csv", "predictions_val.csv", "model.keras", "config.yaml"):
        (out / name).symlink_to(run / name)
    for name in ("split.csv", "facts.json"):
        shutil.copy(run / name, out / name)
    return out


def test_images_that_any_member_was_trained_on_are_no_test_images(members, tmp_path):
    copies = [copy_of(run, tmp_path / run.name) for run in members]
    other = write_dataset(tmp_path / "other", sizes=((24, 24),), per_class=1)
    mine = pd.read_csv(members[0] / "split.csv", dtype=str)
    validated = mine.loc[mine["split"] == "val", "path"].iloc[0]
    taught = sorted(str(p.relative_to(other)) for p in (other / "test").rglob("*.png"))
    theirs = mine.assign(split=mine["split"].mask(mine["path"] == validated, "train"))
    rows = [
        {"path": path, "label": path.split("/")[1], "split": "train",
         "sha256": sha256(other / path)} for path in taught
    ]  # fmt: skip
    # One of them under the path of an image of the first member.
    rows[0]["path"] = mine.loc[mine["split"] == "train", "path"].iloc[0]
    theirs = pd.concat([theirs[theirs["path"] != rows[0]["path"]], pd.DataFrame(rows)])
    theirs.to_csv(copies[1] / "split.csv", index=False)

    out = ensemble_runs(copies, "soft", tmp_path / "soft")
    merged = read_split_record(out / "split.csv").table
    assert merged.loc[validated, "split"] == "train"
    assert merged.loc[mine["path"], "sha256"].tolist() == mine["sha256"].tolist()
    assert (merged["split"] == "test").sum() == (mine["split"] == "test").sum()
    with pytest.raises(AlloykError, match=r"must have no image that .*soft was trained on.*: 3 of"):
        evaluate_split(out, data=other)
    evaluate_split(out)  # its own test images are as they were


def test_a_vote_keeps_the_channels_and_names_members_without_a_record(members, tmp_path):
    copies = [copy_of(run, tmp_path / run.name) for run in members]
    channels = {"column": "tube_voltage_kvp", "values": ["40", "50"], "by": "plate_id"}
    for copy in copies:
        facts = json.loads((copy / "facts.json").read_text()) | {"channels": channels}
        (copy / "facts.json").write_text(json.dumps(facts))
    (copies[1] / "split.csv").unlink()
    facts = RunFolder(ensemble_runs(copies, "hard", tmp_path / "hard")).facts
    assert facts.channels == channels
    assert facts.notes == (
        "fnn has no split.csv: which images it was trained on cannot be verified.",
    )


def test_a_folder_with_something_in_it_is_left_alone(members, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(AlloykError, match="must be a new or empty folder"):
        ensemble_runs(members, "hard", tmp_path / "out")


def test_other_test_images_are_refused(members, tmp_path):
    copy = tmp_path / "cnn"
    copy.mkdir()
    with (members[0] / "predictions.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    with (copy / "predictions.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows[:-1])
    with pytest.raises(AlloykError, match="those of cnn differ from those of fnn: cnn lacks 1"):
        ensemble_runs([members[1], copy], "hard", tmp_path / "out")
    assert not (tmp_path / "out").exists()
