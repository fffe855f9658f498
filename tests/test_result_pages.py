"""Pages with tables of committed results are what their scripts make of them."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.mark.parametrize(
    "script", ["experiment_tables.py", "gap_tables.py", "stress_tables.py", "study_tables.py"]
)
def test_the_committed_page_is_made_of_the_committed_results(script):
    command = [sys.executable, SCRIPTS / script, "--check"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
