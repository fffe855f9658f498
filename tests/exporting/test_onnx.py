"""ONNX files: the same answers without TensorFlow, and what they carry."""

import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from tiny_run import CLASSES, raw_image, write_dataset, write_run

from alloyk.errors import ModelError
from alloyk.exporting import export_run
from alloyk.exporting import exporter as export
from alloyk.exporting.conversion import write_onnx
from alloyk.inference import load
from alloyk.inference.latency import Speed
from alloyk.inference.members import _onnx_props, read_member, replace_member, write_member
from alloyk.inference.metadata import read_metadata
from alloyk.models.classifier import ACTIVATIONS


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    run = write_run(folder / "run", write_dataset(folder / "data"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "measured_speed", lambda *_: Speed(1, 0.001, 0.002, 5, 900.0, 10**8))
        return export_run(run, "onnx", folder / "model.onnx"), load(run)


def test_it_takes_raw_images_and_agrees(exported):
    report, original = exported
    assert report.input_shape == (40, 48, 1)
    images = [raw_image(number) for number in range(100, 105)]
    expected, found = original.predict(images), load(report.path).predict(images)
    assert found.labels == expected.labels
    assert np.abs(found.probabilities - expected.probabilities).max() <= 1e-4
    with pytest.raises(Exception, match=r"must have the size 40x48 .* got 40x47"):
        load(report.path).predict(raw_image(0, (40, 47)))


@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS.values())))
def test_every_activation_is_converted(activation, tmp_path):
    keras.utils.set_random_seed(0)
    x = image = keras.Input((6, 5, 1))
    x = keras.layers.Conv2D(4, 3, activation=activation)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(3, kernel_initializer="he_normal")(x))
    write_onnx(model, tmp_path / "model.onnx", (6, 5, 1))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    proto = onnx.load(str(tmp_path / "model.onnx"))
    assert {node.domain for node in proto.graph.node} == {""}
    for scale in (0.1, 1, 30):
        raw = scale * np.random.default_rng(1).standard_normal((1, 6, 5, 1)).astype(np.float32)
        (found,) = session.run(None, {session.get_inputs()[0].name: raw})
        expected = keras.ops.softmax(model(raw))
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_an_operator_that_onnx_lacks_is_refused(tmp_path):
    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Lambda(tf.math.lgamma)(image))
    with pytest.raises(ModelError, match=r"^tf2onnx cannot convert this model: .*Lgamma"):
        write_onnx(model, tmp_path / "model.onnx", (4,))


def test_it_has_standard_operators_only(exported):
    proto = onnx.load(str(exported[0].path))
    assert {domain.domain for domain in proto.opset_import} <= {"", "ai.onnx.ml"}
    assert {node.domain for node in proto.graph.node} == {""}


def test_it_knows_its_classes(exported):
    metadata = read_metadata(exported[0].path)
    assert metadata.classes == CLASSES
    assert metadata.output == "probabilities"


def test_prediction_loads_no_tensorflow(exported, tmp_path):
    np.save(tmp_path / "plate.npy", raw_image(7))
    code = (
        "import sys; from alloyk.inference import load; "
        f"found = load({str(exported[0].path)!r}).predict({str(tmp_path / 'plate.npy')!r}); "
        "print(found.labels[0], [m for m in ('tensorflow', 'keras', 'onnx') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = exported[1].predict(raw_image(7)).labels[0]
    assert ended.stdout == f"{expected} []\n"


def test_members_are_read_as_onnx_itself_reads_them(tmp_path):
    graph = onnx.helper.make_graph([], "empty", [], [])
    file = tmp_path / "some.onnx"
    onnx.save(onnx.helper.make_model(graph), str(file))
    write_member(file, "one.bin", bytes(range(256)))
    write_member(file, "two.bin", b"")
    props = {entry.key: entry.value for entry in onnx.load(str(file)).metadata_props}
    assert {name: text.decode() for name, text in _onnx_props(file.read_bytes()).items()} == props
    assert read_member(file, "one.bin") == bytes(range(256))
    assert read_member(file, "two.bin") == b""
    with pytest.raises(KeyError):
        read_member(file, "three.bin")


def test_a_member_of_the_same_name_is_replaced(tmp_path):
    file, folder = tmp_path / "some.onnx", tmp_path / "saved"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])), str(file))
    folder.mkdir()
    for model in (file, folder):
        for name in ("one.bin", "two.bin"):
            write_member(model, name, b"old")
        replace_member(model, "one.bin", b"new")
        assert read_member(model, "one.bin") == b"new"
        assert read_member(model, "two.bin") == b"old"
    assert len(onnx.load(str(file)).metadata_props) == 2


def test_it_gets_the_thresholds_of_its_proof(exported, tmp_path):
    report = exported[0]
    file = tmp_path / "model.onnx"
    file.write_bytes(report.path.read_bytes())
    rows = (
        {"wanted_error_rate": 0.05, "threshold": 0.6},
        {"wanted_error_rate": 0.02, "threshold": None},
    )
    export.keep_thresholds(file, replace(report.parity, abstention=rows))
    assert load(file).metadata.thresholds == {0.05: 0.6}
    np.testing.assert_array_equal(
        load(file).predict(raw_image(5)).probabilities,
        load(report.path).predict(raw_image(5)).probabilities,
    )


@pytest.mark.parametrize("damage", ["cut", "zeros", "text", "foreign"])
def test_a_damaged_or_foreign_file_is_refused(exported, tmp_path, damage):
    content = exported[0].path.read_bytes()
    foreign = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    file = tmp_path / "other.onnx"
    file.write_bytes({
        "cut": content[: len(content) // 2],
        "zeros": bytes(1000),
        "text": b"not a model at all",
        "foreign": foreign.SerializeToString(),
    }[damage])  # fmt: skip
    with pytest.raises(ModelError, match=r"must be made by alloyk .*other\.onnx: its class names"):
        load(file)


def test_a_graph_that_does_not_run_is_refused(exported, tmp_path):
    proto = onnx.load(str(exported[0].path))
    del proto.graph.node[0]
    file = tmp_path / "broken.onnx"
    onnx.save(proto, str(file))
    with pytest.raises(ModelError, match=r"cannot load the model .*broken\.onnx: "):
        load(file)


def test_a_missing_package_is_named(exported, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"needs onnxruntime.*pip install alloyk\[onnx\]"):
        load(exported[0].path)
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    from alloyk.exporting.conversion import write_onnx

    with pytest.raises(ModelError, match=r"needs the packages tf2onnx.*pip install alloyk\[onnx\]"):
        write_onnx(None, tmp_path / "x.onnx", (1, 1, 1))
