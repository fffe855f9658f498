"""Keras runs as alloyk needs it, whatever the user's environment and `keras.json` say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from alloyk.data.source import cache_folder
from alloyk.errors import ConfigError

HOSTILE = {
    "KERAS_BACKEND": "torch",
    "KERAS_MAX_EPOCHS": "1",
    "KERAS_MAX_STEPS_PER_EPOCH": "1",
    "MPLBACKEND": "module://a_backend_that_is_not_installed",
    "PYTHONWARNINGS": "error",
    "OMP_NUM_THREADS": "0",
}

LOAD = """
import json, os, sys
from alloyk.errors import AlloykError
from alloyk.runtime.tensorflow import load_tensorflow
try:
    load_tensorflow()
except AlloykError as error:
    sys.exit(f"{type(error).__name__}: {error}")
import keras, numpy as np
model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3)])
model.compile(loss="mse")
history = model.fit(np.zeros((8, 8, 8, 1)), np.zeros((8, 6, 6, 2)), 2, epochs=3, verbose=0)
print(json.dumps({
    "backend": keras.config.backend(),
    "floatx": keras.config.floatx(),
    "shape": model.output_shape,
    "dtype": model.weights[0].dtype,
    "epochs": len(history.epoch),
    "predicted": len(model.predict(np.zeros((70, 8, 8, 1)), verbose=0)),
    "environment": {name: os.environ.get(name) for name in sys.argv[1:]},
}))
"""


def load(folder, keras_json):
    (folder / "keras.json").write_text(keras_json)
    environment = {**os.environ, **HOSTILE, "KERAS_HOME": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", LOAD, *HOSTILE], env=environment, capture_output=True, text=True,
    )  # fmt: skip


def test_backend_number_type_layout_and_limits_are_ours(tmp_path):
    settings = {
        "backend": "jax", "floatx": "float16", "image_data_format": "channels_first",
        "epsilon": 0.1,
    }  # fmt: skip
    found = load(tmp_path, json.dumps(settings))
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == {
        "backend": "tensorflow", "floatx": "float32", "shape": [None, 6, 6, 2],
        "dtype": "float32", "epochs": 3, "predicted": 70, "environment": HOSTILE,
    }  # fmt: skip
    assert found.stderr == ""


def test_invalid_keras_settings_are_named(tmp_path):
    found = load(tmp_path, '{"floatx": "float12"}')
    assert found.returncode == 1
    assert found.stderr.startswith(
        f"ConfigError: keras.json in {tmp_path} must be valid settings of Keras, got ValueError: "
        "Invalid `floatx` configuration."
    )
    assert found.stderr.endswith("floatx=float12; correct or remove the file\n")


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)

    def no_name(_):
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", no_name)
    with pytest.raises(ConfigError, match=r"set HOME or XDG_CACHE_HOME, or give --data$"):
        cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder() == Path("/cache/alloyk")
