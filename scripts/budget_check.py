"""Whether time budgets are kept, and what they buy, on a data set.

    python scripts/budget_check.py DATA OUT [--budgets 2 5 20] [--arch NAME] [--seed 0]

Runs `alloyk train --data DATA --time-budget MINUTES` for each budget, one after the other, prints
minutes asked and taken, their ratio, epochs, and the test accuracy, and writes OUT/budgets.json.
Takes the sum of the budgets.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from experiments import machine

from alloyk.config.recipes import ARCHITECTURES


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--budgets", nargs="+", type=float, default=[2, 5, 20])
    parser.add_argument("--arch", choices=ARCHITECTURES)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    rows = []
    print(f"{'asked':>6s} {'taken':>6s} {'ratio':>6s} {'epochs':>7s} {'accuracy':>9s}  load")
    for minutes in options.budgets:
        run = options.out / f"{minutes:g}min"
        command = [
            sys.executable, "-m", "alloyk", "train", "--data", str(options.data), "--run", str(run),
            "--time-budget", str(minutes), "--set", f"seed={options.seed}",
            *(["--arch", options.arch] if options.arch else []),
        ]  # fmt: skip
        begun = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True)
        taken = (time.monotonic() - begun) / 60
        if done.returncode:
            print(f"{minutes:6.1f} {taken:6.2f} {done.stderr.splitlines()[-1]}", flush=True)
            continue
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        epochs = len((run / "history.csv").read_text(encoding="utf-8").splitlines()) - 1
        print(
            f"{minutes:6.1f} {taken:6.2f} {taken / minutes:6.2f} {epochs:7d} "
            f"{metrics['accuracy']:9.4f}  {os.getloadavg()[0]:.1f}", flush=True,
        )  # fmt: skip
        rows.append(
            {"minutes": minutes, "taken": round(taken, 2), "epochs": epochs,
             "images": metrics["n"], "accuracy": metrics["accuracy"]}
        )  # fmt: skip
        result = {"machine": machine(), "seed": options.seed, "rows": rows}
        text = json.dumps(result, indent=1)
        (options.out / "budgets.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
