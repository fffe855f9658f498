"""Time of a search with one worker and with two, on trials that sleep as long as they compute.

    python scripts/bench_search_workers.py [--trials 16] [--seconds 2]

A trial stands for training that waits for its data half of the time: it computes for `--seconds` of
processor time and sleeps as long. Prints the time from the first trial to the last, the ratio,
and how many trials were run twice.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alloyk.runs.search_records import Trial, TrialRecords
from alloyk.runs.search_space import parameters_of
from alloyk.tuning.loop import Outcome, run_trials
from alloyk.tuning.suggestions import suggestions_for

SPACE: Mapping[str, Any] = {"model.dropout": {"min": 0.0, "max": 0.9}}
WHO = "who"


def work(out: Path, trials: int, seconds: float) -> None:
    """Take trials until there are none left."""

    def train(trial: Trial, records: TrialRecords, deadline: float | None) -> Outcome:
        with (records.folder(trial) / WHO).open("a") as file:
            file.write(f"{os.getpid()} {time.time()}\n")
        began = time.process_time()
        while time.process_time() - began < seconds:
            pass
        time.sleep(seconds)
        return Outcome(trial.values["model.dropout"])

    suggestions = suggestions_for("random", parameters_of(SPACE), seed=1, max_trials=trials)
    run_trials(out, suggestions, train)


def measured(workers: int, trials: int, seconds: float) -> tuple[float, int]:
    """Seconds from the first trial to the end, and the trials that were run twice."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        processes = [
            context.Process(target=work, args=(out, trials, seconds)) for _ in range(workers)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        ended = time.time()
        if any(process.exitcode for process in processes):
            raise SystemExit("a worker failed")
        runs = [file.read_text().splitlines() for file in out.glob(f"trial_*/{WHO}")]
    if len(runs) != trials:
        raise SystemExit(f"{len(runs)} trials were run instead of {trials}")
    began = min(float(line.split()[1]) for lines in runs for line in lines)
    return ended - began, sum(len(lines) > 1 for lines in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    alone, _ = measured(1, options.trials, options.seconds)
    both, twice = measured(2, options.trials, options.seconds)
    print(f"one worker {alone:.1f} s, two workers {both:.1f} s: {both / alone:.2f} of it")
    print(f"{options.trials} trials, {twice} of them twice")


if __name__ == "__main__":
    main()
