"""Samples of several channels: each is preprocessed alone, all are moved together."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from alloyk.preprocessing import Standardize
from alloyk.preprocessing.augmentation import Augmentation
from alloyk.preprocessing.layers import build_preprocessing


@pytest.fixture(scope="module")
def raw():
    """`(3, 40, 48, 3)` plates on a ramp, each channel at another level, with a dead pixel."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :48]
    scene = 9000 - 120 * columns - 2500 * (rows > 20)
    levels = np.array([1.0, 0.8, 1.5])[:, None] * np.array([1.0, 0.6, 0.3])
    images = scene[None, :, :, None] * levels[:, None, None, :]
    images = images + rng.normal(0, 30, images.shape)
    images[:, 7, 9, 1] = 0
    return images.round().clip(1, None).astype(np.float32)


@pytest.mark.parametrize("normalize", ["robust", "min_max", "log"])
@pytest.mark.parametrize("order", ["equalize_first", "resize_first"])
def test_each_channel_is_preprocessed_as_a_gray_image(raw, normalize, order):
    options = {"normalize": normalize, "repair": True, "equalize": True, "order": order}
    together = build_preprocessing((24, 32), channels=3, **options)
    alone = build_preprocessing((24, 32), **options)
    assert together.output_shape == (None, 24, 32, 3)
    found = np.asarray(together(raw))
    for channel in range(3):
        expected = np.asarray(alone(raw[..., channel : channel + 1]))[..., 0]
        # The logarithm of a pixel depends in its last bit on the place in memory.
        atol = 1e-5 if normalize == "log" else 0
        np.testing.assert_allclose(found[..., channel], expected, rtol=0, atol=atol)


def test_channels_are_turned_upright_together(raw):
    upright = build_preprocessing((24, 24), channels=3, upright=True)
    expected = np.asarray(upright(raw))
    plain = build_preprocessing((24, 24), channels=3)
    np.testing.assert_allclose(np.asarray(plain(raw)), expected, atol=1e-6)
    for turned in (raw[:, ::-1], raw[:, :, ::-1], np.rot90(raw, axes=(1, 2))):
        np.testing.assert_allclose(np.asarray(upright(turned.copy())), expected, atol=2e-3)


def test_saved_layers_load_again(raw, tmp_path):
    layers = build_preprocessing((24, 24), channels=3, upright=True)
    layers.save(tmp_path / "layers.keras")
    loaded = keras.saving.load_model(tmp_path / "layers.keras")
    np.testing.assert_array_equal(np.asarray(loaded(raw)), np.asarray(layers(raw)))


def test_each_channel_may_be_standardised_by_numbers_of_its_own():
    layer = Standardize((0.5, 0.25), (1.0, 0.5))
    images = np.full((1, 2, 2, 2), 0.5, np.float32)
    np.testing.assert_allclose(np.asarray(layer(images))[0, 0, 0], [0.0, 0.5])
    assert layer.compute_output_shape((None, 4, 4, 2)) == (None, 4, 4, 2)


GEOMETRY = {
    "rotation_deg": 20, "shift": 0.1, "crop": 0.2, "scale": 0.1, "elastic": 0.02,
    "orientation": True, "border": 0.2, "cutout": 0.3, "horizontal_flip": True,
}  # fmt: skip


@pytest.mark.parametrize("name", GEOMETRY)
def test_geometry_is_one_for_all_channels(name):
    image = np.random.default_rng(1).random((8, 20, 20, 1), np.float32)
    same = tf.constant(np.repeat(image, 3, axis=3))
    found = Augmentation(**{name: GEOMETRY[name]})(same, (1, 2)).numpy()
    assert not np.array_equal(found, same)
    np.testing.assert_array_equal(found[..., 0], found[..., 1])
    np.testing.assert_array_equal(found[..., 0], found[..., 2])


@pytest.mark.parametrize(
    "setting",
    [{"response": 0.1}, {"defects": 0.1}, {"noise": 0.1}, {"brightness": 0.2}, {"contrast": 0.2}],
)
def test_detector_and_noise_are_of_each_channel(setting):
    image = 0.3 + 0.4 * np.random.default_rng(1).random((8, 20, 20, 1), np.float32)
    same = tf.constant(np.repeat(image, 3, axis=3))
    found = Augmentation(**setting)(same, (1, 2)).numpy()
    changed = [not np.array_equal(one[..., 0], one[..., 1]) for one in found]
    assert sum(changed) >= 3  # defects leave half of the images alone
    first = Augmentation(**setting)(tf.constant(image), (1, 2)).numpy()
    assert first.shape == image.shape
