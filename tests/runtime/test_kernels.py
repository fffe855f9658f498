"""Which CPU kernels are chosen, and that the user's choice stays."""

import json
import os
import subprocess
import sys

import pytest

from alloyk.runs.network import network_of
from alloyk.runtime import kernels

AVX2 = frozenset({"sse4_2", "avx", "avx2", "fma"})
VNNI = AVX2 | {"avx512f", "avx512_vnni"}


@pytest.fixture
def chosen(monkeypatch):
    """`chosen(flags, arch, size)` gives the environment variable as a fresh process has it."""

    def choose(flags, arch=None, size=None, user=None):
        for name in (kernels.VARIABLE, kernels.OURS):
            monkeypatch.delenv(name, raising=False)
        if user is not None:
            monkeypatch.setenv(kernels.VARIABLE, user)
        monkeypatch.setattr(kernels, "cpu_flags", lambda: flags)
        monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
        kernels.choose_kernels(arch, size)
        return os.environ.get(kernels.VARIABLE)

    return choose


@pytest.mark.parametrize(
    ("arch", "size", "expected"),
    [
        ("resnet18", (32, 32), "1"),
        ("resnet50", (224, 224), "1"),
        ("efficientnetb0", (32, 32), "0"),
        ("efficientnetb0", (32, 512), "0"),
        ("efficientnetb0", (64, 64), "1"),
        ("efficientnetb0", None, "1"),
        (None, None, "1"),
    ],
)
def test_kernels_follow_architecture_and_size_on_a_cpu_without_neural_instructions(
    chosen, arch, size, expected
):
    assert chosen(AVX2, arch, size) == expected
    assert kernels.describe_kernels()["chosen_by"] == "alloyk"
    assert kernels.describe_kernels()["kernels"] == {"1": "oneDNN", "0": "Eigen"}[expected]


@pytest.mark.parametrize("flags", [VNNI, AVX2 | {"avx_vnni"}, frozenset({"avx"}), frozenset()])
def test_tensorflow_chooses_where_nothing_was_measured(chosen, flags):
    assert chosen(flags, "resnet18", (32, 32)) is None
    assert kernels.describe_kernels()["chosen_by"] == "TensorFlow"


@pytest.mark.parametrize("flags", [AVX2, VNNI])
def test_several_workers_use_kernels_that_take_an_empty_batch(chosen, monkeypatch, flags):
    workers = ["127.0.0.1:1", "127.0.0.1:2"]
    config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert chosen(flags, "resnet18", (32, 32)) == "0"
    monkeypatch.setenv("TF_CONFIG", "no JSON")
    assert chosen(VNNI, "resnet18", (32, 32)) is None


@pytest.mark.parametrize("user", ["0", "1"])
def test_the_user_s_choice_stays(chosen, user):
    assert chosen(AVX2, "resnet18", (32, 32), user=user) == user
    assert kernels.describe_kernels()["chosen_by"] == "user"


def test_a_child_process_chooses_for_its_own_architecture(chosen):
    assert chosen(AVX2, "efficientnetb0", (32, 32)) == "0"
    kernels.choose_kernels("resnet18", (32, 32))
    assert os.environ[kernels.VARIABLE] == "1"


def test_nothing_changes_once_tensorflow_is_imported(chosen, monkeypatch):
    chosen(AVX2, "efficientnetb0", (32, 32))
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    kernels.choose_kernels("resnet18", (32, 32))
    assert os.environ[kernels.VARIABLE] == "0"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_the_instruction_sets_are_read():
    flags = kernels.cpu_flags()
    assert not flags or "sse2" in flags


def test_the_choice_is_made_before_tensorflow_is_imported():
    """The variable is read once, when TensorFlow's library is loaded."""
    code = """
import json, os, sys
from alloyk.runs.network import network_of
from alloyk.runtime import kernels
kernels.cpu_flags = lambda: frozenset({"avx2"})
seen = {}
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow":
            seen["variable"] = os.environ.get(kernels.VARIABLE)
            raise ImportError("seen enough")
sys.meta_path.insert(0, Finder())
from alloyk.runtime.tensorflow import load_tensorflow
try:
    load_tensorflow("efficientnetb0", (32, 32))
except ImportError:
    print(json.dumps(seen))
"""
    unset = {k: v for k, v in os.environ.items() if k not in (kernels.VARIABLE, kernels.OURS)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=unset, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {"variable": "0"}


def test_a_run_tells_its_architecture_and_image_size(tmp_path):
    assert network_of(tmp_path) == (None, None)
    (tmp_path / "config.yaml").write_text(
        "model: {arch: efficientnetb0}\npreprocess: {image_size: [32, 48]}\n"
    )
    assert network_of(tmp_path) == ("efficientnetb0", (32, 48))
    assert network_of(tmp_path / "model.keras") == ("efficientnetb0", (32, 48))
