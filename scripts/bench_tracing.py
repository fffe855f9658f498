"""How long it takes until the graphs that read and augment images are traced.

    python scripts/bench_tracing.py [--turns 3]

Makes the data sets of a training run of the embedded default, from files and from kept images,
each time in a new process: with AutoGraph, which TensorFlow applies by default, and without, as
alloyk does. Prints seconds, medians of the turns, and their ratio.
"""

import argparse
import importlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

WAYS = ("with AutoGraph", "without")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    if options.worker:
        print(seconds_of(options.worker))
        return
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.turns):
        for way in WAYS:
            command = [sys.executable, __file__, "--worker", way]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds[way].append(float(done.stdout.split()[-1]))
    for way in WAYS:
        print(f"{way:15s} {statistics.median(seconds[way]):5.2f} s")
    ratios = [one / other for one, other in zip(*seconds.values(), strict=True)]
    print(f"{'ratio':15s} {statistics.median(ratios):5.2f}")


def seconds_of(way: str) -> float:
    """Time to make the data sets, in this process."""
    import tensorflow as tf

    if way == WAYS[0]:
        with mock.patch.object(tf.autograph.experimental, "do_not_convert", lambda make: make):
            importlib.import_module("alloyk.pipeline")
    import numpy as np
    from experiments import DEFAULT

    from alloyk import pipeline
    from alloyk.preprocessing import build_preprocessing
    from alloyk.preprocessing.augmentation import Augmentation
    from alloyk.simulator.dataset.simulation import simulate_dataset

    images = pipeline.KeptImages(np.zeros((64, 64, 64, 1), np.float32))
    with tempfile.TemporaryDirectory() as folder:
        data = simulate_dataset(Path(folder) / "set", images=4, image_size=64)
        preprocessing = build_preprocessing((64, 64), normalize="robust", equalize=True)
        started = time.perf_counter()
        pipeline.keep_images(sorted(data.glob("*/*.png")), preprocessing)
        pipeline.training_batches(
            images, np.arange(64) % 2, batch_size=32, seed=0, epochs=1,
            augmentation=Augmentation(**DEFAULT["augment"]),
        )  # fmt: skip
        pipeline.evaluation_batches(images, np.arange(64) % 2, batch_size=32)
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
