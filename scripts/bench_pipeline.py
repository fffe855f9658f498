"""How fast images reach the network: augmentation at 224², ours against separate Keras layers.

    python scripts/bench_pipeline.py [--seconds 5]

Prints images per second and their ratio, both measured in one run on the same batches in tf.data.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_cv
import numpy as np
import tensorflow as tf

from alloyk.augmentation import Augmentation

SIDE, BATCH = 224, 32


def separate_layers(cutout):
    """Flip, rotation, scale, shift, brightness, contrast, cutout, noise, one layer each."""
    return keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(20 / 360),
            keras.layers.RandomZoom(0.1),
            keras.layers.RandomTranslation(0.1, 0.1),
            keras.layers.RandomBrightness(0.2, value_range=(0, 1)),
            keras.layers.RandomContrast(0.2, value_range=(0, 1)),
            cutout,
            keras.layers.GaussianNoise(0.02),
        ]
    )


def images_per_second(change, seconds):
    images = np.random.default_rng(0).random((BATCH, SIDE, SIDE, 1), np.float32)
    batches = (
        tf.data.Dataset.from_tensors(images)
        .repeat()
        .enumerate()
        .map(change, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )
    source = iter(batches)
    for _ in range(5):
        next(source)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(source)
        done += BATCH
    return done / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds

    ours = Augmentation(
        horizontal_flip=True, rotation_deg=20, scale=0.1, shift=0.1, brightness=0.2, contrast=0.2,
        cutout=0.25, noise=0.02,
    )  # fmt: skip
    side = round(0.25 * SIDE)
    keras_layers = separate_layers(
        keras.layers.RandomErasing(factor=1.0, scale=(0.0625, 0.0625), value_range=(0, 1))
    )
    keras_cv_cutout = separate_layers(
        keras_cv.layers.RandomCutout(side / SIDE, side / SIDE, fill_mode="constant")
    )
    rows = {
        "alloyk": lambda i, x: ours(x, tf.stack([0, tf.cast(i, tf.int32)])),
        "Keras layers": lambda _, x: keras_layers(x, training=True),
        "Keras layers, KerasCV cutout": lambda _, x: keras_cv_cutout(x, training=True),
    }
    speeds = {name: images_per_second(change, seconds) for name, change in rows.items()}
    print(f"augmentation, {SIDE}×{SIDE}, batches of {BATCH}, images/s")
    for name, speed in speeds.items():
        print(f"  {name:30s} {speed:8.0f}   alloyk is {speeds['alloyk'] / speed:.2f}×")


if __name__ == "__main__":
    main()
