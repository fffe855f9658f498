"""What defect repair changes and what it finds: the numbers in docs/preprocessing.md.

    .venv/bin/python scripts/repair_check.py [--images 300] [--real ../shared/data]

Clean plates come from the simulator with `detector.dead_pixels=0`; the local noise is known there,
because the noise-free image is. A planted pixel differs from the noise-free value by the given
number of noise deviations, up or down; *standing out* are planted pixels of any size that differ
from the median of their 5×5 surroundings by at least five deviations of these (1.4826 times their
median absolute deviation, slope of the object included). About a minute on one core.
"""

import argparse
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from alloyk.imaging import read_image
from alloyk.preprocessing import build_preprocessing
from alloyk.preprocessing.repair import NOISE_PER_DIFFERENCE, Repair, noise_deviation
from alloyk.simulator.ceiling.fisher import Reduction, coefficient_covariance
from alloyk.simulator.ceiling.reference import reference_ceiling
from alloyk.simulator.dataset.recipe import make_recipe
from alloyk.simulator.dataset.render import Simulator
from alloyk.simulator.physics.forward import plate_depth

PRESETS = ("study", "alloys5", "hard5", "easy")
SIZE = 64
DEVIATIONS = (5, 6, 8)


def plates(preset, images):
    """Counts, noise-free counts and noise deviation of simulated plates, `(n, 64, 64)` each."""
    recipe = make_recipe(
        preset, images=images, image_size=SIZE, seed=3, overrides={"detector.dead_pixels": 0}
    )
    simulator = Simulator(recipe)
    panel = simulator.panel
    counts, means, deviations = [], [], []
    for planned in recipe.plan():
        expected = simulator.expected(planned)
        counts.append(simulator.image(planned))
        scale = panel.counts_per_photon * panel.gain
        means.append(expected.signal * scale + panel.offset_counts)
        variance = expected.variance + panel.electronic_noise**2
        deviations.append(np.sqrt(variance) * scale)
    return tuple(np.stack(kind).astype(np.float32) for kind in (counts, means, deviations))


def repaired(images):
    """Images `(n, height, width)` after repair."""
    layer = Repair()
    parts = np.array_split(images[..., None], -(-len(images) // 64))
    return np.concatenate([layer(part) for part in parts])[..., 0]


def found(counts, means, deviations, size, times, rng):
    """Share of planted squares' pixels that are replaced; planted 12 pixels apart."""
    planted = counts.copy()
    where = np.zeros(counts.shape, bool)
    for down in range(size):
        for right in range(size):
            where[:, 6 + down : -4 : 12, 6 + right : -4 : 12] = True
    sign = rng.choice([-1, 1], counts.shape)
    value = np.rint(means + sign * times * deviations)
    usable = where & (value >= 0) & (value <= 16383)
    planted[usable] = value[usable]
    return (repaired(planted) != planted)[usable].mean()


def standing_out_found(counts, deviations, rng):
    """Share of planted pixels that are replaced, of those that stand out from 5×5 pixels."""
    planted = counts.copy()
    where = np.zeros(counts.shape, bool)
    where[:, 6:-4:12, 6:-4:12] = True
    size = rng.uniform(4, 40, counts.shape) * rng.choice([-1, 1], counts.shape)
    planted[where] = np.clip(np.rint(counts + size * deviations), 0, 16383)[where]
    windows = np.lib.stride_tricks.sliding_window_view(planted, (5, 5), axis=(1, 2))
    windows = windows.reshape(*windows.shape[:3], 25)
    median = np.median(windows, axis=-1)
    spread = 1.4826 * np.median(np.abs(windows - median[..., None]), axis=-1)
    inner = np.s_[:, 2:-2, 2:-2]
    stands_out = where[inner] & (np.abs(planted[inner] - median) >= 5 * spread)
    return (repaired(planted) != planted)[inner][stands_out].mean()


def line_found(counts, value, axis, width):
    """Share of the pixels of a dead or hot line that are replaced."""
    shares = []
    for at in range(5, SIZE - 5, 9):
        planted = counts.copy()
        line = np.s_[:, at : at + width] if axis == 0 else np.s_[:, :, at : at + width]
        planted[line] = value
        shares.append((repaired(planted) != planted)[line].mean())
    return np.mean(shares)


def speed():
    """Images of 96² per second of processor time on one thread, best of eight."""
    batch = tf.constant(np.random.default_rng(0).normal(1000, 10, (32, 96, 96, 1)), tf.float32)
    graph = tf.function(Repair().call)
    graph(batch)
    seconds = []
    for _ in range(8):
        start = time.process_time()
        for _ in range(4):
            graph(batch)
        seconds.append((time.process_time() - start) / 4)
    return 32 / min(seconds)


def largest_difference(images):
    """Between Keras, and SavedModel and TFLite, of the whole default preprocessing."""
    from ai_edge_litert.interpreter import Interpreter

    preprocessing = build_preprocessing((SIZE, SIZE), normalize="robust", repair=True)
    expected = preprocessing.predict(images, verbose=0)
    fixed = keras.Sequential([keras.Input(images.shape[1:], batch_size=1), preprocessing])
    with tempfile.TemporaryDirectory() as folder:
        fixed.export(folder, verbose=False)
        saved = tf.saved_model.load(folder).serve
        in_saved = np.concatenate([saved(image[None]) for image in images])
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    in_file = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        in_file.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return [float(np.abs(other - expected).max()) for other in (in_saved, np.stack(in_file))]


def noise_factor():
    """What `NOISE_PER_DIFFERENCE` has to be, from normal random numbers."""
    images = np.random.default_rng(1).normal(1000, 1, (200, 96, 96)).astype(np.float32)
    return NOISE_PER_DIFFERENCE / float(np.mean(noise_deviation(images)))


def ceiling_loss(preset, images):
    """What repair costs the reference ceiling, at most: mean, and its Monte Carlo error, in points.

    A pixel that repair changes on a clean plate is taken to lose all its information. The
    plate's covariance without these pixels over that with all gives a share of lost information;
    the ceiling is computed again with so many dead pixels, from the same random numbers.

    Returns:
        Mean share of lost information, change of the ceiling, error of the ceiling.
    """
    recipe = make_recipe(
        preset, images=images, image_size=SIZE, seed=4, overrides={"detector.dead_pixels": 0}
    )
    simulator = Simulator(recipe)
    beam = simulator.beam
    reduction = Reduction(beam)
    lost = []
    for planned in recipe.plan():
        counts = simulator.image(planned).astype(np.float32)
        kept = repaired(counts[None])[0] == counts
        depth = plate_depth(beam, planned.plate, planned.now.tilt_deg)
        found = [
            coefficient_covariance(beam, planned.now, depth, SIZE, reduction, pixels)
            for pixels in (np.ones_like(kept), kept)
        ]
        before, after = (np.linalg.det(one) ** 0.5 for one in found)
        lost.append(1 - before / after)
    share = float(np.mean(lost))
    dead = recipe.parameters.detector.model_copy(update={"dead_pixels": share})
    less = recipe.parameters.model_copy(update={"detector": dead})
    all_of_it = reference_ceiling(recipe.parameters, SIZE)
    rest = reference_ceiling(less, SIZE)
    return share, 100 * (rest.accuracy - all_of_it.accuracy), 100 * all_of_it.error


def real(folder):
    """Share of changed pixels in other people's images."""
    castings = sorted(folder.glob("castings/*/*/*"))[::5]
    radiographs = sorted(folder.glob("radiographs16/*"))
    for name, paths in (("castings", castings), ("radiographs16", radiographs)):
        images = np.stack([read_image(path)[..., 0] for path in paths]).astype(np.float32)
        changed = repaired(images) != images
        moved = np.abs(repaired(images) - images)[changed].mean() / images.std()
        print(f"{name}: {changed.mean():.2e} of the pixels changed, by {moved:.2f} deviations")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--real", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    print("preset | changed when clean | found standing out | at 5, 6, 8 deviations | 2×2 at 8")
    for preset in PRESETS:
        counts, means, deviations = plates(preset, arguments.images)
        changed = (repaired(counts) != counts).mean()
        single = [found(counts, means, deviations, 1, times, rng) for times in DEVIATIONS]
        cluster = found(counts, means, deviations, 2, 8, rng)
        shares = ", ".join(f"{share:.3f}" for share in single)
        out = standing_out_found(counts, deviations, rng)
        print(f"{preset} | {changed:.2e} | {out:.3f} | {shares} | {cluster:.3f}")
    print("preset | information lost | ceiling, points | its Monte Carlo error")
    for preset in PRESETS:
        share, change, error = ceiling_loss(preset, min(arguments.images, 100))
        print(f"{preset} | {share:.2e} | {change:+.3f} | {error:.3f}")
    for name, value in (("dead", 0), ("hot", 16383)):
        few = plates("study", 20)[0]
        lines = [line_found(few, value, axis, width) for axis in (0, 1) for width in (1, 2)]
        print(f"{name} lines, rows of 1 and 2, columns of 1 and 2:", np.round(lines, 3).tolist())
    print("noise factor:", round(noise_factor(), 4), "in use:", round(NOISE_PER_DIFFERENCE, 4))
    print(f"speed: {speed():.0f} images/s at 96² on one thread")
    few = plates("study", 20)[0][..., None]
    few[:5, 20, 30], few[5:10, 12], few[10:15, :2] = 0, 16383, 0
    print("largest difference to SavedModel, TFLite:", largest_difference(few))
    if arguments.real.is_dir():
        real(arguments.real)


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    main()
