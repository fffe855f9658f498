"""Time and memory of a whole project with very many small images, step by step.

Simulates, splits into shards, audits, trains the dense network for one epoch and predicts every
image. A step is a command of its own; the most memory is that of it and its children together
which no file backs: pages of files belong to the system, which takes them back when it needs them.
Finished steps are in FOLDER/bench.json and are not repeated, so the script can be given again.

    python scripts/bench_million.py /big/disk/million [--images 1000000] [--size 24]
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STEPS = ("simulate", "split", "audit", "train", "predict")
POLL_SECONDS = 0.5


def own_bytes(process: int) -> int:
    """Memory of a process and its children that no file backs."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return 0  # it has just ended
    own = (line for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
    return sum(1024 * int(line.split()[1]) for line in own) + sum(
        own_bytes(int(child)) for child in children
    )


def measured(command: list[str], log: Path) -> dict[str, Any]:
    """Run a command; return its seconds and its most memory, in all and in each third of them."""
    began, used = time.monotonic(), []
    with log.open("w") as file:
        child = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        while child.poll() is None:
            used.append(own_bytes(child.pid))
            time.sleep(POLL_SECONDS)
    # `audit` ends with 1 if it finds something.
    if child.wait() and "audit" not in command:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}:\n{log.read_text()}")
    seconds, part = time.monotonic() - began, max(1, len(used) // 3)
    thirds = (used[:part], used[part:-part] or used, used[-part:])
    return {
        "seconds": round(seconds, 1),
        "peak_mb": round(max(used) / 1e6),
        "thirds_mb": [round(max(third) / 1e6) for third in thirds],
    }


def commands(folder: Path, images: int, size: int, shards: int) -> dict[str, list[str]]:
    alloyk = [sys.executable, "-m", "alloyk"]
    raw, data, run = (str(folder / name) for name in ("raw", "data", "run"))
    return {
        "simulate": [
            *alloyk, "simulate", raw, "--images", str(images), "--image-size", str(size),
            "--preset", "study",
        ],
        "split": [*alloyk, "split", raw, data, "--shards", str(shards)],
        "audit": [*alloyk, "audit", data, "--json"],
        "train": [
            *alloyk, "train", "--data", data, "--run", run, "--arch", "fnn",
            "--set", "train.epochs=1", "--set", "data.cache=none",
            "--set", f"preprocess.image_size={size}",
        ],
        "predict": [*alloyk, "predict", run, data, "--output", str(folder / "found.csv")],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for data, logs and results")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=24)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--delete", action="store_true", help="delete the data at the end")
    options = parser.parse_args()
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    results_file = folder / "bench.json"
    results = json.loads(results_file.read_text()) if results_file.exists() else {}
    results |= {"images": options.images, "size": options.size, "shards": options.shards}
    for step, command in commands(folder, options.images, options.size, options.shards).items():
        if step not in results:
            unfinished = {"simulate": "raw", "split": "data", "train": "run"}.get(step)
            if unfinished:
                shutil.rmtree(folder / unfinished, ignore_errors=True)
            results[step] = measured(command, folder / f"{step}.log")
            results_file.write_text(json.dumps(results, indent=1))
        found = results[step]
        print(
            f"{step:<10}{found['seconds']:>10.1f} s{1e6 * found['seconds'] / options.images:>10.0f}"
            f" µs per image{found['peak_mb']:>9,} MB; in each third {found['thirds_mb']}",
            flush=True,
        )
    if options.delete:
        for name in ("raw", "data", "run", "found.csv"):
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
