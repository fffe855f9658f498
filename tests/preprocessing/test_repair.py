"""Defects that are planted are found, clean images keep their pixels, in every file format."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from alloyk.preprocessing import build_preprocessing, strips
from alloyk.preprocessing.repair import Repair, fill_borders, repair_pixels
from alloyk.preprocessing.scaling import RobustScale, percentiles
from alloyk.simulator.dataset.simulation import simulate_arrays


def simulated(preset="study", images=40, size=64, seed=3):
    """Counts of plates before a detector without dead pixels, `(n, size, size)` float32."""
    counts, _ = simulate_arrays(
        preset=preset,
        images=images,
        image_size=size,
        seed=seed,
        overrides={"detector.dead_pixels": 0},
    )
    return counts.astype(np.float32)


def noisy(shape=(20, 96, 96), seed=0):
    """A level of 1000 with a noise deviation of 10, which is known exactly here."""
    return np.random.default_rng(seed).normal(1000, 10, shape).astype(np.float32)


def repaired(images):
    return np.asarray(repair_pixels(tf.constant(images)))


@pytest.mark.parametrize("preset", ["study", "alloys5", "hard5", "easy"])
def test_clean_plates_keep_all_but_one_pixel_in_5000(preset):
    clean = simulated(preset)
    assert (np.asarray(Repair()(clean[..., None]))[..., 0] != clean).mean() < 1 / 5000


def test_95_percent_of_pixels_five_deviations_away_are_found():
    clean = noisy()
    planted = clean.copy()
    places = np.s_[:, 10::20, 10::20]
    planted[places] = 1000 + 10 * 5 * np.sign(clean[places] - 1000)
    found = repaired(planted)[places] != planted[places]
    assert found.mean() >= 0.95


def test_noise_alone_is_left_alone():
    clean = noisy()
    assert (repaired(clean) != clean).mean() < 1 / 5000


@pytest.mark.parametrize("value", [0.0, 16383.0])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2), (2, 1), (2, 2), (1, 64), (64, 1), (2, 64), (64, 2)]
)
def test_dead_and_hot_clusters_and_lines_become_their_surroundings(value, shape):
    clean = simulated(images=12)
    for row, column in ((20, 9), (41, 30), (5, 40)):
        at = np.s_[
            :,
            slice(0, 64) if shape[0] == 64 else slice(row, row + shape[0]),
            slice(0, 64) if shape[1] == 64 else slice(column, column + shape[1]),
        ]
        planted = clean.copy()
        planted[at] = value
        error = np.abs(repaired(planted) - clean)[at]
        planted_error = np.abs(planted - clean)[at]
        assert (error < np.maximum(0.35 * planted_error, 400)).mean() >= 0.9


def test_an_edge_one_line_wide_at_the_border_of_the_image_stays():
    ramp = np.tile(np.linspace(5000, 1000, 48, dtype=np.float32), (1, 40, 1))
    np.testing.assert_array_equal(repaired(ramp), ramp)
    step = np.where(np.arange(48) < 20, 4000, 500).astype(np.float32)
    step = np.tile(step, (1, 40, 1))
    np.testing.assert_array_equal(repaired(step), step)


def test_steps_of_one_count_in_an_8_bit_image_stay():
    image = np.full((1, 32, 32), 100, np.float32)
    image[0, ::5, ::7] += 1
    np.testing.assert_array_equal(repaired(image), image)


def test_dark_borders_are_continued_from_inside():
    image = simulated(images=2)
    framed = image.copy()
    framed[:, :2] = framed[:, -3:] = 20
    framed[:, :, :1] = framed[:, :, -2:] = 20
    expected = np.pad(image[:, 2:-3, 1:-2], ((0, 0), (2, 3), (1, 2)), mode="edge")
    np.testing.assert_array_equal(np.asarray(fill_borders(tf.constant(framed))), expected)
    np.testing.assert_array_equal(np.asarray(fill_borders(tf.constant(image))), image)


def test_a_wide_dark_part_is_the_object_and_not_a_border():
    image = simulated(images=2)
    image[:, :20] = 0
    np.testing.assert_array_equal(np.asarray(fill_borders(tf.constant(image))), image)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 40), (5, 5)])
def test_tiny_and_constant_images_pass(size):
    image = np.full((2, *size, 1), 7, np.float32)
    np.testing.assert_array_equal(np.asarray(Repair()(image)), image)


def test_repair_refuses_a_threshold_of_zero():
    with pytest.raises(ValueError, match="pixel_threshold must be > 0, got 0"):
        Repair(pixel_threshold=0)


def test_percentiles_equal_numpy_within_a_bin():
    images = simulated(images=5)[..., None]
    low, high = percentiles(tf.constant(images), (0.01, 0.9))
    for found, percent in ((low, 1), (high, 90)):
        # Between values, a histogram and an interpolation of the sorted values may differ.
        below, above = (
            np.percentile(images, percent + step, axis=(1, 2, 3)) for step in (-0.2, 0.2)
        )
        bins = np.ptp(images, axis=(1, 2, 3)) / 4096
        value = np.asarray(found).ravel()
        assert np.all((value >= below - bins) & (value <= above + bins))


@pytest.mark.parametrize("logarithm", [False, True])
def test_robust_scaling_ignores_gain_and_one_missed_pixel(logarithm):
    images = simulated(images=4)[..., None] + 50
    layer = RobustScale(logarithm=logarithm)
    plain = np.asarray(layer(images))
    assert plain.min() >= 0
    assert plain.max() <= 1
    np.testing.assert_allclose(np.asarray(layer(images * 3)), plain, atol=2e-4)
    hit = images.copy()
    hit[:, 5, 5] = 16383
    changed = np.array(layer(hit))
    changed[:, 5, 5] = plain[:, 5, 5]
    np.testing.assert_allclose(changed, plain, atol=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 0.6, "high": 0.5}, "0 <= low < high <= 1 must hold, got low=0.6, high=0.5"),
        ({"margin": 0.5}, "margin must be >= 0 and < 0.5, got 0.5"),
    ],
)
def test_robust_scaling_names_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RobustScale(**arguments)


def test_a_constant_image_has_no_contrast():
    image = np.full((1, 9, 9, 1), 500, np.float32)
    np.testing.assert_allclose(np.asarray(RobustScale()(image)), 0.05, atol=1e-6)


@pytest.mark.parametrize(
    ("normalize", "equalize"),
    [
        ("robust", True),
        pytest.param("robust", False, marks=pytest.mark.slow),
        ("log", False),
        pytest.param("log", True, marks=pytest.mark.slow),
    ],
)
def test_equal_numbers_in_keras_savedmodel_and_tflite(normalize, equalize, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    preprocessing = build_preprocessing(
        (24, 32), normalize=normalize, repair=True, equalize=equalize
    )
    images = simulated(images=3, size=40)[..., None]
    images[0, 7, 9] = 0
    images[1, :, 12] = 16383
    images[2, :2] = 0
    expected = preprocessing.predict(images, verbose=0)

    fixed = keras.Sequential([keras.Input((40, 40, 1), batch_size=1), preprocessing])
    fixed.export(tmp_path / "saved", verbose=False)
    saved = tf.saved_model.load(str(tmp_path / "saved")).serve
    in_saved = np.concatenate([saved(image[None]) for image in images])
    # ln(counts) near 2**14 has steps of 2**-20, so that two implementations differ by 1e-6, and
    # equalising multiplies that by the slope of the cumulative distribution.
    tolerance = 1e-5 if normalize == "log" and equalize else 2e-6
    np.testing.assert_allclose(in_saved, expected, atol=tolerance)

    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    for image, in_keras in zip(images, expected, strict=True):
        interpreter.set_tensor(entry["index"], image[None])
        interpreter.invoke()
        in_file = interpreter.get_tensor(result["index"])[0]
        np.testing.assert_allclose(in_file, in_keras, atol=tolerance)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_dark_border_on_all_sides_leaves_the_rest_as_it_was(depth):
    clean = simulated(images=30)[..., None]
    framed = np.zeros_like(clean)
    inner = np.s_[:, depth:-depth, depth:-depth]
    framed[inner] = clean[inner]
    found = np.asarray(Repair()(framed))
    assert (found[inner] != clean[inner]).mean() < 3e-3
    assert (found > 0).all()


def framed_plate(height, width, seed):
    """Waves with noise, planted pixels, rows and columns, and a dark border on two sides."""
    rng = np.random.default_rng(seed)
    image = 8000 + 3000 * np.sin(np.arange(height) / 50)[:, None] + np.linspace(0, 2000, width)
    image += rng.normal(0, 1, (height, width)) * np.sqrt(image)
    image[rng.integers(0, height, 90), rng.integers(0, width, 90)] = 0
    image[height // 3], image[:, width // 4] = 16000, 0
    image[:3], image[:, -2:] = 0, 5
    return np.rint(image).clip(0, 16383).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "channels"),
    [
        ((151, 97), 1),
        ((3, 60), 3),
        *(
            pytest.param(size, channels, marks=pytest.mark.slow)
            for size, channels in [((151, 97), 3), ((3, 60), 1), ((7, 5), 1), ((7, 5), 3)]
        ),
        ((1, 1), 1),
        pytest.param((1, 1), 3, marks=pytest.mark.slow),
    ],
)
def test_strips_give_the_same_numbers_bit_for_bit(size, channels, monkeypatch):
    monkeypatch.setattr(strips, "STRIP_PIXELS", 1500)  # strips of 15 rows
    preprocessing = build_preprocessing((24, 32), normalize="robust", repair=True, equalize=True)
    plates = [framed_plate(*size, seed) if min(size) > 9 else np.full(size, 7.0) for seed in (0, 1)]
    images = np.repeat(np.stack(plates)[..., None], channels, axis=3).astype(np.float32)
    any_size = tf.TensorSpec((None, None, None, None))

    def traced(way, signature):
        def call(image):
            with way():
                return preprocessing(image)

        return tf.function(call, input_signature=[signature], autograph=False)

    expected = traced(contextlib.nullcontext, any_size)(images)
    np.testing.assert_array_equal(traced(strips.looped, any_size)(images), expected)
