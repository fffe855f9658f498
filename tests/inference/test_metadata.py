"""What travels inside a model file, and files that lack it."""

import json
import zipfile

import pytest

from alloyk.errors import AlloykError, ModelError
from alloyk.inference import load
from alloyk.inference.metadata import MEMBER, ModelMetadata, read_metadata, write_metadata

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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"classes": ["a"]}', '{"classes": 3}'])
def test_damaged_metadata_is_an_error_that_names_the_file(tmp_path, text):
    (tmp_path / MEMBER).write_text(text)
    with pytest.raises(AlloykError, match=rf"got {tmp_path}: its class names are missing"):
        read_metadata(tmp_path)


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
