"""Pages with tables of committed results are what their scripts make of them."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def test_the_committed_pages_are_made_of_the_committed_results():
    command = [sys.executable, SCRIPTS / "result_tables.py", "--check"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
