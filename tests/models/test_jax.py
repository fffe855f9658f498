"""On JAX, augmentation and a training step give what TensorFlow gives, and a script trains."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import one_step
import pytest
from PIL import Image

import alloyk
from alloyk import RunFolder
from alloyk.config import dump_yaml
from alloyk.config.recipes import ARCHITECTURES

QUICK = ("fnn", "cnn")
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed")


def steps_on_jax(folder, names):
    out = folder / "jax.npz"
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, one_step.__file__, out, *names]
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    with np.load(out) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(QUICK, id="quick"),
        *(
            pytest.param((name,), id=name, marks=pytest.mark.slow)
            for name in ARCHITECTURES
            if name not in QUICK
        ),
    ],
)
def test_a_step_on_jax_is_that_on_tensorflow(names, tmp_path):
    """Changes are compared with the size of the whole change: those of some weights are near 0.

    Batch norm over eight images amplifies rounding: 0.3 % of the change for resnet18.
    """
    ours, theirs = one_step.steps_of(names), steps_on_jax(tmp_path, names)
    assert (ours.pop("backend"), theirs.pop("backend")) == ("tensorflow", "jax")
    assert ours.keys() == theirs.keys()
    np.testing.assert_allclose(ours["preprocessed"], theirs["preprocessed"], atol=1e-5)
    for name in one_step.AUGMENTATIONS:
        key = f"augmented by {name}"
        # TensorFlow takes the weights of bicubic interpolation from a table.
        tolerance = 5e-3 if name == "elastic" else 1e-4
        np.testing.assert_allclose(ours[key], theirs[key], atol=tolerance, err_msg=name)
    for name in names:
        np.testing.assert_allclose(ours[f"{name} loss"], theirs[f"{name} loss"], rtol=1e-4)
        one, two = (
            np.concatenate([part[key].ravel() for key in part if key.startswith(f"{name} 0")])
            for part in (ours, theirs)
        )
        assert np.linalg.norm(one) > 1e-3
        assert np.linalg.norm(one - two) < 1e-2 * np.linalg.norm(one)


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory):
    """Twenty-four 16-bit images of two classes, of two sizes."""
    folder = tmp_path_factory.mktemp("radiographs")
    rng = np.random.default_rng(0)
    for number in range(24):
        label, level = (("1050", 9000), ("2017", 3000))[number % 2]
        image = rng.normal(6000, 300, (24, 24 + number % 2))
        image[8:16, 8:16] = level
        (folder / label).mkdir(exist_ok=True)
        Image.fromarray(image.astype(np.uint16)).save(folder / label / f"{number:02d}.png")
    return folder


def test_a_run_trained_on_jax_is_finished_on_tensorflow(radiographs, tmp_path):
    settings = {
        "data": {"path": str(radiographs), "ratios": [0.5, 0.25, 0.25]},
        "preprocess": {"image_size": 32},
        "augment": {"rotation_deg": 5, "defects": 0.001},
        "model": {"arch": "fnn", "hidden_units": 16},
        "train": {"epochs": 3, "batch_size": 8, "average_weights": 0.9},
    }
    config = tmp_path / "small.yaml"
    config.write_text(dump_yaml(settings))
    script("train_on_jax.py", config, "--runs", tmp_path)
    run = RunFolder(tmp_path / "small-0")
    assert run.history.epochs == 3
    assert "jax" in run.facts.packages
    before = run.predictions
    assert len(run.split_record.used) == 24
    assert not run.model_file.exists()
    found = script("finish_jax_run.py", run.path)
    assert "largest difference of a probability" in found.stdout
    images = [run.facts.data_root / path for path in before.table["path"]]
    again = alloyk.predict(run, images)
    np.testing.assert_allclose(again.probabilities, before.probabilities, atol=1e-3)


def test_what_is_not_trained_on_jax_is_refused(radiographs, tmp_path):
    config = tmp_path / "mixed.yaml"
    settings = {"data": {"path": str(radiographs)}, "augment": {"mixup": 0.2}}
    config.write_text(dump_yaml(settings))
    found = script("train_on_jax.py", config, "--runs", tmp_path, fails=True)
    assert found.stderr.splitlines()[-1] == (
        "Error: augment.mixup must be 0 for a training run on JAX; use `alloyk train`"
    )
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "mixed-0").exists()


def script(name, *arguments, fails=False):
    command = [sys.executable, ROOT / "scripts" / name, *map(str, arguments)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert bool(found.returncode) == fails, found.stderr
    return found
