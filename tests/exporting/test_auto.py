"""The ladder of `--quantize auto`, and which file it keeps."""

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_run import write_dataset, write_run

from alloyk.cli import main
from alloyk.errors import ConfigError, ModelError
from alloyk.exporting import auto, export_smallest, format_report
from alloyk.exporting.calibration import Calibration, CalibrationImage
from alloyk.exporting.quantization import NetworkOperator
from alloyk.inference import load

pytestmark = pytest.mark.usefixtures("untimed", "untraced", "converted_once")


def operator(name, kind="CONV_2D"):
    return NetworkOperator(name, kind, ())


def test_layers_are_grouped_in_their_order():
    kinds = ["PAD", "CONV_2D", "ADD", "CONV_2D", "FULLY_CONNECTED", "MUL", "CONV_2D"]
    operators = [operator(str(i), kind) for i, kind in enumerate(kinds)]
    groups = auto.layer_groups(operators, most=2)
    assert [[one.name for one in group] for group in groups] == [list("0123"), list("456")]
    assert len(auto.layer_groups(operators)) == 4


def test_the_group_that_helps_most_in_float32_comes_first():
    groups = [[operator(name)] for name in "abc"]
    left = {"a": 0.3, "b": 0.1, "c": 0.2}
    done = []
    found = auto.order_by(lambda group: left[group[0].name], groups, done.append)
    assert [group[0].name for group in found] == ["b", "c", "a"]
    assert done == [1, 1, 1]


def test_sensitivity_is_measured_on_images_of_every_class():
    drawn = tuple(
        CalibrationImage(f"{i}.png", "abcdef"[i // 100], "AB"[i % 2], "drawn", Path(f"{i}.png"))
        for i in range(600)
    )
    images = auto.sensitivity_images(Calibration(drawn))
    assert len(images) == auto.SENSITIVITY_IMAGES
    assert {one.draw for one in images} == {"B"}
    counts = Counter(one.label for one in images)
    assert set(counts) == set("abcdef")
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("auto")
    return write_run(folder / "run", write_dataset(folder / "data"))


def test_int8_is_kept_where_it_passes(run, tmp_path):
    report = export_smallest(run, tmp_path / "small.tflite", margin=50)
    assert report.format == "tflite-int8"
    assert [one.what for one in report.attempts] == ["int8"]
    assert "int8 (0.5 MB): passed, written" in format_report(report)
    assert report.draws is not None


def test_sensitive_layers_stay_in_float32_where_int8_fails(run, tmp_path, monkeypatch):
    judged = []
    right = auto.shortfalls

    def judge(parity, policy, spreads):
        judged.append(right(parity, policy, spreads))
        return ["too far"] if len(judged) == 1 else judged[-1]

    monkeypatch.setattr(auto, "shortfalls", judge)
    report = export_smallest(run, tmp_path / "small.tflite", margin=50)
    assert [one.failed for one in report.attempts] == [("too far",), ()]
    assert report.attempts[1].what == "int8 with 1 of 5 groups of layers in float32"
    assert report.scheme.in_float
    assert report.attempts[1].size_bytes > report.attempts[0].size_bytes
    proof = json.loads((report.proof / "parity.json").read_text())
    assert proof["in_float32"] == sorted(report.scheme.in_float)
    assert proof["attempts"][0] == {
        "what": "int8", "size_bytes": report.attempts[0].size_bytes, "failed": ["too far"],
    }  # fmt: skip


def test_a_step_that_cannot_be_made_is_recorded_and_the_next_is_tried(run, tmp_path, monkeypatch):
    right = auto.FloatFile.quantized

    def quantized(self, scheme, draw="A"):
        if scheme.activations == 8:
            raise ModelError("the network cannot be quantised: no")
        content = right(self, scheme, draw)
        if scheme.activations is None and scheme.weights == 8:  # damaged, so it gives no numbers
            content = b"nothing"
        return content

    monkeypatch.setattr(auto.FloatFile, "quantized", quantized)
    report = export_smallest(run, tmp_path / "small.tflite", margin=50)
    assert report.format == "tflite-16x8"
    *ladder, damaged, last = report.attempts
    assert len(ladder) == 3  # int8, and with 1 and 3 of 5 groups in float32
    for attempt in ladder:
        assert attempt.failed == ("the network cannot be quantised: no",)
        assert attempt.size_bytes is None
    assert "a model must be" in damaged.failed[0]
    assert last.failed == ()
    assert "int8: failed: the network cannot be quantised: no\n" in format_report(report)


def test_too_few_images_end_at_float16(run, tmp_path):
    # 18 images show no half point for any quantised file; float16 is judged by |Δp|.
    report = export_smallest(run, tmp_path / "small.tflite")
    assert report.format == "tflite-fp16"
    assert [one.what for one in report.attempts][-3:] == [
        "8-bit weights", "8-bit weights, 16-bit activations", "float16 weights",
    ]  # fmt: skip
    assert load(report.path).classes
    assert "int8 (0.5 MB): failed: the loss of accuracy must be" in format_report(report)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give a --format, --quantize or --bundle"),
        (["--format", "tflite", "--quantize", "auto"], "give either --format or --quantize"),
    ],
)
def test_one_of_format_and_quantize_is_given(run, options, message):
    result = CliRunner().invoke(main, ["export", str(run), *options])
    assert result.exit_code == 2
    assert message in result.output


def test_a_misleading_name_is_refused_by_the_format_of_the_file(run, tmp_path):
    with pytest.raises(ConfigError, match=r"a file of format tflite must end in \.tflite, got"):
        export_smallest(run, tmp_path / "model.bin")


def test_where_no_int8_file_passes_fine_tuning_is_advised(run, tmp_path):
    int8, weights = auto.Step("tflite-int8", None, "int8"), auto.Step("tflite-w8", None, "weights")
    assert auto.advice_for(int8, run) == ""
    assert auto.advice_for(weights, run) == (
        "no int8 file passes: fine-tune the run with fake quantisation, then export the new run: "
        f"alloyk train --quantize-from {run}"
    )
    config = tmp_path / "config.yaml"
    config.write_text(f"quantize:\n  run: {run}\n")
    assert auto.advice_for(weights, tmp_path) == ""  # it is fine-tuned already


def test_the_advice_ends_the_table(run, tmp_path, monkeypatch):
    right = auto.shortfalls
    monkeypatch.setattr(auto, "IN_FLOAT", ())

    def judge(parity, policy, spreads):
        return [] if policy.accuracy_loss is None else ["too far", *right(parity, policy, spreads)]

    monkeypatch.setattr(auto, "shortfalls", judge)
    text = format_report(export_smallest(run, tmp_path / "small.tflite"))
    assert text.splitlines()[-1].startswith("no int8 file passes: fine-tune the run with fake")
