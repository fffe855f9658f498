"""`alloyk explain` on a run: which images, which files, what is refused, nothing half-written."""

import dataclasses
import json
import shutil
import sys

import keras
import numpy as np
import pandas as pd
import pytest
from tiny_run import CLASSES, write_dataset, write_run

from alloyk import explanation as explain
from alloyk.cli import main
from alloyk.errors import AlloykError
from alloyk.explanation import model_parts, most_and_least_confident
from alloyk.explanation.model_parts import open_classifier
from alloyk.imaging import read_image
from alloyk.inference.metadata import ModelMetadata, read_metadata, write_metadata
from alloyk.preprocessing import strips
from alloyk.reporting import write_report
from alloyk.runs.predictions import Predictions, read_predictions

pytestmark = pytest.mark.usefixtures("unrendered", "untraced")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / "data", sizes=((40, 48), (30, 60)))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "cnn", data)


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "cnn")


def test_a_large_image_is_preprocessed_in_strips_to_the_same(run, data, monkeypatch):
    """As a whole, a frame of 4096² takes 3 GB."""
    opened = open_classifier(run)
    raw = read_image(next(iter(sorted(data.rglob("*.png")))))
    whole = opened.seen(raw)
    visited = []

    def recorded(*arguments):
        visited.append(strips.is_looped())
        return loop_rows(*arguments)

    loop_rows = strips._loop_rows
    monkeypatch.setattr(strips, "_loop_rows", recorded)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 500)
    monkeypatch.setattr(model_parts, "LARGE_PIXELS", raw.size - 1)
    np.testing.assert_array_equal(opened.seen(raw), whole)
    assert visited
    assert all(visited)


def test_most_and_least_confident_of_each_class():
    confidence = np.array([0.6, 0.9, 0.7, 0.8, 0.55])
    predictions = Predictions(
        table=pd.DataFrame({"path": list("abcde")}),
        classes=("A", "B"),
        y_true=np.array([0, 0, 0, 0, 1]),
        y_pred=np.array([0, 0, 1, 0, 1]),
        probabilities=np.array(
            [
                [c, 1 - c] if a else [1 - c, c]
                for c, a in zip(confidence, (1, 1, 0, 1, 0), strict=True)
            ]
        ),
    )
    assert most_and_least_confident(predictions) == [1, 0, 4]
    assert most_and_least_confident(predictions, 2) == [1, 3, 0, 2, 4]
    assert most_and_least_confident(predictions, 9) == [1, 3, 2, 0, 4]


def test_without_images_the_most_and_least_confident_are_explained(runner, run, data):
    result = runner.invoke(main, ["explain", str(run)])
    assert result.exit_code == 0, result.output
    out = run / "explain_gradcam"
    record = json.loads((out / "explanation.json").read_text())
    predictions = read_predictions(run / "predictions.csv")
    rows = most_and_least_confident(predictions)
    assert [image["path"] for image in record["images"]] == [
        str(data / path) for path in predictions.table["path"].iloc[rows]
    ]
    for image, row in zip(record["images"], rows, strict=True):
        assert image["label"] == predictions.table["label"].iloc[row]
        assert image["predicted"] == image["explained"] == predictions.table["predicted"].iloc[row]
        assert image["probability"] == pytest.approx(predictions.confidence[row], abs=1e-5)
    pictures = {image["picture"] for image in record["images"]}
    assert {path.name for path in out.iterdir()} == pictures | {
        "explanation.json", "maps.npz", "overview.png",
    }  # fmt: skip
    with np.load(out / "maps.npz") as arrays:
        assert arrays["maps"].shape == (6, *record["cells"])
        assert arrays["seen"].shape == (6, 32, 32)
        assert 0.9 < arrays["seen"].max() <= 1
        assert list(arrays["explained"]) == [image["explained"] for image in record["images"]]
    assert f"figures: {out}" in result.stdout
    assert "Sanity check" in result.stdout
    assert record["sanity_check"]["sentence"] in result.stdout


@pytest.mark.filterwarnings("error:The structure of")
@pytest.mark.parametrize("several", [False, True])
def test_the_network_has_one_input_and_logits_however_it_was_saved(run, tmp_path, several):
    """Training saves lists of one; a network that estimates numbers too has named outputs."""
    saved = keras.saving.load_model(run / "model.keras")
    preprocessing, network = saved.layers
    outputs = {"logits": network.output, "thickness_mm": network.output[:, :1]}
    network = keras.Model(network.inputs, outputs if several else network.outputs)
    saved = keras.Sequential([keras.Input((None, None, None)), preprocessing, network])
    saved.save(tmp_path / "model.keras")
    write_metadata(tmp_path / "model.keras", ModelMetadata(CLASSES, "logits", simulated=False))
    opened = open_classifier(tmp_path / "model.keras")
    assert opened.logits(np.zeros((2, 32, 32), np.float32)).shape == (2, 3)


def test_pages_are_read_as_in_training_or_as_asked_for(runner, run, data, tmp_path):
    plates = [read_image(path) for path in sorted(data.glob("test/1050/*.png"))]
    stack = np.stack([plate[..., 0] for plate in plates if plate.shape == plates[0].shape][:3])
    np.save(tmp_path / "stack.npy", stack)
    metadata = read_metadata(run / "model.keras")
    keras.saving.load_model(run / "model.keras").save(run / "model.keras")  # without metadata
    write_metadata(run / "model.keras", dataclasses.replace(metadata, page="mean"))

    def explained(*given):
        out = tmp_path / f"why{len(list(tmp_path.iterdir()))}"
        result = runner.invoke(main, ["explain", str(run), *given, "--out", str(out)])
        assert result.exit_code == 0, result.output
        record = json.loads((out / "explanation.json").read_text())
        return [image["path"] for image in record["images"]]

    file = str(tmp_path / "stack.npy")
    assert explained(file) == [f"{file}[mean]"]
    assert explained(file, "--page", "1") == [f"{file}[1]"]
    assert explained(file, "--page", "each") == [f"{file}[{n}]" for n in range(len(stack))]
    assert explained(f"{file}[0]") == [f"{file}[0]"]
    out = tmp_path / "refused"
    result = runner.invoke(main, ["explain", str(run), f"{file}[channels]", "--out", str(out)])
    assert result.exit_code == 1
    assert "must have one channel for this model" in result.stderr
    assert not out.exists()


def test_chosen_images_a_class_and_a_layer(runner, run, data, tmp_path):
    images = sorted(str(path) for path in data.glob("test/1050/*.png"))[:2]
    out = tmp_path / "why"
    options = ["--class", "steel", "--layer", "last", "--out", str(out)]
    result = runner.invoke(main, ["explain", str(run), *images, *options])
    assert result.exit_code == 0, result.output
    record = json.loads((out / "explanation.json").read_text())
    assert [image["path"] for image in record["images"]] == images
    assert {image["explained"] for image in record["images"]} == {"steel"}
    assert record["layer"] == "features"
    assert record["cells"] == [2, 2]


def test_shap_of_every_pixel_sums_to_the_log_odds(run, data):
    images = sorted(data.glob("test/2017/*.png"))[:1]
    found = explain.explain(run, images, method="shap", samples=300)
    assert found.maps.shape == (1, 32, 32)
    assert found.maps.min() < 0 < found.maps.max()
    # Up to the error of sampling.
    total = found.log_odds - found.reference
    tolerance = 0.15 * np.abs(found.maps).sum()
    np.testing.assert_allclose(found.maps.sum(axis=(1, 2)), total, atol=tolerance)
    assert found.signed


def test_shap_explains_the_dense_network(runner, data, tmp_path):
    run = write_run(tmp_path / "fnn", data, arch="fnn")
    result = runner.invoke(main, ["explain", str(run)])
    assert result.exit_code == 1
    assert "no feature map; use --method shap" in result.stderr
    image = next(data.glob("test/steel/*.png"))
    result = runner.invoke(
        main, ["explain", str(run), str(image), "--method", "shap", "--samples", "20"]
    )
    assert result.exit_code == 0, result.output
    assert (run / "explain_shap" / "maps.npz").is_file()


def test_a_model_file_alone_needs_no_data_for_gradcam_but_for_shap(runner, run, data, tmp_path):
    model = tmp_path / "model.keras"
    shutil.copy(run / "model.keras", model)
    image = str(next(data.glob("test/steel/*.png")))
    command = ["explain", str(model), image, "--out", str(tmp_path / "out")]
    assert runner.invoke(main, command).exit_code == 0
    command += ["--method", "shap", "--samples", "20"]
    result = runner.invoke(main, command)
    assert result.exit_code == 1
    assert "give their data set with --data" in result.stderr
    assert runner.invoke(main, [*command, "--data", str(data)]).exit_code == 0


def test_an_earlier_explanation_is_replaced_and_anything_else_kept(runner, run, data, tmp_path):
    images = sorted(str(path) for path in data.glob("test/1050/*.png"))[:2]
    out = tmp_path / "out"
    assert runner.invoke(main, ["explain", str(run), *images, "--out", str(out)]).exit_code == 0
    assert runner.invoke(main, ["explain", str(run), images[0], "--out", str(out)]).exit_code == 0
    assert len(list(out.glob("0*.png"))) == 1
    (out / "explanation.json").unlink()
    result = runner.invoke(main, ["explain", str(run), images[0], "--out", str(out)])
    assert result.exit_code == 1
    assert "holds other files" in result.stderr
    assert (out / "maps.npz").is_file()


def test_nothing_is_left_when_drawing_fails(run, data, tmp_path, monkeypatch):
    found = explain.explain(run, [next(data.glob("test/steel/*.png"))])

    def fail(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("alloyk.explanation.writing.plots.plot_overview", fail)
    with pytest.raises(KeyboardInterrupt):
        explain.write_explanation(found, tmp_path / "new" / "out")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--class", "bronze"], 1, f"must be one of {', '.join(CLASSES)}"),
        (["nowhere.png"], 1, "no image at nowhere.png"),
        (["--layer", "conv9"], 1, "got 'conv9'"),
        (["--samples", "10"], 2, "belong to --method shap"),
        (["--method", "shap", "--layer", "last"], 2, "belongs to --method gradcam"),
        (["--data", "nowhere"], 1, "nowhere"),
    ],
)
def test_what_cannot_be_explained_is_one_line(runner, run, arguments, code, message):
    result = runner.invoke(main, ["explain", str(run), *arguments])
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert not (run / "explain_gradcam").exists()


def test_a_missing_library_is_named(run, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(AlloykError, match="scripts/install explain"):
        explain.explain(run, [next(data.glob("test/steel/*.png"))], method="shap",
                        explainer="partition")  # fmt: skip


def test_the_report_shows_explanations(runner, run, data):
    from alloyk.evaluation import evaluate_run

    image = str(next(data.glob("test/steel/*.png")))
    runner.invoke(main, ["explain", str(run), image])
    evaluate_run(run, resamples=50)
    html = write_report(run).read_text(encoding="utf-8")
    assert 'id="explanation"' in html
    assert "Sanity check" in html
