"""Each change by itself against NumPy, and the whole: repeatable, inside [0, 1], per image."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import rotate
from tensorflow.python.framework import config as framework_config
from tensorflow.python.ops import stateful_random_ops

from alloyk.preprocessing.augmentation import Augmentation

EVERYTHING = {
    "horizontal_flip": True, "vertical_flip": True, "rotation_deg": 20, "scale": 0.2,
    "shift": 0.1, "crop": 0.2, "elastic": 0.03, "brightness": 0.2, "contrast": 0.2,
    "cutout": 0.25, "grid_mask": 0.4, "erasing": 0.5, "noise": 0.05,
    "orientation": True, "blur": 0.8, "response": 0.2, "defects": 0.02, "border": 0.1,
}  # fmt: skip


def images(n=16, height=24, width=32, seed=0):
    return np.random.default_rng(seed).random((n, height, width, 1)).astype(np.float32)


def apply(settings, batch, seed=(0, 1)):
    return np.asarray(Augmentation(**settings)(batch, np.asarray(seed)))


def test_nothing_is_on_by_default():
    assert not Augmentation().active
    np.testing.assert_array_equal(apply({}, images()), images())


@pytest.mark.parametrize("name", EVERYTHING)
def test_each_change_is_repeatable_stays_in_range_and_differs_between_images(name):
    same = np.repeat(images(1) * 0.8 + 0.1, 16, axis=0)
    setting = {name: EVERYTHING[name]}
    assert Augmentation(**setting).active
    first = apply(setting, same)
    np.testing.assert_array_equal(first, apply(setting, same))
    assert (first != apply(setting, same, seed=(0, 2))).any()
    assert first.min() >= 0
    assert first.max() <= 1
    assert first.shape == same.shape
    assert len(np.unique(first.reshape(16, -1), axis=0)) > 1


@pytest.mark.parametrize(("setting", "axis"), [("horizontal_flip", 1), ("vertical_flip", 0)])
def test_flip_is_exact_and_happens_half_the_time(setting, axis):
    batch = images(400)
    result = apply({setting: True}, batch)
    flipped = np.array(
        [np.allclose(r, np.flip(b, axis), atol=1e-6) for r, b in zip(result, batch, strict=True)]
    )
    kept = np.array([np.allclose(r, b, atol=1e-6) for r, b in zip(result, batch, strict=True)])
    assert (flipped ^ kept).all()
    assert 160 < flipped.sum() < 240  # 4 standard deviations


def test_rotation_turns_about_the_centre_within_its_limit():
    yy, xx = np.mgrid[:65, :65] / 32 - 1
    blob = np.exp(-((xx - 0.4) ** 2 + yy**2) / 0.02).astype(np.float32)[None, ..., None]
    angles = []
    for seed in range(40):
        result = apply({"rotation_deg": 30}, blob, (0, seed))[0, ..., 0]
        x, y = (result * xx).sum() / result.sum(), (result * yy).sum() / result.sum()
        assert np.hypot(x, y) == pytest.approx(0.4, abs=0.01)
        angles.append(np.degrees(np.arctan2(-y, x)))
        expected = rotate(blob[0, ..., 0], angles[-1], reshape=False, order=1, mode="reflect")
        np.testing.assert_allclose(result, expected, atol=0.03)
    assert max(np.abs(angles)) < 30.5
    assert min(angles) < -10
    assert max(angles) > 10


def test_shift_moves_by_whole_image_parts():
    row = np.zeros((200, 1, 101, 1), np.float32)
    row[:, :, 50] = 1
    result = apply({"shift": 0.2}, row)
    moved = (result[:, 0, :, 0] * np.arange(101)).sum(1) / np.maximum(
        result[:, 0, :, 0].sum(1), 1e-6
    )
    moved = moved[result[:, 0, :, 0].sum(1) > 0.99] - 50
    assert np.abs(moved).max() < 0.2 * 101 + 1
    assert np.ptp(moved) > 20


def test_contrast_keeps_the_mean_and_brightness_moves_it():
    batch = images() * 0.2 + 0.4
    means = batch.mean((1, 2, 3))
    contrasted = apply({"contrast": 0.3}, batch)
    np.testing.assert_allclose(contrasted.mean((1, 2, 3)), means, rtol=1e-5)
    ratio = contrasted.std((1, 2, 3)) / batch.std((1, 2, 3))
    assert 0.69 < ratio.min() < 0.9
    assert 1.1 < ratio.max() < 1.31
    brightened = apply({"brightness": 0.3}, batch)
    offset = brightened - batch
    np.testing.assert_allclose(offset.std((1, 2, 3)), 0, atol=1e-6)
    assert 0.1 < np.abs(offset).max() <= 0.3


def test_cutout_sets_one_square_of_the_wanted_size_to_the_mean():
    batch = images(8, 32, 32)
    result = apply({"cutout": 0.25}, batch)
    for before, after in zip(batch, result, strict=True):
        rows, columns = np.nonzero((before != after)[..., 0])
        assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == 8
        np.testing.assert_allclose(after[rows, columns], before.mean(), rtol=1e-5)


def test_grid_mask_in_a_deterministic_training(monkeypatch):
    """Then TensorFlow refuses to make the global generator that KerasCV asks for."""
    monkeypatch.setattr(stateful_random_ops, "global_generator", None)
    monkeypatch.setattr(framework_config, "is_op_determinism_enabled", lambda: True)
    batch = np.random.default_rng(0).random((2, 16, 16, 1)).astype(np.float32)
    assert (apply({"grid_mask": 0.4}, batch) != batch).any()


def test_grid_mask_sets_a_share_of_each_image_to_its_mean():
    """Squares of 0.4 of the period cover 0.16 of the plane; the grid starts at random places."""
    batch = images(40, 40, 40)
    result = apply({"grid_mask": 0.4}, batch)
    masked = (result != batch)[..., 0]
    assert masked.mean() == pytest.approx(0.16, abs=0.03)
    for before, after, inside in zip(batch, result, masked, strict=True):
        np.testing.assert_allclose(after[inside], before.mean(), rtol=1e-5)
        # A row is masked in the columns of every square, or not at all.
        assert len({tuple(row) for row in inside if row.any()}) == 1


def test_erasing_happens_as_often_and_as_large_as_it_says():
    batch = images(400, 40, 40)
    part = (apply({"erasing": 0.5}, batch) != batch).mean((1, 2, 3))
    assert 160 < (part > 0).sum() < 240
    assert part.max() < 0.37
    assert part[part > 0].mean() == pytest.approx((0.02 + 0.33) / 2, abs=0.03)


def test_noise_has_the_wanted_spread():
    flat = np.full((4, 64, 64, 1), 0.5, np.float32)
    noise = apply({"noise": 0.05}, flat) - flat
    assert noise.std() == pytest.approx(0.05, rel=0.03)
    assert noise.mean() == pytest.approx(0, abs=0.002)


def test_elastic_displaces_by_about_its_strength():
    xx = np.mgrid[:64, :64][1].astype(np.float32) / 63
    ramp = np.repeat(xx[None, ..., None], 64, axis=0)
    moved = (apply({"elastic": 0.02}, ramp) - ramp)[:, 16:-16, 16:-16] * 63 / 64
    assert 0.01 < moved.std() < 0.03


def test_works_inside_tf_data_with_an_unknown_batch_size():
    augmentation = Augmentation(**EVERYTHING)
    batches = tf.data.Dataset.from_tensor_slices(images(5)).batch(2).enumerate()
    changed = batches.map(lambda i, x: augmentation(x, tf.stack([0, tf.cast(i, tf.int32)])))
    assert [len(batch) for batch in changed] == [2, 2, 1]


def test_orientation_shows_all_eight_equally_often():
    batch = np.repeat(images(1, 16, 16), 800, axis=0)
    result = apply({"orientation": True}, batch)[..., 0]
    one = batch[0, ..., 0]
    eight = [np.rot90(turned, k) for turned in (one, one.T) for k in range(4)]
    counts = [np.all(result == orientation, axis=(1, 2)).sum() for orientation in eight]
    assert sum(counts) == 800
    assert min(counts) > 60  # 100 expected, 4 standard deviations
    assert max(counts) < 140


def test_blur_keeps_the_sum_and_has_the_wanted_variance():
    point = np.zeros((300, 15, 15, 1), np.float32)
    point[:, 7, 7] = 1
    result = apply({"blur": 0.8}, point)[..., 0].astype(float)
    np.testing.assert_allclose(result.sum((1, 2)), 1, rtol=1e-5)
    variance = (result.sum(1) * (np.arange(15) - 7) ** 2).sum(1)
    assert 0.6 < np.sqrt(variance.max()) <= 0.801
    assert np.sqrt(variance.clip(0)).mean() == pytest.approx(0.4, abs=0.06)


def test_defects_and_border_spare_every_second_image_and_have_their_share():
    batch = images(400, 40, 40) * 0.8 + 0.1
    dead = apply({"defects": 0.01}, batch) == 0
    hot = apply({"defects": 0.01}, batch) == 1
    assert dead.mean() == pytest.approx(0.005, rel=0.15)
    assert hot.mean() == pytest.approx(0.005, rel=0.15)
    assert 160 < (~(dead | hot).any((1, 2, 3))).sum() < 240
    dark = apply({"border": 0.1}, batch) == 0
    assert not dark[:, 5:-5, 5:-5].any()
    assert 150 < (~dark.any((1, 2, 3))).sum() < 260


def test_response_is_smooth_over_a_constant_image():
    flat = np.full((200, 24, 24, 1), 0.5, np.float32)
    result = apply({"response": 0.1}, flat)[..., 0]
    assert np.abs(np.diff(result, n=3, axis=1)).max() < 1e-4
    assert result.mean() == pytest.approx(0.5, abs=0.02)
    assert 0.05 < np.abs(result - 0.5).max() <= 0.1 + 0.5 * 0.4 + 1e-6
