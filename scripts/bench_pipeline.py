"""How fast images reach the network: reading, augmentation, a second epoch, the end of a pass.

    python scripts/bench_pipeline.py [--seconds 5] [--part small]

Prints images per second at 224×224. Reading: each format through tf.data, as alloyk's pipeline does
it, by `read_image` alone and, where there is one, by TensorFlow's decoder without a check, and
whether all give the same numbers. First epoch: 16-bit PNG files that are read, checked, hashed and
decoded for the first time, against TensorFlow's decoder without a check, and the bytes read.
Small: small 16-bit PNG files, read and preprocessed one by one and in groups.
Augmentation: ours against separate Keras layers. Second epoch: images kept in memory or on disk,
against the same epoch with images that cost nothing to fetch. End: passes over kept images, and how
long it takes until the iterator is gone, with and without tf.data's own tuning.
Figures that are compared are measured in turns, and each is the median of its turns. The processor
time of an image is given where it tells more, as other work changes it little.
"""

import argparse
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_cv
import numpy as np
import tensorflow as tf
import tifffile
from PIL import Image

from alloyk.imaging import read_image
from alloyk.pipeline import KeptImages, keep_images, training_batches
from alloyk.pipeline.reading import preprocessed_batches
from alloyk.preprocessing import build_preprocessing
from alloyk.preprocessing.augmentation import Augmentation
from alloyk.simulator.dataset.recipe import make_recipe
from alloyk.simulator.dataset.render import Simulator

SIDE, BATCH = 224, 32
FILES = 128
KEPT = 2048
TURNS = 3
WARM_UP = 10  # batches

OURS = Augmentation(
    horizontal_flip=True, rotation_deg=20, scale=0.1, shift=0.1, brightness=0.2, contrast=0.2,
    cutout=0.25, noise=0.02,
)  # fmt: skip


def medians(rows, seconds):
    """Images per second of each row, from a dataset that never ends."""
    return {name: speed for name, (speed, _) in medians_and_cost(rows, seconds).items()}


def medians_and_cost(rows, seconds, turns=TURNS):
    """Images per second, and milliseconds of processor time per image, of each row.

    Only the row whose turn it is has an iterator: others would go on filling their buffers.
    """
    speeds = {name: [] for name in rows}
    costs = {name: [] for name in rows}
    for _ in range(turns):
        for name, dataset in rows.items():
            source = iter(dataset)
            for _ in range(WARM_UP):
                next(source)
            done, start, used = 0, time.perf_counter(), time.process_time()
            while time.perf_counter() - start < seconds / turns:
                done += len(next(source))
            speeds[name].append(done / (time.perf_counter() - start))
            costs[name].append(1e3 * (time.process_time() - used) / done)
            del source
    return {n: (statistics.median(speeds[n]), statistics.median(costs[n])) for n in rows}


# --- Reading ----------------------------------------------------------------------------------


def write_dicom(path, counts):
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = counts.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = counts.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def eight(counts):
    return (counts >> 6).astype(np.uint8)


FORMATS = {
    "PNG, 8 bit": ("png", lambda path, x: Image.fromarray(eight(x)).save(path)),
    "PNG, 16 bit": ("png", lambda path, x: Image.fromarray(x).save(path)),
    "JPEG": ("jpg", lambda path, x: Image.fromarray(eight(x)).save(path, quality=95)),
    "TIFF, 16 bit": ("tif", tifffile.imwrite),
    "TIFF, 16 bit, deflate": ("tif", lambda path, x: tifffile.imwrite(path, x, compression="zlib")),
    "DICOM, 16 bit": ("dcm", write_dicom),
}
TENSORFLOW = {
    "PNG, 8 bit": lambda data: tf.io.decode_png(data, dtype=tf.uint8),
    "PNG, 16 bit": lambda data: tf.io.decode_png(data, dtype=tf.uint16),
    "JPEG": lambda data: tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE"),
}


class Untouched:
    """Preprocessing that does nothing, so that reading alone is measured."""

    input_shape = (None, None, None, None)
    output_shape = (None, SIDE, SIDE, 1)
    layers = ()

    def get_config(self):
        return {}

    def __call__(self, images):
        return tf.ensure_shape(images, (None, SIDE, SIDE, 1))


def by_alloyk(paths):
    names = tf.data.Dataset.from_tensor_slices([str(path) for path in paths]).repeat()
    return preprocessed_batches(names.batch(BATCH), Untouched()).prefetch(tf.data.AUTOTUNE)


def by_one_function(paths, read):
    names = tf.data.Dataset.from_tensor_slices([str(path) for path in paths]).repeat()
    images = names.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return images.batch(BATCH).prefetch(tf.data.AUTOTUNE)


def with_read_image(path):
    def decode(path):
        return read_image(os.fsdecode(path)).astype(np.float32)

    return tf.ensure_shape(tf.numpy_function(decode, [path], tf.float32), (SIDE, SIDE, 1))


def with_tensorflow(decode):
    return lambda path: tf.cast(decode(tf.io.read_file(path)), tf.float32)


def bench_reading(folder, images, seconds):
    print(f"reading, {SIDE}×{SIDE}: images/s, ms of processor time, same numbers")
    print(f"  {'':24s} {'alloyk':>16s} {'read_image':>16s} {'TensorFlow':>16s}")
    for name, (suffix, write) in FORMATS.items():
        paths = [folder / f"{name} {i}.{suffix}" for i in range(FILES)]
        for path, counts in zip(paths, images, strict=False):
            write(path, counts)
        rows = {
            "alloyk": by_alloyk(paths),
            "read_image": by_one_function(paths, with_read_image),
        }
        if name in TENSORFLOW:
            rows["TensorFlow"] = by_one_function(paths, with_tensorflow(TENSORFLOW[name]))
        firsts = [next(iter(dataset)).numpy() for dataset in rows.values()]
        same = "yes" if all((first == firsts[0]).all() for first in firsts) else "no"
        found = medians_and_cost(rows, seconds)
        cells = [f"{speed:10.0f} {cost:5.2f}" for speed, cost in found.values()]
        print(
            f"  {name:24s} " + " ".join(f"{cell:16s}" for cell in cells) + f"   {same}", flush=True
        )


# --- The first epoch --------------------------------------------------------------------------


def bytes_read():
    """Bytes that this process has asked files for so far (proc(5), `rchar`)."""
    with open("/proc/self/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("rchar"))


def bench_first_epoch(folder, images, _):
    """Read, check, hash and decode every file for the first time, as with data.cache=none."""
    paths = []
    for number in range(KEPT):
        paths.append(folder / f"first {number}.png")
        if number < FILES:
            Image.fromarray(images[number]).save(paths[-1])
        else:
            os.link(paths[number % FILES], paths[-1])
    size = sum(path.stat().st_size for path in paths)
    names = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    decode = with_tensorflow(TENSORFLOW["PNG, 16 bit"])
    by_tensorflow = names.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH)

    def by_alloyk():
        return preprocessed_batches(names.batch(BATCH), Untouched(), {})

    found = {"alloyk": [], "TensorFlow": []}
    for _ in range(4 * TURNS):
        for name, make in (("alloyk", by_alloyk), ("TensorFlow", lambda: by_tensorflow)):
            dataset = make().prefetch(tf.data.AUTOTUNE)
            before, start, used = bytes_read(), time.perf_counter(), time.process_time()
            done = sum(len(batch) for batch in dataset)
            found[name].append(
                (
                    done / (time.perf_counter() - start),
                    1e3 * (time.process_time() - used) / done,
                    (bytes_read() - before) / size,
                )
            )
    print(
        f"first epoch, 16-bit PNG, {SIDE}×{SIDE}: images/s, ms of processor time, bytes read / "
        "bytes of the files"
    )
    middle = {name: np.median(rows, axis=0) for name, rows in found.items()}
    for name, (speed, cost, read) in middle.items():
        ratio = speed / middle["TensorFlow"][0]
        print(f"  {name:30s} {speed:10.0f} {cost:7.2f} {read:7.2f}   {ratio:.2f}×", flush=True)


# --- Small images -----------------------------------------------------------------------------


def bench_small(folder, _, seconds):
    print(f"small images, 16-bit PNG, batches of {BATCH}, robust: images/s, ms of processor time")
    for side in (24, 64):
        recipe = make_recipe(images=FILES, image_size=side)
        simulator = Simulator(recipe)
        paths = [folder / f"small {side} {number}.png" for number in range(FILES)]
        for path, planned in zip(paths, recipe.plan(), strict=True):
            Image.fromarray(simulator.image(planned)).save(path)
        names = tf.data.Dataset.from_tensor_slices([str(path) for path in paths]).repeat()
        for repair in (False, True):
            preprocessing = build_preprocessing((side, side), normalize="robust", repair=repair)
            rows = {
                "one by one": preprocessed_batches(names.batch(BATCH), preprocessing),
                "in groups": preprocessed_batches(
                    names.batch(BATCH), preprocessing, example=paths[0]
                ),
            }
            found = medians_and_cost(rows, seconds)
            cells = [f"{name} {speed:6.0f} {cost:5.2f}" for name, (speed, cost) in found.items()]
            title = f"{side}×{side}{', repaired' if repair else ''}"
            print(f"  {title:20s}", "   ".join(cells), flush=True)


# --- Augmentation -----------------------------------------------------------------------------


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


def augmented(change):
    images = np.random.default_rng(0).random((BATCH, SIDE, SIDE, 1), np.float32)
    batches = tf.data.Dataset.from_tensors(images).repeat().enumerate()
    return batches.map(change, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def by_ours(number, images, augmentation=OURS):
    return augmentation(images, tf.stack([0, tf.cast(number, tf.int32)]))


def only(**change):
    return partial(by_ours, augmentation=Augmentation(**change))


def bench_augmentation(_, __, seconds):
    erasing = keras.layers.RandomErasing(factor=1.0, scale=(0.0625, 0.0625), value_range=(0, 1))
    cutout = keras_cv.layers.RandomCutout(0.25, 0.25, fill_mode="constant")
    grid_mask = keras_cv.layers.GridMask(ratio_factor=(0.4, 0.4), rotation_factor=0.0)
    keras_layers, with_keras_cv = separate_layers(erasing), separate_layers(cutout)
    rows = {
        "alloyk": augmented(by_ours),
        "Keras layers": augmented(lambda _, x: keras_layers(x, training=True)),
        "Keras layers, KerasCV cutout": augmented(lambda _, x: with_keras_cv(x, training=True)),
        "alloyk cutout alone": augmented(only(cutout=0.25)),
        "KerasCV cutout alone": augmented(lambda _, x: cutout(x, training=True)),
        "alloyk grid_mask alone": augmented(only(grid_mask=0.4)),
        "KerasCV GridMask alone": augmented(lambda _, x: grid_mask(x, training=True)),
    }
    speeds = medians(rows, seconds)
    print(f"augmentation, {SIDE}×{SIDE}, batches of {BATCH}, images/s")
    for name, speed in speeds.items():
        print(f"  {name:30s} {speed:10.0f}   alloyk is {speeds['alloyk'] / speed:.2f}×")


# --- The second epoch -------------------------------------------------------------------------


class TheSameBatch:
    """Images that cost nothing to fetch, so that augmentation alone is left of an epoch."""

    def __init__(self, images):
        self.images = images

    def batches(self, numbers):
        return numbers.map(lambda _: self.images)


def bench_second_epoch(folder, images, seconds):
    paths = []
    for number in range(KEPT):  # links, as only the first epoch reads them
        paths.append(folder / f"kept {number}.png")
        if number < FILES:
            Image.fromarray(images[number]).save(paths[-1])
        else:
            os.link(paths[number % FILES], paths[-1])
    preprocessing = build_preprocessing((SIDE, SIDE))
    in_memory = keep_images(paths, preprocessing)
    sources = {
        "augmentation alone": TheSameBatch(tf.constant(in_memory.array[:BATCH])),
        "kept in memory": in_memory,
        "kept on disk": keep_images(paths, preprocessing, folder=folder / "cache"),
    }
    rows = {}
    for name, source in sources.items():
        batches = training_batches(
            source, np.arange(KEPT) % 2, batch_size=BATCH, seed=0, epochs=10_000, first_epoch=1,
            augmentation=OURS,
        )  # fmt: skip
        rows[name] = batches.map(lambda images, _: images)
    found = medians_and_cost(rows, 4 * seconds, turns=4 * TURNS)
    print(f"second epoch, {SIDE}×{SIDE}, batches of {BATCH}, augmented: images/s, ms of processor")
    alone, _ = found["augmentation alone"]
    for name, (speed, cost) in found.items():
        print(f"  {name:30s} {speed:10.0f} {cost:7.2f}   {speed / alone:.2f}×")


# --- The end of an iterator ---------------------------------------------------------------------

PASSES = 8
OPERATIONS = 60  # that a batch takes: about 1.5 s for a pass on two cores


def bench_end(folder, images, seconds):
    """Passes over the same images: until the last batch, and until the iterator has ended."""
    kept = KeptImages(np.zeros((640, SIDE, SIDE, 1), np.float32))
    numbers = tf.data.Dataset.range(len(kept.array)).batch(BATCH)
    print(f"passes over {len(kept.array)} images: seconds to the last batch, to the end")
    for name, batches in {
        "alloyk": kept.batches(numbers),
        "tuned by tf.data": numbers.map(lambda at: tf.gather(kept.array, at), num_parallel_calls=2),
    }.items():
        last, end = zip(*(pass_seconds(batches) for _ in range(PASSES)), strict=True)
        print(f"  {name:30s} {statistics.median(last):10.2f} {statistics.median(end):10.2f}")


def pass_seconds(batches):
    matrix = tf.random.normal((500, 500))
    started = time.perf_counter()
    iterator = iter(batches)
    for _ in iterator:
        for _ in range(OPERATIONS):
            matrix = tf.tanh(matrix @ matrix)
    matrix.numpy()
    last = time.perf_counter() - started
    del iterator
    return last, time.perf_counter() - started


PARTS = {
    "reading": bench_reading,
    "first": bench_first_epoch,
    "small": bench_small,
    "augmentation": bench_augmentation,
    "second": bench_second_epoch,
    "end": bench_end,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each figure")
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all parts")
    options = parser.parse_args()

    recipe = make_recipe(images=FILES, image_size=SIDE)
    simulator = Simulator(recipe)
    images = [simulator.image(planned) for planned in recipe.plan()]
    with tempfile.TemporaryDirectory() as folder:
        for part in options.part or PARTS:
            PARTS[part](Path(folder), images, options.seconds)


if __name__ == "__main__":
    main()
