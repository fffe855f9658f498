"""A search that is killed at any moment is finished by the same command, with the same trials."""

import csv
import itertools
import json
import os
import random
import signal
import time
from contextlib import suppress

import pytest
from own_process import run_command, start

from alloyk.runs.folder import RunFolder
from alloyk.training.checkpoint import epochs_in

SETTINGS = [
    "data.simulate.preset=easy", "data.simulate.images=60", "data.simulate.image_size=16",
    "preprocess.image_size=16", "model.arch=fnn", "train.epochs=6", "schedule.warmup_epochs=0",
    "train.batch_size=16", "train.deterministic=true",
]  # fmt: skip
UNITS = ["--over", "model.hidden_units=8,16,24"]
RATES = ["--over", "optimizer.learning_rate=1e-4,3e-4,1e-3"]
KILLS = (signal.SIGKILL,)
SEARCHES = {
    "grid": (UNITS, (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)),
    "random": ([*UNITS, *RATES, "--search", "random", "--trials", "4"], KILLS),
    "hyperband": ([*UNITS, *RATES, "--search", "hyperband"], KILLS),
    "bayesian": ([*UNITS, *RATES, "--search", "bayesian", "--trials", "5"], KILLS),
    "folds": ([*UNITS, "--folds", "3"], KILLS),
}
"""Name → options of `alloyk tune`, and the signals that end it in turn."""


def search(out, options):
    settings = [option for setting in SETTINGS for option in ("--set", setting)]
    messages = out.with_suffix(".txt")
    messages.unlink(missing_ok=True)
    command = ("tune", "--out", out, *options, *settings)
    return start(run_command, *command, messages=messages), messages


def finish(out, options):
    process, messages = search(out, options)
    process.join()
    assert process.exitcode == 0, messages.read_text()
    with (out / "trials.csv").open() as file:
        rows = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    return rows, (out / "best.yaml").read_text()


def epochs_kept(out):
    """Folder → epochs that need not be trained again.

    Those of its checkpoint, or all in its history where it is finished: the row of an epoch is
    written just before its checkpoint.
    """
    kept = {}
    for file in out.rglob("history.csv"):
        checkpoint = RunFolder(file.parent).checkpoint_folder
        in_history = len(file.read_text().splitlines()) - 1
        kept[file.parent] = epochs_in(checkpoint) if checkpoint.is_dir() else in_history
    return kept


@pytest.mark.slow
@pytest.mark.timeout(3600)  # 22 searches
@pytest.mark.parametrize("name", SEARCHES)
def test_twenty_kills_at_random_moments(tmp_path, name):
    options, signals = SEARCHES[name]
    began = time.monotonic()
    undisturbed = finish(tmp_path / "undisturbed", options)
    longest = (time.monotonic() - began) / 3
    draw = random.Random(0)
    states, epochs, out = [], [], tmp_path / "s"
    for number in range(20):
        process, messages = search(out, options)
        sent = signals[number % len(signals)]
        # Before a second, there may be no command yet that could handle a signal.
        time.sleep(draw.uniform(0.1 if sent == signal.SIGKILL else 1, longest))
        with suppress(ProcessLookupError):  # it has ended
            os.kill(process.pid, sent)
        process.join()
        text = messages.read_text()
        assert "Traceback" not in text, text
        # 0 if the search ended before the signal; a process that has only to end dies of SIGTERM.
        allowed = {
            signal.SIGKILL: (-signal.SIGKILL,),
            signal.SIGTERM: (128 + signal.SIGTERM, -signal.SIGTERM),
            signal.SIGINT: (1,),
        }[sent]
        assert process.exitcode in (0, *allowed), text
        records = [json.loads(file.read_text()) for file in out.glob("*/trial.json")]
        states.append(sum(record["state"] == "finished" for record in records))
        epochs.append(epochs_kept(out))
    assert states == sorted(states)  # nothing finished is lost
    assert finish(out, options) == undisturbed
    epochs.append(epochs_kept(out))
    for before, after in itertools.pairwise(epochs):  # no epoch is trained again
        assert all(after.get(folder, 0) >= count for folder, count in before.items())
    assert not list(out.rglob(".*"))  # no lock, no unfinished file
