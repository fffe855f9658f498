"""The layers against other libraries, and the same numbers inside tf.data and inside a model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from skimage.exposure import equalize_hist

from alloyk.preprocessing import Standardize, build_preprocessing, resize_weights
from alloyk.preprocessing.layers import Equalize, FullScale, Grayscale, Log, MinMax, Resize
from alloyk.preprocessing.scaling import histogram


def counts(shape=(3, 40, 56, 1), seed=0):
    """14-bit detector counts as decoded."""
    rng = np.random.default_rng(seed)
    return np.minimum(rng.gamma(3, 1500, shape), 16383).round().astype(np.float32)


def as_array(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_grayscale_equals_pillow(channels, mode):
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels.squeeze(), mode).convert("L"), np.float32)
    gray = as_array(Grayscale()(pixels[None].astype(np.float32)))
    assert gray.shape == (1, 5, 7, 1)
    # Pillow rounds to whole counts.
    np.testing.assert_allclose(gray[0, ..., 0], expected, atol=0.51)


def test_grayscale_leaves_gray_stored_as_rgb_and_ignores_alpha():
    gray = counts((2, 4, 4, 1))
    np.testing.assert_allclose(as_array(Grayscale()(np.repeat(gray, 3, -1))), gray, rtol=1e-6)
    with_alpha = np.concatenate([gray, np.full_like(gray, 7)], -1)
    np.testing.assert_array_equal(as_array(Grayscale()(with_alpha)), gray)


def test_minmax_works_per_image_and_keeps_a_constant_image_at_zero():
    images = np.stack([np.full((4, 4, 1), 500.0), np.linspace(2, 10, 16).reshape(4, 4, 1)])
    scaled = as_array(MinMax()(images.astype(np.float32)))
    assert not scaled[0].any()
    np.testing.assert_allclose(scaled[1].ravel(), np.linspace(0, 1, 16), atol=1e-6)


def test_minmax_does_not_blow_rounding_errors_up_to_full_contrast():
    nearly_constant = 30000 + np.random.default_rng(0).normal(0, 0.004, (1, 8, 8, 1))
    assert np.ptp(as_array(MinMax()(nearly_constant.astype(np.float32)))) < 0.02


def test_log_of_counts_survives_a_dead_pixel():
    images = counts((1, 6, 6, 1)) + 100
    images[0, 0, 0] = 0
    logarithm = as_array(Log()(images))
    assert np.isfinite(logarithm).all()
    np.testing.assert_allclose(logarithm[0, 1:], np.log(images[0, 1:]), rtol=1e-6)


@pytest.mark.parametrize("power", [-60, -30, 30])
@pytest.mark.parametrize("normalize", ["min_max", "robust", "log"])
def test_the_unit_of_the_values_does_not_matter(normalize, power):
    images = counts((2, 32, 32, 1)) + 100
    prepared = build_preprocessing((32, 32), normalize=normalize)
    scaled = prepared(images * np.float32(2.0**power))  # exact in float32
    np.testing.assert_allclose(as_array(scaled), as_array(prepared(images)), atol=2e-5)


@pytest.mark.parametrize("levels", [256, 1024, 4096])
def test_equalize_equals_scikit_image(levels):
    # Values in general position: no pixel lies on the edge between two bins.
    images = np.random.default_rng(2).random((3, 40, 56, 1)).astype(np.float32) ** 3
    expected = np.stack([equalize_hist(image[..., 0].astype(float), levels) for image in images])
    result = as_array(Equalize(levels)(images))[..., 0]
    assert np.abs(result - expected).max() < 2.5 / (40 * 56)  # a pixel or two next to an edge
    assert np.abs(result - expected).mean() < 1e-5


def test_equalize_ignores_any_rising_change_of_brightness():
    images = counts((1, 64, 64, 1))
    first, second = as_array(Equalize()(images)), as_array(Equalize()(0.3 * images + 77))
    np.testing.assert_allclose(first, second, atol=3 / 64**2)


def test_more_pixels_than_a_sum_in_float32_can_count():
    image = np.ones((1, 4200, 4200, 1), np.float32)
    image[:, :100] = 0.5
    dark, bright = 100 * 4200, 4100 * 4200
    assert bright > 2**24
    found = histogram(image, np.float32(0.5), np.float32(0.5), 4)
    assert as_array(found).tolist() == [[dark, 0, 0, bright]]


def test_equalize_keeps_more_grey_values_than_eight_bits_have():
    ramp = np.linspace(0, 16383, 64 * 64, dtype=np.float32).reshape(1, 64, 64, 1)
    assert len(np.unique(as_array(Equalize()(ramp)))) > 4000


@pytest.mark.parametrize("size", [(20, 28), (33, 17), (40, 56), (96, 80)])
def test_resize_equals_tensorflow(size):
    images = counts()
    expected = tf.image.resize(images, size, antialias=True).numpy()
    np.testing.assert_allclose(as_array(Resize(size)(images)), expected, rtol=2e-5)


def test_resize_equals_pillow():
    image = counts((1, 200, 300, 1))
    expected = Image.fromarray(image[0, ..., 0]).resize((64, 48), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(as_array(Resize((48, 64))(image))[0, ..., 0], expected, rtol=1e-4)


def test_resize_weights_sum_to_one():
    for sizes in ((7, 3), (3, 7), (800, 224), (1, 5)):
        np.testing.assert_allclose(as_array(resize_weights(*sizes)).sum(axis=1), 1, rtol=1e-6)


def test_standardize_turns_three_means_into_three_channels():
    image = np.full((1, 2, 2, 1), 0.5, np.float32)
    result = as_array(Standardize((0.1, 0.2, 0.3), (1, 2, 4))(image))
    np.testing.assert_allclose(result[0, 0, 0], [0.4, 0.15, 0.05], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Equalize(1), "levels must be >= 2, got 1"),
        (lambda: FullScale(0), "full_scale must be > 0, got 0"),
        (lambda: Standardize((0, 0), (1,)), "same length"),
        (lambda: Standardize((0,), (0,)), "std must be > 0"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


SETTINGS = [
    {"equalize": True},
    {"normalize": "robust", "repair": True},
    {"normalize": "log", "repair": True, "equalize": True},
    {"equalize": True, "order": "resize_first"},
    {"normalize": "log"},
    {"normalize": "full_scale", "full_scale": 65535.0},
    {"normalize": "none", "equalize": True, "levels": 1024},
]


@pytest.mark.parametrize(
    ("channels", "settings"),
    [
        *((1, settings) for settings in SETTINGS),
        # Colour becomes gray before all else: the graph of repair need not be traced again.
        *(
            pytest.param(3, settings, marks=[pytest.mark.slow] * settings.get("repair", False))
            for settings in SETTINGS
        ),
    ],
)
def test_same_numbers_in_the_pipeline_and_in_a_saved_model(settings, channels, tmp_path):
    preprocessing = build_preprocessing((24, 32), **settings)
    layers = [keras.Input((None, None, None)), preprocessing, Standardize([0], [1])]
    model = keras.Sequential(layers)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    images = counts((4, 40, 56, channels))
    singles = tf.data.Dataset.from_tensor_slices(images)
    batches = singles.map(lambda image: preprocessing(image[None]))
    piped = np.concatenate(list(batches.as_numpy_iterator()))
    # As decoded: whole numbers of the file's own type.
    in_model = loaded.predict(images.astype(np.uint16), verbose=0)
    assert piped.min() >= 0
    assert piped.max() <= 1
    np.testing.assert_allclose(in_model, piped, atol=1e-6)
    one_by_one = np.concatenate([loaded.predict(image[None], verbose=0) for image in images])
    np.testing.assert_allclose(one_by_one, piped, atol=1e-6)


def test_preprocessing_stays_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        result = build_preprocessing((8, 8), normalize="log")(counts((1, 9, 9, 1)))
    finally:
        keras.config.set_dtype_policy("float32")
    assert as_array(result).dtype == np.float32
    assert np.isfinite(as_array(result)).all()
