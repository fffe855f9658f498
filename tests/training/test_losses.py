import keras
import numpy as np
import pytest
from pydantic import TypeAdapter

from alloyk.config.choices import LossConfig
from alloyk.training.losses import (
    LOSSES,
    BalancedSoftmaxLoss,
    SparseCrossEntropyLoss,
    SparseFocalLoss,
    build_loss,
)
from alloyk.training.losses.classification import effective_number_weights

COUNTS = [500, 50, 5]


def built(name, class_counts=COUNTS, **options):
    """A loss with the configuration's defaults for what is not given."""
    settings = TypeAdapter(LossConfig).validate_python({"name": name, **options})
    return build_loss(class_counts=class_counts, **settings.model_dump())


LABELS = np.array([0, 1, 2, 2, 0, 1])
LOGITS = np.random.default_rng(0).normal(0, 3, (6, 3))


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def true_class(log_p):
    return log_p[np.arange(len(LABELS)), LABELS]


def weights(beta):
    effective = [(1 - beta**n) / (1 - beta) for n in COUNTS]
    total = sum(1 / e for e in effective)
    return np.array([3 / e / total for e in effective])[LABELS]


def expected_loss(name, gamma=2.0, beta=0.9999, label_smoothing=0.0, tau=1.0):
    """The published formulas in float64, per image."""
    logits = LOGITS + tau * np.log(COUNTS) if name == "balanced_softmax" else LOGITS
    log_p = log_softmax(logits)
    if "focal" in name:
        loss = -((1 - np.exp(true_class(log_p))) ** gamma) * true_class(log_p)
    else:
        target = (1 - label_smoothing) * np.eye(3)[LABELS] + label_smoothing / 3
        loss = -(target * log_p).sum(-1)
    return loss * weights(beta) if name.startswith("class_balanced") else loss


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cross_entropy", {}),
        ("cross_entropy", {"label_smoothing": 0.1}),
        ("focal", {}),
        ("focal", {"gamma": 0.5}),
        ("class_balanced", {}),
        ("class_balanced", {"beta": 0.9, "label_smoothing": 0.2}),
        ("class_balanced_focal", {"beta": 0.99, "gamma": 1.0}),
        ("balanced_softmax", {}),
        ("balanced_softmax", {"label_smoothing": 0.1}),
        ("balanced_softmax", {"tau": 1.5}),
    ],
)
def test_loss_equals_its_formula(name, options):
    loss = built(name, **options)
    logits = LOGITS.astype("float32")
    expected = expected_loss(name, **options)
    np.testing.assert_allclose(loss.call(LABELS, logits), expected, rtol=2e-5)
    np.testing.assert_allclose(loss(LABELS, logits), expected.mean(), rtol=2e-5)
    # fit hands labels over as a column when the data set does.
    np.testing.assert_allclose(loss(LABELS[:, None], logits), expected.mean(), rtol=2e-5)


def test_focal_loss_equals_its_formula():
    loss = SparseFocalLoss(gamma=2.0)([0, 1], np.log([[0.7, 0.3]] * 2))
    expected = -(0.3**2 * np.log(0.7) + 0.7**2 * np.log(0.3)) / 2
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_smoothed_cross_entropy_is_that_of_keras_on_one_hot_labels():
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    ours = SparseCrossEntropyLoss(label_smoothing=0.1)
    np.testing.assert_allclose(ours(LABELS, LOGITS), theirs(np.eye(3)[LABELS], LOGITS), rtol=1e-6)


def test_focal_loss_without_focus_is_cross_entropy():
    logits = LOGITS.astype("float32")
    np.testing.assert_allclose(
        SparseFocalLoss(gamma=0)(LABELS, logits), SparseCrossEntropyLoss(0.0)(LABELS, logits)
    )


@pytest.mark.parametrize("name", LOSSES)
def test_certain_logits_give_finite_loss_and_gradient(name):
    import tensorflow as tf

    options = {"gamma": 0.5} if "focal" in name else {}
    loss = built(name, **options)
    logits = tf.Variable([[200.0, -200.0, 0.0], [200.0, -200.0, 0.0]])
    with tf.GradientTape() as tape:
        value = loss([0, 1], logits)
    assert np.isfinite(value)
    assert np.isfinite(tape.gradient(value, logits)).all()


@pytest.mark.parametrize("name", LOSSES)
def test_loss_survives_saving(name, tmp_path):
    options = {"gamma": 1.5} if "focal" in name else {"label_smoothing": 0.1}
    loss = built(name, **options)
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(3)])
    model.compile("sgd", loss)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras").loss
    assert loaded.get_config() == loss.get_config()
    np.testing.assert_array_equal(loaded(LABELS, LOGITS), loss(LABELS, LOGITS))


def test_a_balanced_softmax_of_an_earlier_version_has_a_tau_of_one():
    config = built("balanced_softmax").get_config()
    del config["tau"]
    assert BalancedSoftmaxLoss.from_config(config).tau == 1


def test_effective_number_weights_equal_their_formula():
    beta, counts = 0.999, np.array([5000.0, 500, 50])
    effective = (1 - beta**counts) / (1 - beta)
    expected = 3 / effective / (1 / effective).sum()
    np.testing.assert_allclose(effective_number_weights(counts, beta), expected, rtol=1e-12)


def test_effective_number_weights_between_equal_and_inverse_frequency():
    np.testing.assert_allclose(effective_number_weights([9, 3, 1], 0.0), 1)
    almost = effective_number_weights([9, 3, 1], 1 - 1e-12)
    inverse = np.array([1 / 9, 1 / 3, 1])
    np.testing.assert_allclose(almost, 3 * inverse / inverse.sum(), rtol=1e-9)


def test_balanced_softmax_learns_logits_without_the_class_frequencies():
    """Where the image says nothing, the best logits are equal although the classes are not."""
    loss = BalancedSoftmaxLoss([3, 1], 0.0)
    labels = [0, 0, 0, 1]

    def at(difference):
        return float(loss(labels, np.array([[difference, 0.0]] * 4, "float32")))

    assert at(0.0) < min(at(0.2), at(-0.2))


@pytest.mark.parametrize("name", ["class_balanced", "class_balanced_focal", "balanced_softmax"])
def test_class_without_images_is_refused(name):
    with pytest.raises(ValueError, match=r"at least one training image .*, got \[4, 0, 2\]"):
        built(name, class_counts=[4, 0, 2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SparseFocalLoss(gamma=-1), "^`gamma` must be >= 0, got -1$"),
        (
            lambda: SparseCrossEntropyLoss(label_smoothing=1.0),
            "^`label_smoothing` must be >= 0 and < 1, got 1.0$",
        ),
        (lambda: effective_number_weights([1, 2], 1.0), "^`beta` must be >= 0 and < 1, got 1.0$"),
        (
            lambda: build_loss("hinge", class_counts=[1, 2]),
            "^`name` must be one of cross_entropy, .*, got 'hinge'$",
        ),
    ],
)
def test_bad_value_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_label_smoothing_is_refused_where_it_makes_no_sense():
    with pytest.raises(TypeError, match="label_smoothing"):
        build_loss("focal", class_counts=COUNTS, gamma=2.0, label_smoothing=0.1)
