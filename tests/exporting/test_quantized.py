"""Quantised files of a small run: int8 where they should be, float32 elsewhere, and proven."""

import csv
import json
import re
import shutil
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer.quantizer import Quantizer
from tiny_run import write_dataset, write_run

from alloyk.errors import AlloykError, ConfigError, ModelError
from alloyk.exporting import export_run, format_report
from alloyk.exporting import exporter as export
from alloyk.exporting.quantization import (
    NetworkOperator,
    Scheme,
    _add_rule,
    activation_ranges,
    network_operators,
    quantize,
    range_for,
)
from alloyk.inference import load
from alloyk.inference.metadata import read_metadata, replace_metadata

pytestmark = pytest.mark.usefixtures("untimed", "untraced", "converted_once")

EIGHT_BIT = ("tflite-w8", "tflite-16x8", "tflite-int8")
QUANTIZED = ("tflite-fp16", *EIGHT_BIT)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized")
    return write_run(folder / "run", write_dataset(folder / "data"))


@pytest.fixture(scope="module")
def exports(run):
    """A report for each format; 18 test images prove little, so the margin is wide."""
    return {
        name: export_run(
            run, name, run.parent / f"{name}.tflite", margin=50 if name in EIGHT_BIT else None
        )
        for name in ("tflite", *QUANTIZED)
    }


@pytest.mark.parametrize("name", ["savedmodel", "tflite", "tflite-fp16"])
def test_a_margin_is_refused_where_it_has_no_effect(run, name):
    with pytest.raises(ConfigError, match=f"--margin is for 8-bit formats, got {name}; omit it"):
        export_run(run, name, margin=3)


def tensors(path):
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    return interpreter, {one["name"]: one for one in interpreter.get_tensor_details()}


@pytest.mark.parametrize(
    ("name", "share", "difference"),
    [
        ("tflite-fp16", 0.55, 2e-3),
        ("tflite-w8", 0.33, 0.05),
        ("tflite-16x8", 0.33, 0.05),
        ("tflite-int8", 0.33, 0.15),
    ],
)
def test_each_file_is_small_and_close(exports, name, share, difference):
    report = exports[name]
    assert report.size_bytes < share * exports["tflite"].size_bytes
    assert 0 < report.agreement.mean_difference < report.agreement.max_difference < difference


def test_the_network_is_int8_per_channel_and_the_preprocessing_float32(exports):
    interpreter, found = tensors(exports["tflite-int8"].path)
    _, floats = tensors(exports["tflite"].path)
    image = interpreter.get_input_details()[0]
    assert image["dtype"] == np.float32
    assert not [
        name for name, one in found.items()
        if "/preprocessing" in name and one["dtype"] in (np.int8, np.int16)
    ]  # fmt: skip
    convolutions = [
        one for one in found.values()
        if one["dtype"] == np.int8 and len(one["shape"]) == 4 and one["shape"][0] > 1
    ]  # fmt: skip
    assert len(convolutions) == 4  # the stages of a cnn
    for one in convolutions:
        scales = one["quantization_parameters"]["scales"]
        assert len(scales) == one["shape"][0]  # one for each filter
        assert not one["quantization_parameters"]["zero_points"].any()  # symmetric
    assert not [one for one in floats.values() if one["dtype"] == np.int8]


def test_8_bit_weights_are_the_nearest_of_a_symmetric_scale(exports):
    whole, floats = tensors(exports["tflite"].path)
    small, found = tensors(exports["tflite-w8"].path)
    compared = 0
    for name, one in found.items():
        if one["dtype"] != np.int8:
            continue
        weights = whole.get_tensor(floats[name.removesuffix("_quantized")]["index"])
        stored = small.get_tensor(one["index"]).astype(np.float64)
        scales = np.array(one["quantization_parameters"]["scales"], np.float64)
        axes = tuple(range(1, weights.ndim))
        np.testing.assert_allclose(scales, np.abs(weights).max(axis=axes) / 127, rtol=1e-5)
        steps = scales.reshape(-1, *[1] * len(axes))
        assert (np.abs(weights - stored * steps) <= steps * 0.501).all()
        compared += 1
    assert compared == 5  # four convolutions and the hidden layer; the logits stay in float32


def test_the_proof_says_what_was_found(run, exports):
    report = exports["tflite-int8"]
    assert {path.name for path in report.proof.iterdir()} == {
        "parity.json", "parity.png", "calibration.csv",
    }  # fmt: skip
    proof = json.loads((report.proof / "parity.json").read_text())
    assert proof["format"] == "tflite-int8"
    assert proof["decisions"]["agree"] + proof["decisions"]["differ"] == proof["images"] == 18
    accuracy = proof["accuracy"]
    files = sorted((run.parent / "data" / "test").rglob("*.png"))
    found = {"original": load(run).predict(files), "file": load(report.path).predict(files)}
    for name, one in found.items():
        right = [label == file.parent.name for label, file in zip(one.labels, files, strict=True)]
        assert accuracy[name] == pytest.approx(np.mean(right))
    difference = np.abs(found["original"].probabilities - found["file"].probabilities).max(axis=1)
    assert proof["probability_difference"]["max"] == pytest.approx(difference.max(), rel=1e-3)
    assert proof["probability_difference"]["mean"] == pytest.approx(difference.mean(), rel=1e-3)
    assert accuracy["difference"] == pytest.approx(accuracy["file"] - accuracy["original"])
    assert accuracy["lower_bound"] >= -0.5
    assert proof["policy"]["accuracy_loss"] == 0.5
    assert [row["wanted_error_rate"] for row in proof["abstention"]] == [0.05, 0.02, 0.01]
    assert proof["latency"]["median_seconds"] == 0.00123
    table = format_report(report)
    assert "Δ calibration error" in table
    assert "calibration              3 training images; 3 others change" in table


def test_calibration_takes_training_images_only_in_two_disjoint_draws(run, exports):
    for name in ("tflite-16x8", "tflite-int8"):
        with (exports[name].proof / "calibration.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len({row["path"] for row in rows}) == 6  # the whole training split
        assert all(row["path"].startswith("train/") for row in rows)
        assert [row["draw"] for row in rows].count("A") == 3
    for name in ("tflite", "tflite-fp16", "tflite-w8"):
        assert not (exports[name].proof / "calibration.csv").exists()


def test_a_file_gets_thresholds_of_its_own_where_the_run_s_do_not_hold(exports, tmp_path):
    report = exports["tflite-int8"]
    file = tmp_path / "model.tflite"
    shutil.copy(report.path, file)
    before = read_metadata(file)
    rows = (
        {"wanted_error_rate": 0.05, "threshold": 0.6, "carried_over": True},
        {"wanted_error_rate": 0.02, "threshold": 0.85, "carried_over": False},
        {"wanted_error_rate": 0.01, "threshold": None, "carried_over": False},
    )
    for of_the_run in ({0.05: 0.6, 0.02: 0.8, 0.01: 0.9}, {0.05: 0.6}):
        replace_metadata(file, replace(before, thresholds=of_the_run))
        export.keep_thresholds(file, replace(report.parity, abstention=rows))
        assert read_metadata(file).thresholds == {0.05: 0.6, 0.02: 0.85}
    image = np.full((40, 48), 5000, np.uint16)
    np.testing.assert_array_equal(
        load(file).predict(image).probabilities, load(report.path).predict(image).probabilities
    )


def test_too_few_test_images_prove_no_half_point(run, tmp_path):
    message = r"0\.5 points with 95 % confidence, got a lower bound of -[\d.]+ over 18 images"
    with pytest.raises(AlloykError, match=message):
        export_run(run, "tflite-w8", tmp_path / "small.tflite")
    assert not list(tmp_path.iterdir())


def test_without_training_images_nothing_is_calibrated(tmp_path):
    data = write_dataset(tmp_path / "data")
    run = write_run(tmp_path / "run", data)
    for path in (data / "train").rglob("*.png"):
        path.unlink()
    with pytest.raises(AlloykError, match=r"no image in .*data/train"):
        export_run(run, "tflite-int8", tmp_path / "small.tflite", margin=50)
    assert not (tmp_path / "small.tflite").exists()


def test_an_operator_can_stay_in_float32(run, exports):
    content = exports["tflite"].path.read_bytes()
    operators = network_operators(content)
    image = np.full((40, 48, 1), 4000, np.float32)
    measured = activation_ranges(content, [image], operators)
    ranges = {name: range_for(rows, 8) for name, rows in measured.items()}
    first = operators[0]
    assert first.kind == "CONV_2D"
    mixed = quantize(content, Scheme(8, 8, frozenset([first.name])), operators, ranges)
    interpreter = Interpreter(model_content=mixed)
    found = [
        one for one in interpreter.get_tensor_details()
        if one["dtype"] == np.int8 and len(one["shape"]) == 4 and one["shape"][0] > 1
    ]  # fmt: skip
    assert len(found) == 3


def test_a_rule_is_for_one_operator(exports):
    """Not for those whose names begin with its name."""
    quantizer = Quantizer(bytearray(exports["tflite"].path.read_bytes()))
    operator = NetworkOperator("a/backbone/conv", "CONV_2D", ())
    for scheme in (Scheme(16), Scheme(8), Scheme(8, 8)):
        _add_rule(quantizer, operator, scheme)
        (rule,) = quantizer.get_quantization_recipe()
        matches = partial(re.search, rule["regex"])
        assert matches("a/backbone/conv;")  # as the quantiser writes scopes
        assert matches("a/backbone/conv;a/second_output;")
        assert not matches("a/backbone/conv_1;")
        assert not matches("b/a/backbone/conv;")


def test_a_fault_of_the_quantiser_is_an_error_of_the_model(exports, monkeypatch):
    def quantize_badly(self, *arguments, **options):
        raise RuntimeError("no such\n kernel")

    monkeypatch.setattr(Quantizer, "quantize", quantize_badly)
    content = exports["tflite"].path.read_bytes()
    with pytest.raises(ModelError, match="the network cannot be quantised: no such kernel; choose"):
        quantize(content, Scheme(8), network_operators(content))


def test_an_outlier_stretches_only_a_range_of_16_bits():
    rows = np.tile([-1.0, 2.0], (300, 1))
    rows[7] = [-1.0, 92.0]
    assert range_for(rows, 16) == (-1, 92)
    assert range_for(rows, 8) == (-1, 2 + 90 / 10)  # it is in one of ten parts
    assert range_for(rows[:40], 8) == (-1, 92)  # too few for two parts


def test_ranges_are_those_of_the_activations(run, exports):
    content = exports["tflite"].path.read_bytes()
    operators = network_operators(content)
    images = [np.random.default_rng(i).uniform(2000, 9000, (40, 48, 1)) for i in range(3)]
    ranges = activation_ranges(content, images, operators)
    hidden = next(one for one in operators if "/hidden" in one.name)
    preprocessing, network = load(run).backend.model.layers
    _, standardized, inner = network.layers
    features = keras.Model(inner.inputs, inner.get_layer("hidden_activation").output)
    values = np.concatenate(
        [features(standardized(preprocessing(one[None].astype(np.float32)))) for one in images]
    )
    expected = np.stack([np.zeros(3), values.max(axis=1)], axis=1)
    np.testing.assert_allclose(ranges[hidden.name], expected, rtol=1e-4)
