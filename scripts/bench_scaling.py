"""Images per second with one and two workers, and what more machines would give.

    python scripts/bench_scaling.py [--arch resnet18] [--image-size 64] [--images 2000] [--turns 3]
    python scripts/bench_scaling.py --paper --step-ms 41 --batch 64 --image-bytes 2e6

Measured on this machine in turns, each worker on a half of the processors:

- training: images/s of the epochs after the first, every worker with the same batch
- prediction: images/s of `alloyk predict --address local` after its first shards
- efficiency: images/s of two workers over twice those of one

On paper, from the step time and the size of the gradient: in each step a GPU (or a machine of 8)
sends 2 (n - 1) / n of the gradient, as in a ring all-reduce. Efficiency is given for sending that
overlaps with nothing, and with the backward pass, two thirds of the step. Behind a storage stands
the share of its capacity that all GPUs read; the first one above 1 limits.
"""

import argparse
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from alloyk.config.recipes import ARCHITECTURES

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

GB = 1e9
# Bytes/s in one direction, for each GPU within a machine and for each machine between them.
INSIDE = {"NVLink (H100)": 450 * GB, "PCIe 4.0 x16": 25 * GB}
BETWEEN = {"400 Gbit/s": 50 * GB, "100 Gbit/s": 12.5 * GB, "10 Gbit/s": 1.25 * GB}
GPUS_PER_MACHINE = 8
# Bytes/s of reading, for all machines together.
STORAGE = {"one NVMe disk": 6 * GB, "NFS over 10 Gbit/s": 1.1 * GB, "one hard disk": 0.2 * GB}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", choices=ARCHITECTURES, default="resnet18")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=16, help="images of one worker")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--paper", action="store_true", help="measure nothing but parameters")
    parser.add_argument("--step-ms", type=float, help="step of one GPU; by default as measured")
    parser.add_argument("--image-bytes", type=float, help="a file; by default as measured")
    parser.add_argument("--decode-rate", type=float, default=150.0, help="images/s of a processor")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    step_s, image_bytes = (options.step_ms or 0) / 1e3, options.image_bytes
    if not options.paper:
        with tempfile.TemporaryDirectory() as folder:
            rate, size = measure(options, Path(folder))
            step_s, image_bytes = step_s or options.batch / rate, image_bytes or size
    if not (step_s and image_bytes):
        raise SystemExit("--paper needs --step-ms and --image-bytes")
    on_paper(options, step_s, image_bytes)


def measure(options: argparse.Namespace, folder: Path) -> tuple[float, float]:
    """Print measured rates; return images/s of one worker in training, and bytes of a file."""
    data = folder / "data"
    alloyk(["simulate", data, "--preset", "easy", "--images", options.images, "--image-size",
            options.image_size])  # fmt: skip
    files = sorted(data.rglob("*_*.png"))
    found: dict[str, dict[int, list[float]]] = {"training": {}, "prediction": {}}
    run = folder / "run-0-1"
    for turn in range(options.turns):
        for workers in (1, 2):
            rate = training(options, data, folder / f"run-{turn}-{workers}", workers)
            found["training"].setdefault(workers, []).append(rate)
        for workers in (1, 2):
            rate = prediction(run, data, folder / "found.csv", workers)
            found["prediction"].setdefault(workers, []).append(rate)
    load = os.getloadavg()[0]
    print(f"{options.arch}, {options.image_size}², batch {options.batch} for each worker, "
          f"{os.cpu_count()} processors, load {load:.1f}")  # fmt: skip
    print(f"{'':12s} {'1 worker':>10s} {'2 workers':>10s} {'efficiency':>10s}")
    for what, rates in found.items():
        one, two = (statistics.median(rates[workers]) for workers in (1, 2))
        pairs = zip(rates[1], rates[2], strict=True)
        efficiency = statistics.median(b / (2 * a) for a, b in pairs)
        print(f"{what:12s} {one:10.1f} {two:10.1f} {efficiency:10.2f}")
    return statistics.median(found["training"][1]), os.path.getsize(files[0])


def alloyk(arguments: list, **options) -> None:
    command = [sys.executable, "-m", "alloyk", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)


def training(options: argparse.Namespace, data: Path, run: Path, workers: int) -> float:
    """Images/s of the epochs after the first."""
    settings = [
        "train.epochs=3", f"train.batch_size={options.batch * workers}",
        f"preprocess.image_size={options.image_size}", "train.patience=null",
    ]  # fmt: skip
    command = [sys.executable, "-m", "alloyk", "train", "--arch", options.arch, "--data", str(data),
               "--run", str(run)]  # fmt: skip
    command += [part for setting in settings for part in ("--set", setting)]
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(workers)]
    processes = []
    for index in range(workers):
        environment = dict(os.environ)
        if workers > 1:
            task = {"type": "worker", "index": index}
            environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        with run.with_name(f"{run.name}-{index}.log").open("w") as log:
            process = subprocess.Popen(
                pinned(index, command), env=environment, stdout=log, stderr=log
            )
        processes.append(process)
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit(run.with_name(f"{run.name}-0.log").read_text())
    import pandas as pd

    images = (pd.read_csv(run / "split.csv")["split"] == "train").sum()
    seconds = pd.read_csv(run / "history.csv")["seconds"][1:]
    return float(images / seconds.mean())


def pinned(index: int, command: list[str]) -> list[str]:
    """The command on half of the processors: one worker has as many as each of two."""
    cores = sorted(os.sched_getaffinity(0))
    half = max(1, len(cores) // 2)
    mine = cores[index * half % len(cores) :][:half]
    return ["taskset", "-c", ",".join(map(str, mine)), *command]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def prediction(run: Path, data: Path, output: Path, workers: int) -> float:
    """Images/s of all processes together, after their first shards."""
    code = f"""
import time
from pathlib import Path
from alloyk.inference import find_images, sources
from alloyk.inference.on_cluster import Options, predict_on_cluster
from alloyk.progress import CallbackProgress
sources.SHARD_IMAGES = 64
ticks = []
predict_on_cluster(
    Path({str(run)!r}), find_images([{str(data)!r}]), Path({str(output)!r}), Options(True), "local",
    workers={workers},
    progress=CallbackProgress(lambda label, done, *_: ticks.append((time.perf_counter(), done))),
)
# The first shard of each process traces the graph.
(start, before), (end, done) = ticks[min(2 * {workers}, len(ticks) - 2)], ticks[-1]
print((done - before) / (end - start))
"""
    cores = sorted(os.sched_getaffinity(0))[: max(1, len(os.sched_getaffinity(0)) // 2) * workers]
    command = ["taskset", "-c", ",".join(map(str, cores)), sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def gradient_bytes(arch: str, image_size: int) -> int:
    """Bytes of the float32 gradient."""
    import alloyk

    network = alloyk.build_model(arch, (image_size, image_size, 1), num_classes=6)
    return 4 * sum(math.prod(weight.shape) for weight in network.trainable_weights)


def on_paper(options: argparse.Namespace, step_s: float, image_bytes: float) -> None:
    """Print what 8 and 64 GPUs would give."""
    gradient = gradient_bytes(options.arch, options.image_size)
    print(f"on paper: step {1e3 * step_s:.1f} ms of {options.batch} images, gradient "
          f"{gradient / 1e6:.1f} MB, {image_bytes / 1e6:.3f} MB for each image")  # fmt: skip
    for gpus in (8, 64):
        ideal = gpus * options.batch / step_s
        inside = gpus <= GPUS_PER_MACHINE
        senders = gpus if inside else gpus // GPUS_PER_MACHINE
        sent = 2 * (senders - 1) / senders * gradient
        links = INSIDE if inside else BETWEEN
        print(f"{gpus} GPUs: {ideal:.0f} images/s at most")
        for name, capacity in links.items():
            busy_s = sent / capacity
            # Two thirds of a step is the backward pass, which sending may overlap with.
            overlapped = step_s + max(0.0, busy_s - 2 / 3 * step_s)
            print(f"  {name:20s} {busy_s / step_s:7.3f} of a step, efficiency "
                  f"{step_s / (step_s + busy_s):.2f} to {step_s / overlapped:.2f}")  # fmt: skip
        for name, capacity in STORAGE.items():
            print(f"  {name:20s} {ideal * image_bytes / capacity:7.3f} of its capacity, "
                  "if images are read anew in each epoch")  # fmt: skip
        print(f"  {'decoding':20s} {ideal / options.decode_rate:7.1f} processors")


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s")
