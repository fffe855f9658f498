"""Time from start to a test accuracy: alloyk beside the plain Keras script, on the same images.

    python scripts/time_to_accuracy.py OUT [--arch resnet18 efficientnetb0] [--seeds 0 1 2]
        [--images 4500] [--target 0.99] [--budgets 2 4 8 16] [--minutes 40]

Simulates plates of the preset `study` at 64² into OUT, split by plate (see `RATIOS`), and takes
turns on the same machine:

- alloyk: `alloyk train --data … --time-budget MINUTES` with rising budgets, nothing else set. The
  time is that of the whole command, evaluation included, of the first budget that reaches the
  target. A user who does not know the budget would have spent the sum, which is printed too.
- plain: `scripts/baseline_plain_keras.py`, which looks at the test images after each epoch; the
  time is that of the first epoch that reaches the target, without looking.

Prints a row per training run, the ratio of the times for each seed and, for several seeds, that of
their sums, and writes OUT/time_to_accuracy.json after each seed. Run again, it keeps what is
finished and repeats the training run that was interrupted. On two idle cores a seed of one network
takes up to an hour, most of it the plain script.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from baseline_plain_keras import ARCHITECTURES
from experiments import machine, simulated

SCRIPTS = Path(__file__).resolve().parent
RATIOS = (0.5667, 0.1, 0.3333)  # of 4,500 images: 2,550, 450 and 1,500


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--arch", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=4500)
    parser.add_argument("--target", type=float, default=0.99)
    parser.add_argument("--budgets", nargs="+", type=float, default=[2, 4, 8, 16])
    parser.add_argument("--minutes", type=float, default=40, help="limit of the plain script")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    data = sorted_images(options)
    rows = []
    print(f"{'network':16s} {'seed':>4s} {'way':>7s} {'seconds':>8s} {'accuracy':>9s}", flush=True)
    for arch in options.arch:
        of_seeds = []
        for seed in options.seeds:
            found = [*alloyk_rows(options, data, arch, seed), plain_row(options, data, arch, seed)]
            for row in found:
                print(
                    f"{arch:16s} {seed:4d} {row['way']:>7s} {row['seconds']:8.0f} "
                    f"{row['accuracy']:9.4f}", flush=True,
                )  # fmt: skip
            rows += found
            of_seeds.append(found)
            print(verdict(found, options.target), flush=True)
            result = {"machine": machine(), "target": options.target, "rows": rows}
            text = json.dumps(result, indent=1)
            (options.out / "time_to_accuracy.json").write_text(text + "\n", encoding="utf-8")
        if len(of_seeds) > 1:
            print(summary(arch, of_seeds, options.target), flush=True)


def sorted_images(options: argparse.Namespace) -> Path:
    """Simulated plates in folders of splits, made once."""
    import alloyk

    data = options.out / "sorted"
    if not data.is_dir():
        options.out.mkdir(parents=True, exist_ok=True)
        images = simulated(options.out / "study", images=options.images, image_size=64, seed=11)
        alloyk.split(images, data, ratios=RATIOS)
    return data


def alloyk_rows(options: argparse.Namespace, data: Path, arch: str, seed: int) -> list[dict]:
    """One training run per budget, up to the one that reaches the target."""
    rows = []
    for minutes in options.budgets:
        run = options.out / f"{arch}-{seed}-{minutes:g}min"
        clocked = run / "seconds.txt"
        if not clocked.is_file():
            shutil.rmtree(run, ignore_errors=True)
            begun = time.monotonic()
            command = [
                sys.executable, "-m", "alloyk", "train", "--arch", arch, "--data", str(data),
                "--run", str(run), "--time-budget", str(minutes), "--set", f"seed={seed}",
            ]  # fmt: skip
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            clocked.write_text(f"{time.monotonic() - begun:.1f}\n", encoding="utf-8")
        seconds = float(clocked.read_text(encoding="utf-8"))
        accuracy = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["accuracy"]
        rows.append(
            {"arch": arch, "seed": seed, "way": "alloyk", "minutes": minutes,
             "seconds": seconds, "accuracy": accuracy}
        )  # fmt: skip
        if accuracy >= options.target:
            break
    return rows


def plain_row(options: argparse.Namespace, data: Path, arch: str, seed: int) -> dict:
    """The first epoch of the plain script that reaches the target, or its best one."""
    out = options.out / f"plain-{arch}-{seed}-{options.target:g}"
    epochs = plain_epochs(out)
    if not epochs or (
        epochs[-1]["test_accuracy"] < options.target
        and epochs[-1]["seconds"] < 60 * options.minutes
    ):
        shutil.rmtree(out, ignore_errors=True)  # with its PNG files, whose time is counted
        command = [
            sys.executable, str(SCRIPTS / "baseline_plain_keras.py"), str(data), str(out),
            "--arch", arch, "--seed", str(seed), "--target", str(options.target),
            "--minutes", str(options.minutes), "--epochs", "1000",
        ]  # fmt: skip
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        (out / "printed.txt").write_text(done.stdout, encoding="utf-8")
        epochs = plain_epochs(out)
    reached = [one for one in epochs if one["test_accuracy"] >= options.target]
    row = reached[0] if reached else max(epochs, key=lambda one: one["test_accuracy"])
    seconds = row["seconds"] if reached else epochs[-1]["seconds"]
    return {"arch": arch, "seed": seed, "way": "plain", "epochs": len(epochs),
            "seconds": seconds, "accuracy": row["test_accuracy"]}  # fmt: skip


def plain_epochs(out: Path) -> list[dict]:
    """What the plain script printed after each epoch; empty before it has finished."""
    printed = out / "printed.txt"
    lines = printed.read_text(encoding="utf-8").splitlines() if printed.is_file() else []
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [one for one in found if "epoch" in one]


def verdict(rows: list[dict], target: float) -> str:
    """The ratio of the times, in words."""
    ours = [row for row in rows if row["way"] == "alloyk"]
    plain = rows[-1]
    if ours[-1]["accuracy"] < target:
        return f"  alloyk did not reach {target} in {ours[-1]['minutes']:g} minutes"
    spent = sum(row["seconds"] for row in ours)
    ratio = plain["seconds"] / ours[-1]["seconds"]
    if plain["accuracy"] < target:
        return f"  plain did not reach {target} in {ratio:.1f} times alloyk's time"
    return f"  plain over alloyk: {ratio:.1f} ({plain['seconds'] / spent:.1f} with all budgets)"


def summary(arch: str, of_seeds: list[list[dict]], target: float) -> str:
    """The ratio of the sums over the seeds, in words."""
    pairs = [(rows[-2], rows[-1]) for rows in of_seeds]
    if any(ours["accuracy"] < target for ours, _ in pairs):
        return f"{arch}: alloyk did not reach {target} from every seed"
    ours, plain = (sum(row["seconds"] for row in way) for way in zip(*pairs, strict=True))
    # The plain script would have needed longer than its limit.
    least = "" if all(row["accuracy"] >= target for _, row in pairs) else "more than "
    return f"{arch}: plain over alloyk {least}{plain / ours:.1f}, sum of {len(pairs)} seeds"


if __name__ == "__main__":
    main()
