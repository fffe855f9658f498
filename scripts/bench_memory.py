"""How much memory an epoch takes, and `predict` and `audit` of large frames.

    python scripts/bench_memory.py [--images 1000 10000 50000] [--size 64]
    python scripts/bench_memory.py --frames 32 --sides 4096 10000 [--model RUN_OR_FILE]

An epoch is measured with images streamed and kept on disk. Each row is a process of its own that
goes through one epoch of augmented batches. Printed is the memory that belongs to the process at
the end of the epoch; pages of the mapped cache file belong to the system, which takes them back
when it needs them. For large frames, the most that the process has had is printed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

DIFFERENT = 500  # the others are links to these


def own_megabytes() -> float:
    """Resident memory that no file backs."""
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("RssAnon:"))
    return int(line.split()[1]) / 1024


def one_epoch(folder: Path, count: int, cache: str) -> float:
    import numpy as np

    from alloyk.pipeline import StreamedImages, keep_images, training_batches
    from alloyk.preprocessing import build_preprocessing
    from alloyk.preprocessing.augmentation import Augmentation

    paths = sorted(folder.glob("*.png"))[:count]
    preprocessing = build_preprocessing((64, 64))
    if cache == "none":
        images = StreamedImages(paths, preprocessing)
    else:
        images = keep_images(paths, preprocessing, folder=folder / "cache", key=str(count))
    augmentation = Augmentation(horizontal_flip=True, rotation_deg=10, noise=0.02)
    batches = training_batches(
        images, np.arange(count) % 2, batch_size=32, seed=0, epochs=1, augmentation=augmentation
    )
    seen = sum(len(labels) for _, labels in batches.as_numpy_iterator())
    if seen != count:
        raise SystemExit(f"{seen} of {count} images came")
    return own_megabytes()


def peak_gigabytes() -> float:
    """Most resident memory that the process has had."""
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
    return 1024 * int(line.split()[1]) / 1e9


def large_frames(command: str, frame: Path, count: int, model: str) -> str:
    """`predict` or `audit` the same frame many times."""
    if command == "audit":
        from alloyk.auditing.scan import scan_images as work
    else:
        from alloyk.inference import load

        work = load(model).predict
    work([frame])  # the first one takes longer
    began, used = time.perf_counter(), time.process_time()
    work([frame] * count)
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    each = f"{wall / count:.1f} s for each image, {cpu / count:.1f} s of processors"
    return f"{peak_gigabytes():.2f} GB at most, {each}"


def write_frame(path: Path, side: int) -> None:
    import numpy as np
    import tifffile

    noise = np.random.default_rng(0).normal(0, 60, (side, side)).astype(np.float32)
    waves = 8000 + 3000 * np.sin(np.arange(side, dtype=np.float32) / 500)
    tifffile.imwrite(path, (noise + waves[:, None]).astype(np.uint16))


def measured_apart(*arguments: str) -> str:
    """Return what a process of its own prints."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


def write_images(folder: Path, count: int, size: int) -> None:
    from alloyk.simulator.dataset.simulation import simulate_dataset

    simulate_dataset(folder / "simulated", images=min(DIFFERENT, count), image_size=size)
    sources = sorted((folder / "simulated").glob("*/*.png"))
    for number in range(count):
        os.link(sources[number % len(sources)], folder / f"{number:06d}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epoch", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--frames", type=int, help="large frames instead of an epoch")
    parser.add_argument("--sides", type=int, nargs="+", default=[4096, 10000])
    parser.add_argument("--model", help="run or file for predict; without it, audit alone")
    parser.add_argument("--large", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.large:
        command, frame, count, model = arguments.large
        print(large_frames(command, Path(frame), int(count), model))
        return
    if arguments.frames:
        with tempfile.TemporaryDirectory() as folder:
            for side in arguments.sides:
                frame = Path(folder) / f"{side}.tif"
                write_frame(frame, side)
                for command in ("audit", "predict") if arguments.model else ("audit",):
                    large = (command, str(frame), str(arguments.frames), arguments.model or "")
                    found = measured_apart("--large", *large)
                    print(f"{command:7s} {arguments.frames} frames of {side}²: {found}")
        return
    if arguments.epoch:
        folder, count, cache = arguments.epoch
        print(one_epoch(Path(folder), int(count), cache))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), max(arguments.images), arguments.size)
        for cache in ("none", "disk"):
            for count in arguments.images:
                epoch = ["--epoch", folder, str(count), cache]
                found = float(measured_apart(*epoch))
                print(f"data.cache={cache:5s} {count:7,} images: {found:5.0f} MB")


if __name__ == "__main__":
    main()
