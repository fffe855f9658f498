"""What travels inside a model file, and files that lack it."""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alloyk.errors import AlloykError, ModelError
from alloyk.inference import load
from alloyk.inference.members import read_member, replace_member, write_member
from alloyk.inference.metadata import MEMBER, ModelMetadata, read_metadata, write_metadata
from alloyk.inference.novelty_file import MEMBER as DETECTOR
from alloyk.inference.novelty_file import detector_content, read_detector

TINY = Path(__file__).parents[1] / "serving" / "tiny.tflite"
# "1050" and "0123" are names; "α" is not ASCII.
METADATA = ModelMetadata(("0123", "1050", "α"), output="logits", simulated=True)


def keras_file(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    return path


def tflite_file(path):
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(range(256)) * 40)
    return path


def savedmodel_folder(path):
    path.mkdir()
    return path


@pytest.mark.parametrize("make", [keras_file, tflite_file, savedmodel_folder])
def test_metadata_comes_back_as_written(tmp_path, make):
    model = make(tmp_path / "model")
    write_metadata(model, METADATA)
    assert read_metadata(model) == METADATA


def test_a_tflite_file_keeps_its_bytes_in_front(tmp_path):
    # Interpreters read offsets from the start of the file.
    model = tflite_file(tmp_path / "model.tflite")
    before = model.read_bytes()
    write_metadata(model, METADATA)
    assert model.read_bytes().startswith(before)


def test_a_keras_file_keeps_its_members(tmp_path):
    model = keras_file(tmp_path / "model.keras")
    write_metadata(model, METADATA)
    with zipfile.ZipFile(model) as archive:
        assert archive.read("config.json") == b"{}"
        assert archive.testzip() is None


def test_the_same_model_gives_the_same_bytes(tmp_path):
    models = [tflite_file(tmp_path / name) for name in ("a", "b")]
    for model in models:
        write_metadata(model, METADATA)
    assert models[0].read_bytes() == models[1].read_bytes()


def test_entries_of_a_later_version_are_passed_over(tmp_path):
    entries = {"classes": ["a", "b"], "output": "logits", "simulated": False, "new": 1}
    (tmp_path / MEMBER).write_text(json.dumps(entries))
    assert read_metadata(tmp_path).classes == ("a", "b")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"classes": 3}', '{"classes": "abc"}', '{"classes": [1, 2]}']
)
def test_damaged_metadata_is_an_error_that_names_the_file(tmp_path, text):
    (tmp_path / MEMBER).write_text(text)
    with pytest.raises(AlloykError, match=rf"got {tmp_path}: its class names are missing"):
        read_metadata(tmp_path)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("output", "scores"), ("output", None), ("simulated", "no"), ("spreads", None),
        ("spreads", {"kvp": "9"}), ("depths", "uint16"), ("brightest", [1]), ("page", [0]),
        ("hdf5_path", 3), ("thresholds", [0.9]), ("thresholds", {"0.05": None}),
    ],
)  # fmt: skip
def test_an_entry_of_the_wrong_type_is_named(tmp_path, entry, value):
    entries = {"classes": ["a", "b"], "output": "logits", "simulated": False}
    (tmp_path / MEMBER).write_text(json.dumps(entries | {entry: value}))
    with pytest.raises(ModelError, match=f"entry '{entry}' of its metadata is missing or damaged"):
        read_metadata(tmp_path)


@pytest.mark.parametrize(
    ("entry", "value"),
    [("thresholds", {"low": 0.9}), ("raw", [1]), ("raw", 3), ("channels", {"by": 1})],
)
def test_an_entry_that_cannot_be_converted_is_an_error(tmp_path, entry, value):
    entries = {"classes": ["a", "b"], "output": "logits", "simulated": False}
    (tmp_path / MEMBER).write_text(json.dumps(entries | {entry: value}))
    with pytest.raises(ModelError, match="its metadata is damaged"):
        read_metadata(tmp_path)


CHANNELS = {"column": "kvp", "values": ["40", "80"]}


@pytest.mark.parametrize(
    ("entries", "misfit"),
    [
        ({"classes": ["a"]}, r"output '\w+' must have 1 numbers, got 3"),
        ({"classes": ["a", "b"]}, r"output '\w+' must have 2 numbers, got 3"),
        ({"output": "logits"}, "output 'logits' must exist, got features, probabilities"),
        ({"spreads": {"kvp": 1.0}}, "output 'kvp' must exist"),
        ({"spreads": {"features": 1.0}}, "output 'features' must have 1 numbers"),
        ({"channels": CHANNELS}, "must take 2 channels, got 1"),
    ],
)
def test_metadata_of_another_model_is_refused(tmp_path, entries, misfit):
    """A SavedModel folder may have the `alloyk.json` of another run."""
    model = tmp_path / "model.tflite"
    shutil.copy(TINY, model)
    stored = json.loads(read_member(model, MEMBER))
    replace_member(model, MEMBER, json.dumps(stored | entries).encode())
    text = rf"the metadata of {model} does not fit the model: .*{misfit}"
    with pytest.raises(ModelError, match=text):
        load(model)


def test_a_detector_of_another_model_or_none_is_refused(tmp_path):
    model = tmp_path / "model.tflite"
    shutil.copy(TINY, model)
    detector = read_detector(model)
    other = replace(detector, picture_mean=np.zeros(3), picture_whitening=np.eye(3))
    replace_member(model, DETECTOR, detector_content(other))
    with pytest.raises(ModelError, match=r"the output 'features' must have \d+ numbers, got"):
        load(model)
    with zipfile.ZipFile(TINY) as archive:
        start = min(one.header_offset for one in archive.infolist())
        metadata = archive.read(MEMBER)
    model.write_bytes(TINY.read_bytes()[:start])
    write_member(model, MEMBER, metadata)
    with pytest.raises(ModelError, match="its detector of unlike images is missing"):
        load(model)


def test_models_without_metadata_are_named(tmp_path):
    for model in (keras_file(tmp_path / "a"), tflite_file(tmp_path / "b")):
        with pytest.raises(AlloykError, match=rf"{model}: its class names are missing"):
            read_metadata(model)
    with pytest.raises(AlloykError, match=r"absent: it does not exist"):
        read_metadata(tmp_path / "absent")


def test_custom_code_in_a_model_is_refused(tmp_path):
    """A `.keras` file may hold Python code in a Lambda layer; loading must not run it."""
    import keras

    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Lambda(lambda x: x * 2)])
    file = tmp_path / "model.keras"
    model.save(file)
    write_metadata(file, ModelMetadata(classes=("a", "b"), output="logits", simulated=False))
    with pytest.raises(ModelError, match=r"cannot load the model .*model\.keras"):
        load(file)
