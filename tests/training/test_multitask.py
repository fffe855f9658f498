"""The loss of several tasks against its formula in float64, and the network trained on it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax

from alloyk.models import build_model
from alloyk.models.nested import nested_layers
from alloyk.pipeline import KeptImages, evaluation_batches, training_batches
from alloyk.targets import Target
from alloyk.training.losses import build_loss
from alloyk.training.losses.multitask import MultitaskLoss, MultitaskNetwork
from alloyk.training.optimizers import build_optimizer

TARGETS = (Target("thickness_mm", mean=2.5, spread=1.7), Target("kV set", mean=45.0, spread=3.0))


@pytest.fixture
def batch():
    """Answers to 12 images, truth missing here and there."""
    rng = np.random.default_rng(4)
    truth = {"logits": rng.integers(0, 3, 12)}
    answers = {"logits": rng.normal(size=(12, 3))}
    for target, missing in zip(TARGETS, ([1, 5], [0, 1, 11]), strict=True):
        truth[target.column] = rng.normal(target.mean, target.spread, 12)
        truth[target.column][missing] = np.nan
        answers[target.column] = rng.normal(target.mean, target.spread, (12, 1))
    return truth, answers


def parts(truth, answers):
    """Cross-entropy and squared standardised errors of each image, 0 where not known, float64."""
    entropy = -log_softmax(answers["logits"], axis=1)[np.arange(12), truth["logits"]]
    errors = [(answers[t.column][:, 0] - truth[t.column]) / t.spread for t in TARGETS]
    return entropy, [np.nan_to_num(error) ** 2 for error in errors]


def cross_entropy():
    return build_loss("cross_entropy", class_counts=[1, 1, 1], label_smoothing=0.0)


def test_fixed_weights_add_up(batch):
    loss = MultitaskLoss(cross_entropy(), TARGETS, weights=(0.7, 2.0, 0.1))
    entropy, (thickness, voltage) = parts(*batch)
    expected = np.mean(0.7 * entropy + 2.0 * thickness + 0.1 * voltage)
    np.testing.assert_allclose(loss(*batch), expected, rtol=1e-5)


def test_learned_weights_are_the_likelihood_of_kendall_et_al(batch):
    s = np.array([0.3, -0.8, 1.1])
    loss = MultitaskLoss(cross_entropy(), TARGETS, log_variances=keras.Variable(s, dtype="float32"))
    entropy, (thickness, voltage) = parts(*batch)
    known = [np.isfinite(batch[0][t.column]) for t in TARGETS]
    expected = np.mean(
        np.exp(-s[0]) * entropy + s[0] / 2
        + (np.exp(-s[1]) * thickness + s[1] * known[0]) / 2
        + (np.exp(-s[2]) * voltage + s[2] * known[1]) / 2
    )  # fmt: skip
    np.testing.assert_allclose(loss(*batch), expected, rtol=1e-5)


def test_a_missing_truth_gives_no_gradient_and_no_nan(batch):
    truth, answers = batch
    estimates = tf.Variable(answers["kV set"])
    loss = MultitaskLoss(
        cross_entropy(), TARGETS, log_variances=keras.Variable(np.zeros(3), dtype="float32")
    )
    with tf.GradientTape() as tape:
        value = loss(truth, {**answers, "kV set": estimates})
    gradient = tape.gradient(value, estimates).numpy()[:, 0]
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient == 0, np.isnan(truth["kV set"]))


def test_learned_weights_come_to_rest_at_the_mean_squared_error(batch):
    """The likelihood is greatest where σ² is the mean of z² (for the alloy, of 2 L)."""
    entropy, (thickness, _) = parts(*batch)
    known = np.isfinite(batch[0]["thickness_mm"])
    best = np.log([2 * entropy.mean(), thickness[known].mean()])
    variable = keras.Variable(best, dtype="float32")
    loss = MultitaskLoss(cross_entropy(), TARGETS[:1], log_variances=variable)
    with tf.GradientTape() as tape:
        value = loss(*batch)
    np.testing.assert_allclose(tape.gradient(value, variable.value), 0, atol=1e-6)


def network(weights, seed=0):
    image = keras.Input((8, 8, 1))
    model = build_model("fnn", (8, 8, 1), 3, hidden_units=8, seed=seed, targets=TARGETS)
    return MultitaskNetwork(image, model(image), targets=TARGETS, weights=weights)


@pytest.mark.parametrize("weights", [(1, 2, 3), None])
def test_a_network_in_mixed_precision_is_copied_in_float32(weights):
    mixed_before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        mixed = network(weights)
        if weights is None:
            mixed.log_variances.assign([0.5, -1, 2])
        found = mixed.in_float32()
    finally:
        keras.config.set_dtype_policy(mixed_before)
    assert {layer.compute_dtype for layer in nested_layers(found)} == {"float32"}
    assert found.compute_dtype == "float32"
    assert found.loss_weights() == mixed.loss_weights()
    images = data()[0].array
    for name, output in found.predict(images, verbose=0).items():
        np.testing.assert_allclose(
            output, mixed.predict(images, verbose=0)[name], rtol=0.02, atol=0.02
        )
    assert found.in_float32() is found


def data():
    rng = np.random.default_rng(0)
    level = rng.uniform(-1, 1, 20)
    images = level[:, None, None, None] + rng.normal(0, 0.1, (20, 8, 8, 1))
    images = images.astype(np.float32)
    thickness = np.where(np.arange(20) % 5, 3 + 2 * level, np.nan)
    values = {"thickness_mm": thickness, "kV set": 45 + 5 * level}
    return KeptImages(images), np.arange(20) % 3, values


def test_estimates_come_in_the_unit_of_the_column():
    """Untrained heads answer around the mean; their standardised errors are of order 1."""
    images = data()[0]
    found = network((1, 1, 1)).predict(images.array, verbose=0)
    assert found["logits"].shape == (20, 3)
    for target in TARGETS:
        z = (found[target.column][:, 0] - target.mean) / target.spread
        assert 0 < np.abs(z).max() < 5


def test_the_alloy_head_is_the_same_with_and_without_other_tasks():
    alone = build_model("cnn", (32, 32, 1), 3, seed=5)
    several = build_model("cnn", (32, 32, 1), 3, seed=5, targets=TARGETS)
    image = np.random.default_rng(0).normal(size=(2, 32, 32, 1)).astype(np.float32)
    np.testing.assert_array_equal(several(image)["logits"], alone(image))


def test_training_learns_numbers_and_logs_them_in_their_unit():
    images, labels, values = data()
    model = network(None)
    model.compile(
        build_optimizer(
            "adam", 0.001, weight_decay=1e-3, clip_norm=None, beta_1=0.9, beta_2=0.999, epsilon=1e-7
        ),
        cross_entropy(),
    )
    batches = training_batches(images, labels, batch_size=6, seed=0, epochs=20, values=values)
    held = evaluation_batches(images, labels, batch_size=7, values=values)
    logs = model.fit(batches, steps_per_epoch=4, epochs=20, validation_data=held, verbose=0).history
    assert {"loss", "accuracy", "mae_thickness_mm", "mae_kV set"} < set(logs)
    found = model.predict(held, verbose=0)
    known = np.isfinite(values["thickness_mm"])
    error = np.abs(found["thickness_mm"][:, 0] - values["thickness_mm"])[known].mean()
    np.testing.assert_allclose(logs["val_mae_thickness_mm"][-1], error, rtol=1e-4)
    assert error < 0.3 * np.nanstd(values["thickness_mm"])
    weights = model.loss_weights()
    assert list(weights) == ["alloy", "thickness_mm", "kV set"]
    assert min(weights.values()) > 0
    assert max(weights.values()) != 1


def test_weight_decay_leaves_learned_weights_alone():
    model = network(None)
    model.log_variances.assign([2.0, -2.0, 1.0])
    optimizer = build_optimizer("sgd", 0.1, weight_decay=0.5, clip_norm=None)
    optimizer.build(model.trainable_variables)
    optimizer.apply([tf.zeros(v.shape) for v in model.trainable_variables])
    np.testing.assert_array_equal(model.log_variances, [2.0, -2.0, 1.0])


def test_batches_carry_every_truth_beside_its_image():
    _, labels, values = data()
    values = {"number": np.arange(20.0), **values}
    numbered = KeptImages(
        np.arange(20, dtype=np.float32)[:, None, None, None] * np.ones((1, 4, 4, 1), np.float32)
    )
    batches = training_batches(numbered, labels, batch_size=6, seed=3, epochs=2, values=values)
    seen = []
    for pixels, truth in batches.as_numpy_iterator():
        np.testing.assert_array_equal(pixels[:, 0, 0, 0], truth["number"])
        np.testing.assert_array_equal(truth["logits"], labels[truth["number"].astype(int)])
        assert truth["logits"].dtype == np.int32
        seen += truth["number"].tolist()
    assert sorted(seen) == sorted(2 * list(range(20)))
    (_, truth), *_ = evaluation_batches(numbered, labels, batch_size=20, values=values)
    np.testing.assert_array_equal(truth["thickness_mm"], values["thickness_mm"].astype(np.float32))


def test_an_own_file_brings_the_heads_of_the_same_columns(tmp_path):
    source = build_model("cnn", (32, 32, 1), 3, seed=1, targets=TARGETS)
    source.save(tmp_path / "model.keras")
    one = build_model(
        "cnn", (32, 32, 1), 3, seed=2, targets=TARGETS[1:], weights=tmp_path / "model.keras"
    )
    image = np.random.default_rng(0).normal(size=(2, 32, 32, 1)).astype(np.float32)
    np.testing.assert_array_equal(one(image)["kV set"], source(image)["kV set"])
    np.testing.assert_array_equal(one(image)["logits"], source(image)["logits"])
    # A network of one task takes the backbone and leaves the other heads.
    alone = build_model("cnn", (32, 32, 1), 3, seed=2, weights=tmp_path / "model.keras")
    np.testing.assert_array_equal(alone(image), source(image)["logits"])
