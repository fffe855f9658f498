"""MixUp: the images, the shares and the loss are those of the paper's formulas."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from alloyk.config import resolve_config
from alloyk.errors import ConfigError
from alloyk.pipeline import KeptImages, training_batches
from alloyk.preprocessing.augmentation import Augmentation
from alloyk.preprocessing.mixup import mix_pairs
from alloyk.training.losses import LOSSES, build_loss
from alloyk.training.losses.mixed import MixedAccuracy, MixedLoss

SEED = np.array([3, 4], np.int64)


def mixed(n=64, alpha=0.4):
    images = np.random.default_rng(0).random((n, 3, 5, 1)).astype(np.float32)
    return images, *map(np.asarray, mix_pairs(images, np.arange(n), SEED, alpha))


def test_each_image_is_the_weighted_sum_of_the_two_it_names():
    images, found, truth = mixed()
    first, second = truth[:, 0].astype(int), truth[:, 1].astype(int)
    share = truth[:, 2, None, None, None]
    np.testing.assert_array_equal(first, np.arange(64))
    assert sorted(second) == sorted(first)
    expected = share * images[first] + (1 - share) * images[second]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_are_drawn_from_the_beta_distribution(alpha):
    _, _, truth = mixed(4000, alpha)
    assert stats.kstest(truth[:, 2], stats.beta(alpha, alpha).cdf).pvalue > 0.01


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_the_weighted_sum_of_the_losses_of_both_classes(name):
    logits = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    truth = np.array([[0, 1, 0.3], [1, 1, 0.9], [2, 0, 1], [0, 2, 0], [1, 2, 0.5]], np.float32)
    plain = build_loss(name, class_counts=[5, 3, 2], **LOSSES_OPTIONS.get(name, {}))

    def each(classes):
        return np.array([plain([c], logits[i : i + 1]) for i, c in enumerate(classes)])

    expected = truth[:, 2] * each(truth[:, 0]) + (1 - truth[:, 2]) * each(truth[:, 1])
    np.testing.assert_allclose(MixedLoss(plain)(truth, logits), expected.mean(), rtol=1e-5)
    labels = truth[:, 0].astype(int)
    np.testing.assert_allclose(MixedLoss(plain)(labels, logits), plain(labels, logits), rtol=1e-6)


LOSSES_OPTIONS = {
    "cross_entropy": {"label_smoothing": 0.1},
    "focal": {"gamma": 2.0},
    "class_balanced": {"beta": 0.9, "label_smoothing": 0.0},
    "class_balanced_focal": {"beta": 0.9, "gamma": 2.0},
    "balanced_softmax": {"tau": 1.0, "label_smoothing": 0.0},
}


def test_accuracy_counts_the_class_with_the_larger_share():
    accuracy = MixedAccuracy()
    logits = np.eye(3, dtype=np.float32)
    accuracy.update_state([[0, 1, 0.6], [0, 1, 0.4], [2, 1, 0.4]], logits)
    assert float(accuracy.result()) == pytest.approx(2 / 3)
    accuracy.reset_state()
    accuracy.update_state([0, 1, 0], logits)
    assert float(accuracy.result()) == pytest.approx(2 / 3)


def test_an_epoch_is_mixed_the_same_way_when_it_is_repeated():
    images = KeptImages(np.random.default_rng(0).random((20, 4, 4, 1)).astype(np.float32))

    def epoch(first):
        batches = training_batches(
            images, np.arange(20) % 2, batch_size=8, seed=5, epochs=3, first_epoch=first,
            augmentation=Augmentation(mixup=0.4),
        )  # fmt: skip
        return list(batches.as_numpy_iterator())[-3:]

    for (one, truth), (again, same) in zip(epoch(0), epoch(2), strict=True):
        np.testing.assert_array_equal(one, again)
        np.testing.assert_array_equal(truth, same)


def test_a_network_learns_from_mixed_images():
    network = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    loss = MixedLoss(build_loss("cross_entropy", class_counts=[10, 10], label_smoothing=0.0))
    network.compile(keras.optimizers.Adam(0.05), loss, metrics=[MixedAccuracy(name="accuracy")])
    labels = np.arange(200) % 2
    images = (labels[:, None, None, None] + np.zeros((200, 4, 4, 1))).astype(np.float32)
    batches = training_batches(
        KeptImages(images), labels, batch_size=20, seed=5, epochs=5,
        augmentation=Augmentation(mixup=0.4),
    )  # fmt: skip
    network.fit(batches, verbose=0)
    plain = tf.data.Dataset.from_tensor_slices((images, labels)).batch(20)
    assert network.evaluate(plain, verbose=0, return_dict=True)["accuracy"] > 0.95


def test_mixing_with_a_second_task_is_refused():
    with pytest.raises(ConfigError, match=r"augment\.mixup mixes classes only and needs model"):
        resolve_config(
            None, {"augment": {"mixup": 0.2}, "model": {"tasks": ["alloy", "thickness"]}}
        )
