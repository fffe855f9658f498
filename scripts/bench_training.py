"""Does training keep the processor busy? Training from files against the bare step.

    python scripts/bench_training.py [--arch resnet18 efficientnetb0] [--image-size 96]

Prints, from one run, images per second of the bare training step (one batch in memory, again and
again) and of `fit` as `alloyk train` runs it: kept images, shuffled, augmented, with all
callbacks; and their ratio. The two are measured in turns, and the median of the ratios is printed.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from alloyk import pipeline
from alloyk.config import parse_overrides, resolve_config
from alloyk.preprocessing import Standardize
from alloyk.preprocessing.augmentation import Augmentation
from alloyk.training.build import build_network, compile_network
from alloyk.training.callbacks import BestEpoch, Checkpoint, EpochReport, HistoryFile, StopOnNaN

AUGMENTATION = {"horizontal_flip": True, "rotation_deg": 20, "scale": 0.1, "brightness": 0.2}


def bare_seconds(network, images, labels, steps, batch_size):
    batch = (tf.constant(images[:batch_size]), tf.constant(labels[:batch_size]))
    same = tf.data.Dataset.from_tensors(batch).repeat()
    start = time.perf_counter()
    network.fit(same, steps_per_epoch=steps, epochs=1, verbose=0)
    return time.perf_counter() - start


def pipeline_seconds(network, images, labels, steps, batch_size, folder):
    best = BestEpoch(folder, monitor="loss")
    checkpoint = Checkpoint(folder, best)
    checkpoint.attach(network, [best])
    history = HistoryFile(folder / "history.csv")
    history.keep_until(0)
    progress = EpochReport(epochs=1, steps=steps, images=len(images))
    batches = pipeline.training_batches(
        pipeline.KeptImages(images), labels, batch_size=batch_size, seed=0, epochs=1,
        augmentation=Augmentation(**AUGMENTATION),
    )  # fmt: skip
    start = time.perf_counter()
    network.fit(
        batches, steps_per_epoch=steps, epochs=1, verbose=0, shuffle=False,
        callbacks=[StopOnNaN(), best, history, progress, checkpoint],
    )  # fmt: skip
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", nargs="+", default=["resnet18", "efficientnetb0"])
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    images = rng.random((options.images, options.image_size, options.image_size, 1), np.float32)
    labels = rng.integers(0, 2, options.images)
    print(f"{'':16s} {'bare step':>12s} {'alloyk train':>14s} {'ratio':>7s}   images/s")
    for arch in options.arch:
        config = resolve_config(
            None,
            parse_overrides([f"model.arch={arch}", f"preprocess.image_size={images.shape[1]}"]),
        )
        batch_size = config.train.batch_size
        steps = options.images // batch_size
        network = build_network(config, [Standardize([0.5], [0.3])], 2)
        compile_network(config, network, labels, 2, steps)
        bare, real = [], []
        with tempfile.TemporaryDirectory() as folder:
            # Both trace the step at first, whose batches differ in what is known of their shape.
            few = slice(0, 2 * batch_size)
            bare_seconds(network, images, labels, 2, batch_size)
            pipeline_seconds(network, images[few], labels[few], 2, batch_size, Path(folder))
            for _ in range(options.turns):
                bare.append(bare_seconds(network, images, labels, steps, batch_size))
                real.append(
                    pipeline_seconds(network, images, labels, steps, batch_size, Path(folder))
                )
        ratio = statistics.median(b / r for b, r in zip(bare, real, strict=True))
        speeds = [steps * batch_size / statistics.median(seconds) for seconds in (bare, real)]
        print(f"{arch:16s} {speeds[0]:12.0f} {speeds[1]:14.0f} {ratio:7.2f}", flush=True)
        keras.backend.clear_session()


if __name__ == "__main__":
    main()
