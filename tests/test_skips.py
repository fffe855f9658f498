"""Tests of real radiographs skip where there are none, or fail where they are required."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")


def outcome(folder, **environment):
    """Exit status and output of pytest for a test that needs the real radiographs."""
    tests = folder / "checkout" / "tests"
    tests.mkdir(parents=True)
    shutil.copy(CONFTEST, tests)
    (tests / "test_real.py").write_text("def test_real(shared_data): pass\n")
    unset = {k: v for k, v in os.environ.items() if k not in ("CI", "ALLOYK_REAL_IMAGES")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", tests],
        env=unset | environment, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize("environment", [{}, {"CI": "true"}])
def test_missing_radiographs_skip_with_a_reason(tmp_path, environment):
    code, output = outcome(tmp_path, **environment)
    assert code == 0
    assert f"real radiographs not found in {tmp_path / 'shared' / 'data'}" in output
    assert "1 skipped" in output


def test_missing_radiographs_fail_where_they_are_required(tmp_path):
    code, output = outcome(tmp_path, ALLOYK_REAL_IMAGES="required")
    assert code == 1
    assert "ALLOYK_REAL_IMAGES=required is set" in output
