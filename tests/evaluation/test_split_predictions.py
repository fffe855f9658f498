"""A run evaluated on images: on those of another data set too, and whole or not at all."""

import json
import shutil

import pytest
from PIL import Image
from tiny_run import raw_image, write_dataset, write_run

from alloyk.errors import AlloykError
from alloyk.evaluation.split_predictions import evaluate_split
from alloyk.reporting.calibration import reference_blocks
from alloyk.simulator.ceiling.reference import reference_ceiling
from alloyk.simulator.dataset.simulation import simulate_dataset
from alloyk.simulator.settings.presets import preset_parameters

pytestmark = pytest.mark.usefixtures("unrendered", "untraced")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    return write_run(folder / "cnn", write_dataset(folder / "data"))


@pytest.fixture(scope="module")
def two_alloys(tmp_path_factory):
    """Simulated images of two of the three classes that the run knows."""
    folder = tmp_path_factory.mktemp("simulated") / "two"
    return simulate_dataset(folder, preset="study", images=96, image_size=32, images_per_plate=2)


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_class_that_the_images_lack_has_no_ceiling(run, two_alloys, tmp_path):
    out = evaluate_split(run, data=two_alloys, split="all", out=tmp_path / "out")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["classes"] == ["1050", "2017", "steel"]
    expected = reference_ceiling(preset_parameters("study"), 32)
    assert metrics["ceiling"]["recall"] == pytest.approx(expected.recall)
    assert (out / "figures" / "ceiling.png").is_file()
    table = next(b for b in reference_blocks(metrics) if b.columns[0] == "class")
    assert [[str(getattr(cell, "text", cell)) for cell in row][:2] for row in table.rows] == [
        ["Al 1050", f"{expected.recall['1050']:.4f}"],
        ["Al 2017", f"{expected.recall['2017']:.4f}"],
        ["steel", "–"],
    ]


def test_the_ceiling_is_of_the_classes_among_the_images(two_alloys, caplog):
    """An ideal classifier that knows a class to be absent recognises none of it."""
    from alloyk.evaluation.ceiling import dataset_ceiling

    assert dataset_ceiling(two_alloys, ["1050"] * 5) is None
    assert "must name two or more alloys to compare, got 1050" in caplog.text


@pytest.mark.parametrize("earlier", [False, True])
def test_an_evaluation_that_fails_leaves_the_folder_as_it_was(
    run, two_alloys, tmp_path, monkeypatch, earlier
):
    out = tmp_path / "sub" / "out"
    if earlier:
        evaluate_split(run, data=two_alloys, split="all", out=out)
    before = files(tmp_path)

    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("alloyk.evaluation.evaluate.save_figures", fail)
    with pytest.raises(KeyboardInterrupt):
        evaluate_split(run, data=two_alloys, split="val", out=out)
    assert files(tmp_path) == before
    assert out.exists() == earlier


def test_evaluations_of_different_data_do_not_replace_each_other(run, two_alloys, tmp_path):
    places = [tmp_path / name for name in ("set.2024", "set.2025", "a/set.2024")]
    for place in places:
        shutil.copytree(two_alloys, place)
    evaluated = [evaluate_split(run, data=place, split="all") for place in places[:2]]
    assert [folder.name for folder in evaluated] == [
        "evaluation_set.2024_all", "evaluation_set.2025_all"
    ]  # fmt: skip
    before = files(run)
    with pytest.raises(AlloykError, match=r"set\.2024_all holds the evaluation of other images"):
        evaluate_split(run, data=places[2], split="all")
    assert files(run) == before
    assert evaluate_split(run, data=places[0] / "manifest.csv", split="all") == evaluated[0]
    for folder in evaluated:
        shutil.rmtree(folder)


@pytest.mark.parametrize("split", ["test", "all"])
def test_controls_are_fitted_on_the_run_s_data_where_it_is_now(tmp_path, monkeypatch, split):
    data = write_dataset(tmp_path / "data", per_class=1)
    run = write_run(tmp_path / "run", data)
    moved = data.rename(tmp_path / "moved")
    fitted = []
    monkeypatch.setattr(
        "alloyk.evaluation.baselines.fit.fit_baselines",
        lambda names, layers, trained_on, *_: fitted.append((trained_on.root, trained_on)),
    )
    evaluate_split(run, data=moved, split=split, baselines=["noise"])
    ((root, trained_on),) = fitted
    assert root == moved
    assert len(trained_on.split("train")) == 6


def test_controls_of_an_earlier_evaluation_stay(run, two_alloys, tmp_path):
    out = evaluate_split(run, data=two_alloys, split="all", out=tmp_path / "out")
    shutil.copy(out / "predictions_all.csv", out / "control_noise_all.csv")
    evaluate_split(run, data=two_alloys, split="all", out=out)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["controls"]["noise"]["accuracy"] == metrics["accuracy"]


def test_new_plates_of_one_class_are_judged_as_they_are(run, tmp_path):
    """Too few to be split, and nothing is said of a split."""
    for number in range(3):
        file = tmp_path / "new" / "2017" / f"plate{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(raw_image(900 + number)).save(file)
    out = evaluate_split(run, data=tmp_path / "new", split="all", out=tmp_path / "out")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["n"] == 3
    assert [metrics["per_class"][label]["support"] for label in metrics["classes"]] == [0, 3, 0]
    assert metrics["accuracy"] == metrics["per_class"]["2017"]["recall"]
    report = (out / "report.txt").read_text()
    assert "other data than the run's own: whether its plates were used in training is" in report
    assert "Split" not in report


def test_images_that_taught_are_named_when_all_are_judged(run, tmp_path):
    data = run.parent / "data"
    out = evaluate_split(run, data=data, split="all", out=tmp_path / "out")
    metrics = json.loads((out / "metrics.json").read_text())
    (note,) = [note for note in metrics["notes"] if "were used to train" in note]
    assert note.startswith("9 of the 27 images, or other images of their plates, were used")
