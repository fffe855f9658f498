"""A server in a process of its own."""

import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

MODEL = Path(__file__).parent / "tiny.tflite"


@contextmanager
def served(*options, model=MODEL):
    """`alloyk serve` on a free port; yields its address and its process."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from alloyk.cli import main; main(prog_name='alloyk')"
    )
    command = [sys.executable, "-c", code, "serve", model, "--port", "0", *options]
    with subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True) as process:
        try:
            lines = []
            while not (match := re.match(r"(http://\S+)", line := process.stderr.readline())):
                lines.append(line)
                assert line, lines
            yield match[1], process
        finally:
            process.kill()
            process.communicate()
