"""Noise statistics, wedge curves, and the controls that rest on them."""

import json

import numpy as np
import pandas as pd
import pytest

from alloyk.errors import AlloykError
from alloyk.evaluation.baselines import baseline_metrics
from alloyk.evaluation.baselines.noise_statistics import noise_features
from alloyk.preprocessing.for_dataset import preprocessing_for
from alloyk.runs.folder import RunFolder
from alloyk.runs.predictions import read_predictions, write_predictions
from alloyk.simulator.dataset.simulation import simulate_dataset
from alloyk.simulator.settings.presets import preset_parameters

pytestmark = pytest.mark.usefixtures("unrendered")


@pytest.mark.parametrize("sd", [0.02, 1.0, 40.0])
def test_noise_is_measured_whatever_the_level_and_slope(sd):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:160, :160]
    surface = 500 + 3.0 * x - 2.0 * y + 0.01 * x * y
    found = noise_features(np.stack([surface + sd * rng.standard_normal((160, 160))]))
    assert found.shape == (1, 80)
    np.testing.assert_allclose(found, np.log(sd), atol=0.4)  # 400 pixels in a block
    assert found.mean() == pytest.approx(np.log(sd), abs=0.03)


def test_noise_is_measured_in_its_own_block():
    rng = np.random.default_rng(1)
    image = 0.1 * rng.standard_normal((1, 64, 64))
    image[0, 8:16, 40:48] *= 10
    blocks = noise_features(image)[0, :64].reshape(8, 8)
    assert np.unravel_index(blocks.argmax(), blocks.shape) == (1, 5)
    assert blocks[1, 5] - np.median(blocks) == pytest.approx(np.log(10), abs=0.5)


def test_a_step_through_a_block_changes_its_noise_little():
    rng = np.random.default_rng(2)
    image = rng.standard_normal((2, 96, 96))
    image[1] = image[0]
    image[1, 54:] += 1000.0
    plain, stepped = noise_features(image)[:, :64]
    assert np.abs(plain - stepped).max() < 0.7  # its logarithm would be 6 with the step itself


def test_images_without_noise_or_too_small():
    assert np.isfinite(noise_features(np.zeros((1, 24, 24)))).all()
    with pytest.raises(ValueError, match=r"24 pixels or more.*got 24x20"):
        noise_features(np.zeros((1, 24, 20)))


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Both controls on a small simulated set: the folder they wrote to, and the data set."""
    from alloyk.config import resolve_config
    from alloyk.data.source import open_dataset
    from alloyk.evaluation.baselines.fit import fit_baselines

    folder = tmp_path_factory.mktemp("controls")
    simulate_dataset(
        folder / "set", preset="alloys5", alloys=("1050", "2017"), images=150, image_size=48
    )
    settings = {
        "data": {"path": str(folder / "set")},
        "preprocess": {"image_size": 48, "equalize": True},
    }
    config = resolve_config(None, settings)
    dataset = open_dataset(config.data_settings())
    table = dataset.split("test")
    preprocessing = preprocessing_for(dataset, **config.preprocessing_settings())
    out = RunFolder(folder)
    fit_baselines(["noise", "classical"], preprocessing, dataset, dataset, table, out, "test")
    return folder, config, dataset


def test_controls_judge_every_image_and_classical_is_nearly_perfect_on_two_alloys(judged):
    folder, _, dataset = judged
    run = read_predictions(folder / "control_classical.csv")
    found = baseline_metrics(RunFolder(folder), "test", run, resamples=50)
    assert list(found) == ["noise", "classical"]
    assert found["classical"]["accuracy"] > 0.95
    low, high = found["noise"]["interval"]
    assert low < found["noise"]["accuracy"] < high
    assert list(run.table["path"]) == list(dataset.split("test")["path"])


def test_a_control_of_other_images_is_passed_over(judged, tmp_path):
    folder, *_ = judged
    run = read_predictions(folder / "control_noise.csv")
    (tmp_path / "control_noise.csv").write_bytes((folder / "control_noise.csv").read_bytes())
    assert list(baseline_metrics(RunFolder(tmp_path), "test", run, resamples=20)) == ["noise"]
    assert (
        baseline_metrics(RunFolder(tmp_path), "test", run.select(np.arange(3)), resamples=20) == {}
    )


def test_the_full_layout_has_no_wedge_curve(tmp_path):
    from alloyk.config import resolve_config
    from alloyk.data.source import open_dataset
    from alloyk.evaluation.baselines.fit import fit_baselines

    simulate_dataset(
        tmp_path / "full", preset="easy", images=60, image_size=32,
        overrides={"layout.name": "full"},
    )  # fmt: skip
    config = resolve_config(None, {"data": {"path": str(tmp_path / "full")},
                                   "preprocess": {"image_size": 16}})  # fmt: skip
    dataset = open_dataset(config.data_settings())
    preprocessing = preprocessing_for(dataset, **config.preprocessing_settings())
    rest = (preprocessing, dataset, dataset, dataset.split("test"), RunFolder(tmp_path), "test")
    with pytest.raises(AlloykError, match=r"classical baseline needs a plate's edge.*step layout"):
        fit_baselines(["classical"], *rest)
    with pytest.raises(
        AlloykError, match=r"24 pixels or more.*got 16 in preprocess.image_size of the run"
    ):
        fit_baselines(["noise"], *rest)


@pytest.fixture
def run(tmp_path):
    """Predictions of six images by nobody, with a ceiling in the facts."""
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(60)], "label": ["1050", "2017"] * 30})
    probabilities = np.where(np.arange(60)[:, None] % 2 == [0, 1], 0.9, 0.1)
    probabilities[:6] = probabilities[:6, ::-1]
    write_predictions(tmp_path / "predictions.csv", table, probabilities, ["1050", "2017"])
    ceiling = {
        "accuracy": 0.953, "error": 0.002, "classes": ["1050", "2017"],
        "recall": {"1050": 0.95, "2017": 0.956}, "recall_error": {"1050": 0.003, "2017": 0.003},
        "notes": ["A note."],
    }  # fmt: skip
    facts = {"simulated": True, "ceiling": ceiling}
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    return tmp_path, table


def test_evaluation_keeps_the_ceiling_beside_the_accuracy(run):
    from alloyk.evaluation import evaluate_run

    folder, table = run
    metrics = evaluate_run(folder, resamples=50)
    assert metrics["ceiling"]["accuracy"] == 0.953
    assert json.loads((folder / "metrics.json").read_text())["ceiling"] == metrics["ceiling"]
    report = (folder / "report.txt").read_text()
    assert "reference ceiling     0.9530  ± 0.0020" in report
    assert "A note." in report
    assert "above the ceiling" not in report
    assert (folder / "figures" / "ceiling.png").exists()
    assert metrics["controls"] == {}

    write_predictions(
        folder / "control_noise.csv", table, np.tile([0.7, 0.3], (60, 1)), ["1050", "2017"]
    )
    metrics = evaluate_run(folder, resamples=50)
    assert metrics["controls"]["noise"]["accuracy"] == 0.5
    assert "noise baseline        0.5000" in (folder / "report.txt").read_text()


def test_an_accuracy_above_the_ceiling_is_printed_and_questioned(run):
    from alloyk.evaluation import evaluate_run

    folder, _ = run
    facts = json.loads((folder / "facts.json").read_text())
    facts["ceiling"]["accuracy"] = 0.6
    (folder / "facts.json").write_text(json.dumps(facts))
    metrics = evaluate_run(folder, resamples=50)
    assert metrics["accuracy"] == 0.9
    report = (folder / "report.txt").read_text()
    assert "accuracy              0.9000" in report
    assert "The accuracy is above the ceiling" in report


def test_without_ceiling_and_controls_there_is_no_such_picture(run):
    from alloyk.evaluation import evaluate_run

    folder, _ = run
    evaluate_run(folder, resamples=20)
    (folder / "facts.json").write_text(json.dumps({"simulated": False}))
    metrics = evaluate_run(folder, resamples=20)
    assert metrics["ceiling"] is None
    assert not (folder / "figures" / "ceiling.png").exists()
    assert "reference ceiling" not in (folder / "report.txt").read_text()


def test_ceiling_of_a_data_set_is_that_of_its_recipe_and_kept(tmp_path, monkeypatch):
    from alloyk.data import load_dataset
    from alloyk.evaluation.ceiling import dataset_ceiling
    from alloyk.simulator.ceiling import reference

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = simulate_dataset(tmp_path / "set", preset="alloys5", images=60, image_size=16)
    labels = load_dataset(data).table["label"]
    found = dataset_ceiling(data, labels)
    expected = reference.reference_ceiling(preset_parameters("alloys5"), 16)
    assert found["accuracy"] == pytest.approx(expected.accuracy)
    assert found["image_size"] == 16

    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(reference, "reference_ceiling", refuse)
    assert dataset_ceiling(data, labels) == found


def test_a_class_of_its_own_leaves_a_data_set_without_a_ceiling(tmp_path, caplog):
    from alloyk.data import load_dataset
    from alloyk.evaluation.ceiling import dataset_ceiling

    data = simulate_dataset(tmp_path / "set", preset="easy", images=40, image_size=16)
    (data / "manifest.csv").unlink()
    (data / "1050").rename(data / "steel")
    assert dataset_ceiling(data, load_dataset(data).table["label"]) is None
    assert "no reference ceiling" in caplog.text
