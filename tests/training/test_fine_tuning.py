"""Quantisation-aware fine-tuning: a new run, from a finished one that stays as it is."""

import json
import re
import shutil

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from tiny_run import write_dataset, write_run

import alloyk
from alloyk.api.fine_tuning import fine_tuning_config
from alloyk.cli import main
from alloyk.errors import AlloykError, ConfigError, OptionError
from alloyk.files import sha256
from alloyk.models import build_model
from alloyk.runs.facts import Facts
from alloyk.runs.folder import RunFolder
from alloyk.targets import Target
from alloyk.training.callbacks import EpochReport
from alloyk.training.fine_tuning import FineTuning
from alloyk.training.splits import Split

pytestmark = pytest.mark.usefixtures("unrendered", "untimed", "untraced")


SHORT = {"train.epochs": 2, "train.batch_size": 3, "optimizer.learning_rate": 1e-3}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run of a cnn, as training leaves it; its weights are random."""
    folder = tmp_path_factory.mktemp("source")
    run = write_run(folder / "cnn", write_dataset(folder / "data"), image_size=16)
    alloyk.evaluate(run, from_predictions=True)
    return run


def contents(run):
    return {path: sha256(path) for path in sorted(run.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def tuned(source, tmp_path_factory):
    before = contents(source)
    run = alloyk.train(
        quantize_from=source, run=tmp_path_factory.mktemp("tuned") / "cnn-int8",
        set=SHORT,
    )  # fmt: skip
    assert contents(source) == before
    return run


def test_it_is_a_run_like_any_other_and_says_where_it_comes_from(source, tuned):
    assert tuned.metrics["n"] == 18
    assert tuned.facts.fine_tuned_from == source
    assert tuned.settings.fine_tuned_from == source
    assert tuned.history.epochs == 2
    ranges = tuned.activation_ranges
    assert len(ranges) == 7  # the image, four stages, the pooled features, the hidden layer
    assert all(one.low < one.high for one in ranges)
    images = sorted((source.parent / "data" / "test").rglob("*.png"))
    found = alloyk.load(tuned).predict(images).probabilities
    np.testing.assert_allclose(
        np.sort(found, axis=0), np.sort(tuned.predictions.probabilities, axis=0), atol=1e-5
    )
    assert np.abs(found - alloyk.load(source).predict(images).probabilities).max() > 1e-4
    page = tuned.report().read_text()
    assert "fine-tuned from" in page


def test_its_int8_file_has_the_learned_ranges(tuned, tmp_path, monkeypatch):
    # 18 images of a network that has learnt nothing prove nothing.
    monkeypatch.setattr("alloyk.exporting.exporter.shortfalls", lambda *_: [])
    out = tmp_path / "int8.tflite"
    report = tuned.export("tflite-int8", out=out)
    assert report.draws is None
    proof = json.loads((report.proof / "parity.json").read_text())
    assert proof["calibration"] == {"learned_ranges": True}
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(out))
    scales = {one["quantization"][0] for one in interpreter.get_tensor_details()}
    for one in tuned.activation_ranges:
        scale = (max(one.high, 0) - min(one.low, 0)) / 255
        assert any(np.isclose(scale, found, rtol=1e-5) for found in scales), one


def test_an_interrupted_fine_tuning_is_resumed(source, tuned, tmp_path):
    begin = EpochReport.on_epoch_begin

    def interrupt(report, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt
        begin(report, epoch, logs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EpochReport, "on_epoch_begin", interrupt)
        with pytest.raises(KeyboardInterrupt):
            alloyk.train(quantize_from=source, run=tmp_path / "part", set=SHORT)
    assert RunFolder(tmp_path / "part").history.epochs == 1
    resumed = alloyk.train(run=tmp_path / "part", resume=True)
    assert resumed.history["loss"].tolist() == pytest.approx(tuned.history["loss"].tolist())
    np.testing.assert_allclose(
        resumed.predictions.probabilities, tuned.predictions.probabilities, atol=1e-5
    )
    for one, other in zip(resumed.activation_ranges, tuned.activation_ranges, strict=True):
        assert one.layers == other.layers
        assert one[2:] == pytest.approx(other[2:], rel=1e-4)


def test_epochs_and_learning_rate_follow_from_the_run(source, tmp_path):
    run = copied(source, tmp_path)
    file = run / "config.yaml"
    file.write_text(re.sub(r"\n  epochs: \d+", "\n  epochs: 51", file.read_text()))
    config = fine_tuning_config(run, {})
    assert config.train.epochs == 6  # a tenth
    assert config.optimizer.learning_rate == pytest.approx(0.001 / 100)
    assert (config.schedule.name, config.schedule.warmup_epochs) == ("cosine", 0)
    assert config.quantize.run == run
    changed = fine_tuning_config(
        run, {"train": {"epochs": 9}, "schedule": {"name": "constant"}, "seed": 4}
    )
    assert (changed.train.epochs, changed.schedule.name, changed.seed) == (9, "constant", 4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"arch": "cnn"}, OptionError, "`quantize_from` takes `run`, `data` and `set` only"),
        ({"set": {"model.arch": "fnn"}}, ConfigError, "model.arch must be that of the run to fine"),
        ({"set": {"model.dropout": 0.1}}, ConfigError, "model.dropout must be that of the run to"),
        ({"set": {"preprocess.image_size": 8}}, ConfigError, "preprocess.image_size must be that"),
        ({"set": {"train.strategy": "mirrored"}}, ConfigError, "set train.strategy=single"),
    ],
)
def test_other_options_are_refused(source, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        alloyk.train(quantize_from=source, run=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def copied(source, folder):
    return shutil.copytree(source, folder / "cnn")


def unfinished(source, folder):
    run = copied(source, folder)
    (run / "metrics.json").unlink()
    return run


def without_settings(source, folder):
    run = copied(source, folder)
    (run / "config.yaml").unlink()
    return run


def without_model(source, folder):
    run = copied(source, folder)
    (run / "metrics.json").unlink()
    (run / "model.keras").unlink()
    return run


def vote(source, folder):
    run = copied(source, folder)
    (run / "ensemble.yaml").write_text("vote: soft\nmembers: [{run: a}, {run: b}]\n")
    return run


def cross_validation(source, folder):
    run = copied(source, folder)
    (run / "cross_validation.json").write_text('{"parts": {"fold-1": "1/2"}}')
    return run


def fold(source, folder):
    (folder / "cross_validation.json").write_text('{"parts": {"cnn": "1/2"}}')
    return copied(source, folder)


def fine_tuned(source, folder):
    run = copied(source, folder)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("\n  run: null", "\n  run: /runs/first"))
    return run


def nothing(source, folder):
    return folder / "nothing"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (unfinished, "cnn, without metrics.json; finish it with"),
        (without_settings, "cnn, without config.yaml; restore the file"),
        (without_model, "has no model.keras, because its training did not end"),
        (vote, "got .*cnn, an ensemble; fine-tune its members"),
        (cross_validation, "got .*cnn, a cross-validation; train one network"),
        (fold, "got .*cnn, a fold of a cross-validation"),
        (fine_tuned, "got .*cnn, already fine-tuned from /runs/first"),
        (nothing, "must be a finished run, but .*nothing does not exist"),
    ],
)
def test_a_run_of_another_kind_is_refused_in_one_line(source, tmp_path, make, message):
    run = make(source, tmp_path)
    result = CliRunner().invoke(
        main, ["train", "--quantize-from", str(run), "--run", str(tmp_path / "new")]
    )
    assert result.exit_code == 1
    assert re.search(message, result.stderr), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_data_that_has_gone_or_changed_is_refused(source, tmp_path):
    data = shutil.copytree(source.parent / "data", tmp_path / "data")
    run = copied(source, tmp_path)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(source.parent / "data"), str(data)))
    image = next((data / "train").rglob("*.png"))
    content = image.read_bytes()
    image.write_bytes(next((data / "test").rglob("*.png")).read_bytes())
    with pytest.raises(AlloykError, match=r"in \S+ 1 image has different content"):
        alloyk.train(quantize_from=run, run=tmp_path / "new")
    image.write_bytes(content)
    data.rename(tmp_path / "elsewhere")
    with pytest.raises(AlloykError, match=r"is no longer at .*give its new location with --data"):
        alloyk.train(quantize_from=run, run=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_network_of_several_tasks_keeps_its_losses_weights(source, tmp_path):
    target = Target("thickness", 3.0, 2.0)
    run = RunFolder(copied(source, tmp_path))
    run.write_facts(Facts(loss_weights={"alloy": 2.0, "thickness": 0.5}))
    images = np.random.default_rng(0).random((4, 16, 16, 1), np.float32)
    labels, values = np.array([0, 1, 2, 0]), {"thickness": np.array([1.0, 2, np.nan, 4])}
    train = Split(Images(images), labels, values)

    fine_tuning = FineTuning(run.path, range_momentum=0.9)
    fine_tuning.plain = build_model("cnn", (16, 16, 1), 3, hidden_units=8, targets=(target,))
    network = fine_tuning.start(train, (target,))
    assert network.loss_weights() == pytest.approx({"alloy": 2.0, "thickness": 0.5})
    before = fine_tuning.plain(images)["thickness"]
    network.compile(
        keras.optimizers.SGD(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None),
    )
    network.fit(images, {"logits": labels, **values}, verbose=0)
    assert np.abs(fine_tuning.plain(images)["thickness"] - before).max() > 1e-6


class Images:
    """Images in memory, as a split has them."""

    def __init__(self, images):
        self.images = images

    def batches(self, numbers):
        return [self.images[batch] for batch in numbers.as_numpy_iterator()]
