"""How much memory an epoch takes when images are streamed, or kept on disk: 1,000 to 50,000.

    python scripts/bench_memory.py [--images 1000 10000 50000] [--size 64]

Each row is a process of its own that goes through one epoch of augmented batches. Printed is the
memory that belongs to the process at the end of the epoch; pages of the mapped cache file belong to
the system, which takes them back when it needs them.
"""

import argparse
import os
import subprocess
import sys
import tempfile
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
    arguments = parser.parse_args()
    if arguments.epoch:
        folder, count, cache = arguments.epoch
        print(one_epoch(Path(folder), int(count), cache))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), max(arguments.images), arguments.size)
        for cache in ("none", "disk"):
            for count in arguments.images:
                epoch = ["--epoch", folder, str(count), cache]
                done = subprocess.run(
                    [sys.executable, __file__, *epoch], capture_output=True, text=True, check=True
                )
                print(f"data.cache={cache:5s} {count:7,} images: {float(done.stdout):5.0f} MB")


if __name__ == "__main__":
    main()
