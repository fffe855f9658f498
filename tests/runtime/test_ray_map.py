"""What a process of a Ray cluster loads and is told before it computes."""

import os
import subprocess
import sys

from alloyk.runtime import kernels, ray_map


def test_loading_sets_and_imports_nothing_that_computes():
    code = """
import os, sys
before = dict(os.environ)
import alloyk.runtime.ray_map
heavy = {"tensorflow", "keras", "ray", "numpy", "pandas"}
print(sorted(heavy & set(sys.modules)), dict(os.environ) == before)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[] True\n"


def test_the_variables_of_the_chosen_kernels_are_sent(monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    for name in (kernels.VARIABLE, kernels.OURS):
        monkeypatch.setenv(name, "")  # so that what is set below is removed
        monkeypatch.delenv(name)
    monkeypatch.setattr(kernels, "cpu_flags", lambda: frozenset({"avx2"}))
    before = dict(os.environ)
    kernels.choose_kernels()
    chosen = os.environ.keys() - before.keys()
    assert chosen
    assert chosen <= set(ray_map.ENVIRONMENT)
