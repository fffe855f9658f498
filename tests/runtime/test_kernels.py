"""Which CPU kernels are chosen, and that the user's choice stays."""

import json
import os
import subprocess
import sys

import pytest

from alloyk.runtime import kernels

AVX2 = frozenset({"sse4_2", "avx", "avx2", "fma"})
VNNI = AVX2 | {"avx512f", "avx512_vnni"}


@pytest.fixture
def chosen(monkeypatch):
    """`chosen(flags)` gives the environment variable as a fresh process has it."""

    def choose(flags, user=None):
        for name in (kernels.VARIABLE, kernels.OURS):
            monkeypatch.delenv(name, raising=False)
        if user is not None:
            monkeypatch.setenv(kernels.VARIABLE, user)
        monkeypatch.setattr(kernels, "cpu_flags", lambda: flags)
        monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
        kernels.choose_kernels()
        return os.environ.get(kernels.VARIABLE)

    return choose


def test_onednn_is_chosen_on_a_cpu_without_neural_instructions(chosen):
    assert chosen(AVX2) == "1"
    assert kernels.describe_kernels() == {"kernels": "oneDNN", "chosen_by": "alloyk"}


@pytest.mark.parametrize("flags", [VNNI, AVX2 | {"avx_vnni"}, frozenset({"avx"}), frozenset()])
def test_tensorflow_chooses_where_nothing_was_measured(chosen, flags):
    assert chosen(flags) is None
    assert kernels.describe_kernels()["chosen_by"] == "TensorFlow"


@pytest.mark.parametrize("flags", [AVX2, VNNI])
def test_several_workers_use_kernels_that_take_an_empty_batch(chosen, monkeypatch, flags):
    workers = ["127.0.0.1:1", "127.0.0.1:2"]
    config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert chosen(flags) == "0"
    monkeypatch.setenv("TF_CONFIG", "no JSON")
    assert chosen(VNNI) is None


@pytest.mark.parametrize("user", ["0", "1"])
def test_the_user_s_choice_stays(chosen, user):
    assert chosen(AVX2, user=user) == user
    assert kernels.describe_kernels()["chosen_by"] == "user"


def test_a_child_process_chooses_for_itself(chosen, monkeypatch):
    assert chosen(AVX2) == "1"
    monkeypatch.setattr(kernels, "cpu_flags", lambda: VNNI)  # as on another machine
    kernels.choose_kernels()
    assert kernels.VARIABLE not in os.environ
    assert kernels.describe_kernels() == {"kernels": "oneDNN", "chosen_by": "TensorFlow"}


def test_nothing_changes_once_tensorflow_is_imported(chosen, monkeypatch):
    chosen(VNNI)
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    monkeypatch.setattr(kernels, "cpu_flags", lambda: AVX2)
    kernels.choose_kernels()
    assert kernels.VARIABLE not in os.environ


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_the_instruction_sets_are_read():
    flags = kernels.cpu_flags()
    assert not flags or "sse2" in flags


def test_a_processor_without_a_name_is_named_by_its_architecture(monkeypatch):
    assert kernels.processor_name()
    monkeypatch.setattr(kernels, "_cpuinfo", lambda key: "")
    monkeypatch.setattr(kernels.platform, "processor", lambda: "")
    monkeypatch.setattr(kernels.platform, "machine", lambda: "aarch64")
    assert kernels.processor_name() == "aarch64"


def test_the_choice_is_made_before_tensorflow_is_imported():
    """The variable is read once, when TensorFlow's library is loaded."""
    code = """
import json, os, sys
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
    load_tensorflow()
except ImportError:
    print(json.dumps(seen))
"""
    unset = {k: v for k, v in os.environ.items() if k not in (kernels.VARIABLE, kernels.OURS)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=unset, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {"variable": "1"}
