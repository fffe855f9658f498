"""`scripts/install` shows pip's progress on a terminal and is quiet in a pipe."""

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path):
    """The files that `scripts/install` reads, and a `.venv` whose pip prints its arguments."""
    for name in ("scripts/install", "setup.cfg", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} "$@"\necho "$@"\n')
    python.chmod(0o755)
    return tmp_path


def install(checkout, **streams):
    environment = os.environ | {"PYTHON": sys.executable}
    return subprocess.run(
        [checkout / "scripts" / "install", "dev"], env=environment, check=True, **streams
    )


def test_pip_is_quiet_in_a_pipe(checkout):
    done = install(checkout, capture_output=True, text=True)
    assert done.stdout == ""
    assert "-m pip install --quiet" in done.stderr


def test_pip_shows_progress_on_a_terminal(checkout):
    leader, terminal = pty.openpty()
    install(checkout, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    shown = os.read(leader, 10_000).decode()
    os.close(leader)
    assert "-m pip install --disable-pip-version-check" in shown


def test_a_second_installation_does_nothing(checkout):
    install(checkout, capture_output=True)
    done = install(checkout, capture_output=True, text=True)
    assert done.stdout + done.stderr == ""
