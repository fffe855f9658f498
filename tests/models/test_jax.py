"""One training step on JAX gives what TensorFlow gives, for every architecture."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import one_step
import pytest

from alloyk.config.recipes import ARCHITECTURES

QUICK = ("fnn", "cnn")

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
    for name in names:
        np.testing.assert_allclose(ours[f"{name} loss"], theirs[f"{name} loss"], rtol=1e-4)
        one, two = (
            np.concatenate([part[key].ravel() for key in part if key.startswith(f"{name} 0")])
            for part in (ours, theirs)
        )
        assert np.linalg.norm(one) > 1e-3
        assert np.linalg.norm(one - two) < 1e-2 * np.linalg.norm(one)
