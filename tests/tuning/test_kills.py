"""A search that is killed at any moment is finished by the same command, with the same trials."""

import csv
import json
import random
import signal
import subprocess
import sys
import time

import pytest

SETTINGS = [
    "data.simulate.preset=easy", "data.simulate.images=60", "data.simulate.image_size=16",
    "preprocess.image_size=16", "model.arch=fnn", "train.epochs=6", "schedule.warmup_epochs=0",
    "train.batch_size=16", "train.deterministic=true",
]  # fmt: skip
TUNE = """
import sys
from alloyk.cli import main
from alloyk.runtime.tensorflow import load_tensorflow
load_tensorflow("fnn", (16, 16))
print("ready", flush=True)
main()  # which ends the process itself
"""


def search(out):
    options = [option for setting in SETTINGS for option in ("--set", setting)]
    over = ["--over", "model.hidden_units=8,16,24"]
    return subprocess.Popen(
        [sys.executable, "-c", TUNE, "tune", "--out", str(out), *over, *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(out):
    process = search(out)
    _, messages = process.communicate()
    assert process.returncode == 0, messages
    with (out / "trials.csv").open() as file:
        rows = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    return rows, (out / "best.yaml").read_text()


@pytest.mark.slow
@pytest.mark.timeout(3600)  # 22 searches
def test_twenty_kills_at_random_moments(tmp_path):
    start = time.monotonic()
    undisturbed = finish(tmp_path / "undisturbed")
    longest = (time.monotonic() - start) / 3
    draw = random.Random(0)
    states = []
    for number in range(20):
        process = search(tmp_path / "s")
        assert process.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0.1, longest))  # before that, the command is not there yet
        process.send_signal((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[number % 3])
        _, messages = process.communicate()
        assert "Traceback" not in messages, messages
        # 0 if the search ended before the signal; a process that has only to end dies of SIGTERM.
        allowed = ((-signal.SIGKILL,), (128 + signal.SIGTERM, -signal.SIGTERM), (1,))[number % 3]
        assert process.returncode in (0, *allowed), messages
        records = [json.loads(file.read_text()) for file in (tmp_path / "s").glob("*/trial.json")]
        states.append(sum(record["state"] == "finished" for record in records))
    assert states == sorted(states)  # nothing finished is lost
    assert finish(tmp_path / "s") == undisturbed
    assert not list((tmp_path / "s").rglob(".*"))  # no lock, no unfinished file
