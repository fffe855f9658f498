"""What an hour of search buys on `hard2`: the setting it finds against the default.

    python scripts/search_gain.py [--seeds 0 1 2] [--work saved_models/search_gain]
        [--results docs/results/search_hard2]

1. `alloyk tune --search hyperband --time-budget 60` over `--results`/space.yaml
2. with each seed `alloyk train` with no setting but network and seed, and with the setting found
3. both are tested on plates of their own

A finished step is not repeated, an interrupted run is resumed, an interrupted search starts
again. `found.yaml` in `--results` is the setting, `trials.csv` the search; the results have the
form of those of `scripts/run_experiments.py`, and `scripts/experiment_tables.py` writes the table
of docs/tuning.md from them. Takes about two hours on one CPU core.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from experiment_plans import SEARCH, SEARCH_PLAN
from experiments import ROOT, environment, experiment_yaml, simulated
from run_experiments import PLATES_SEED, TEST_PLATES_SEED, keep

NETWORK = "cnn"
# 70 % of them are for training.
IMAGES = 4800
TRAINING_IMAGES, TEST_IMAGES = 3360, 1800
MINUTES = 60


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=ROOT / "saved_models" / "search_gain")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results" / SEARCH)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    preset, work = SEARCH_PLAN.preset, options.work
    data = simulated(work / "data", preset=preset, images=IMAGES, image_size=64, seed=PLATES_SEED)
    plates = simulated(
        work / "test", preset=preset, images=TEST_IMAGES, image_size=64, seed=TEST_PLATES_SEED
    )
    search(data, work / "search", options.results)
    for experiment in SEARCH_PLAN.changes:
        for seed in options.seeds:
            trained_and_tested(experiment, seed, data, plates, options)


def alloyk(*arguments: str | Path) -> None:
    """Run a command of alloyk in a process of its own."""
    command = [sys.executable, "-m", "alloyk", *map(str, arguments)]
    subprocess.run(command, check=True, env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL)


def search(data: Path, out: Path, results: Path) -> None:
    """Search once for `MINUTES`, and keep the trials and the setting found."""
    found = results / "found.yaml"
    if found.is_file():
        return
    shutil.rmtree(out, ignore_errors=True)
    alloyk(
        "tune", "--search", "hyperband", "--time-budget", f"{MINUTES}", "--out", out,
        "--space", results / "space.yaml", "--arch", NETWORK, "--data", data,
    )  # fmt: skip
    shutil.copyfile(out / "trials.csv", results / "trials.csv")
    best = yaml.safe_load((out / "best.yaml").read_text(encoding="utf-8"))
    del best["data"]["path"]  # of this machine
    found.write_text(experiment_yaml(best), encoding="utf-8")


def trained_and_tested(
    experiment: str, seed: int, data: Path, plates: Path, options: argparse.Namespace
) -> None:
    """Train the default, or the setting found, with one seed; test it and keep the result."""
    stem = f"{NETWORK}-{TRAINING_IMAGES}-{experiment}-{seed}"
    target, run = options.results / stem, options.work / stem
    if target.with_name(f"{stem}.json").is_file():
        return
    if not (run / "metrics.json").is_file():
        if (run / "checkpoint" / "state.npz").is_file():
            alloyk("train", "--run", run, "--resume")
        else:
            setting = [options.results / "found.yaml"] if experiment == "found" else []
            given = ["--arch", NETWORK, "--data", data, "--set", f"seed={seed}"]
            alloyk("train", *setting, *given, "--run", run)
    tested = run / "plates"
    alloyk("evaluate", run, "--data", plates, "--split", "all", "--out", tested)
    about: dict[str, object] = {"arch": NETWORK, "experiment": experiment, "seed": seed}
    about["training_images"] = TRAINING_IMAGES
    keep(run, tested, {"seed": seed}, about, target)


if __name__ == "__main__":
    main()
