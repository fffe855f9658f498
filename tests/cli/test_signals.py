"""SIGTERM and Ctrl-C end a command wherever they meet it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

IN_A_DESTRUCTOR = """
import os, signal, sys, time
from alloyk.cli import Terminated, sigterm_as_interrupt

class Sends:
    def __del__(self):
        os.kill(os.getpid(), {number})
        for _ in range(1000):
            pass  # the handler runs here

def work():
    sends = Sends()
    del sends
    time.sleep(20)
    print("ran on")

try:
    with sigterm_as_interrupt():
        work()
except KeyboardInterrupt as ended:
    print(type(ended).__name__)
"""


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "Terminated"), (signal.SIGINT, "KeyboardInterrupt")]
)
def test_a_signal_that_meets_a_destructor_is_not_lost(number, name):
    done = subprocess.run(
        [sys.executable, "-c", IN_A_DESTRUCTOR.format(number=int(number))],
        capture_output=True, text=True, timeout=60,
        # A job in the background of a shell would ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"{name}\n", "")


def test_other_errors_of_destructors_are_reported():
    code = IN_A_DESTRUCTOR.format(number="0").replace("os.kill(os.getpid(), 0)", "1 / 0")
    code = code.replace("time.sleep(20)", "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "ran on\n"
    assert "ZeroDivisionError" in done.stderr


def test_ctrl_c_while_the_command_line_loads_prints_nothing(tmp_path):
    """A module that the command line imports is slow to load."""
    (tmp_path / "click.py").write_text(
        "import time\nprint('loading', flush=True)\ntime.sleep(20)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "alloyk", "--help"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=15) == ("", "")
    assert process.returncode == -signal.SIGINT
