"""Faster layers and optimizers: the same numbers as Keras' own, and saved files stay Keras'."""

import json
import zipfile

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from alloyk.training import fused_optimizers
from alloyk.training.faster_layers import faster_layers
from alloyk.training.optimizers import build_optimizer

RNG = np.random.default_rng(0)
OPTIONS = {
    "adam": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
    "adamw": {"beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-5},
    "sgd": {},
    "momentum": {"momentum": 0.9, "nesterov": False},
    "rmsprop": {"rho": 0.9, "momentum": 0.9, "epsilon": 1e-3},
}
CASES = [
    *OPTIONS.items(),
    ("momentum", {"momentum": 0.8, "nesterov": True}),
    ("rmsprop", {"rho": 0.95, "momentum": 0.0, "epsilon": 1e-7}),
]


def network():
    """Convolutions and batch norm, and batch norm of a vector, which has no fused operator."""
    keras.utils.set_random_seed(1)
    image = keras.Input((6, 5, 2))
    x = keras.layers.Conv2D(4, 3, padding="same", use_bias=False)(image)
    x = keras.layers.BatchNormalization(momentum=0.8, epsilon=1e-3)(x)
    x = keras.layers.Activation("relu")(x)
    x = keras.layers.DepthwiseConv2D(5, padding="same", use_bias=False)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(image, keras.layers.Dense(3)(x))


def trained(model, optimizer, steps=5):
    """The weights after some steps on the same batches, and the loss of each step."""
    rng = np.random.default_rng(2)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    losses = []
    for _ in range(steps):
        images = rng.normal(3, 2, (7, 6, 5, 2)).astype(np.float32)
        losses.append(model.train_on_batch(images, rng.integers(0, 3, 7)))
    return model.get_weights(), losses


def optimizer_of(name, options):
    rate = keras.optimizers.schedules.CosineDecay(0.02, 10)
    return build_optimizer(name, rate, weight_decay=0.01, clip_norm=1.0, **options)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_training_gives_the_numbers_of_keras_alone(name, options, monkeypatch):
    model = network()
    applied = []
    step = type(optimizer_of(name, options)).fused_step
    monkeypatch.setattr(
        type(optimizer_of(name, options)), "fused_step",
        lambda *given: (applied.append(given), step(*given))[1],
    )  # fmt: skip
    with faster_layers(model):
        fused, losses = trained(model, optimizer_of(name, options))
    # The step may be traced more than once.
    assert len(applied) % len(model.trainable_variables) == 0
    assert applied
    monkeypatch.setattr(fused_optimizers.Fused, "can_fuse", lambda *_: False)
    own, own_losses = trained(network(), optimizer_of(name, options))
    np.testing.assert_allclose(losses, own_losses, rtol=1e-5)
    for ours, theirs in zip(fused, own, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-5)


class CountedRate(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that doubles with each step, and counts how often it is computed."""

    computed = 0

    def __call__(self, step):
        self.computed += 1
        return 0.01 * 2.0 ** tf.cast(step, tf.float32)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_step_computes_the_learning_rate_once(name, options):
    schedule = CountedRate()
    optimizer = build_optimizer(name, schedule, weight_decay=0.01, clip_norm=1.0, **options)
    weights = [keras.Variable(np.ones(3), name=f"kernel_{k}") for k in range(4)]
    for steps in (1, 2):
        optimizer.apply([tf.ones(3)] * 4, weights)
        assert schedule.computed == steps
    assert float(optimizer.learning_rate) == pytest.approx(0.04)  # of the step to come


def test_a_step_that_fails_leaves_no_learning_rate_behind():
    name, options = CASES[0]
    optimizer = build_optimizer(name, CountedRate(), weight_decay=0, clip_norm=None, **options)
    weight = keras.Variable(np.ones(3))
    with pytest.raises(ValueError, match="No gradients"):
        optimizer.apply([None], [weight])
    optimizer.iterations.assign(3)
    assert float(optimizer.learning_rate) == pytest.approx(0.08)


def test_batch_norm_and_its_moving_averages_against_float64():
    layer = keras.layers.BatchNormalization(momentum=0.75, epsilon=0.01)
    images = RNG.normal(100, 3, (4, 3, 5, 2)).astype(np.float32)
    model = keras.Sequential([keras.Input((3, 5, 2)), layer])
    layer.gamma.assign([2.0, 0.5])
    layer.beta.assign([1.0, -1.0])
    with faster_layers(model):
        found = layer(images, training=True)
    exact = images.astype(np.float64)
    mean, variance = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
    expected = (exact - mean) / np.sqrt(variance + 0.01) * [2.0, 0.5] + [1.0, -1.0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(layer.moving_mean, 0.25 * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.75 + 0.25 * variance, rtol=1e-4)


def test_gelu_and_its_gradient_against_float64():
    layer = keras.layers.Activation("gelu")
    model = keras.Sequential([keras.Input((5, 4, 3)), layer])
    images = RNG.normal(0, 3, (2, 5, 4, 3)).astype(np.float32)
    images[0, 0, 0] = [0, 30, -30]
    with faster_layers(model), tf.GradientTape() as tape:
        assert "call" in vars(layer)
        inputs = tf.constant(images)
        tape.watch(inputs)
        found = layer(inputs)
    exact = images.astype(np.float64)
    below = scipy.stats.norm.cdf(exact)
    np.testing.assert_allclose(found, exact * below, rtol=1e-5, atol=1e-30)
    slope = below + exact * scipy.stats.norm.pdf(exact)
    np.testing.assert_allclose(tape.gradient(found, inputs), slope, rtol=1e-5, atol=2e-6)


def test_other_activations_stay_those_of_keras(monkeypatch):
    layers = [keras.layers.Activation(name) for name in ("relu", "silu", "gelu")]
    model = keras.Sequential([keras.Input((4, 4, 1)), *layers])
    with faster_layers(model):
        assert ["call" in vars(layer) for layer in layers] == [False, False, True]
        monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
        monkeypatch.setattr("alloyk.training.faster_layers._compiled_gelu", None)
        assert layers[2](tf.zeros((2, 4, 4, 1))).shape == (2, 4, 4, 1)  # on a GPU


def same_numbers(layer, sides):
    """Output and gradients of a layer of three channels, faster and by Keras."""
    model = keras.Sequential([keras.Input((*sides, 3)), layer])
    images = tf.constant(RNG.normal(size=(5, *sides, 3)).astype(np.float32))
    upstream = tf.constant(RNG.normal(size=(5, *layer.output.shape[1:])).astype(np.float32))
    if layer.use_bias:
        layer.bias.assign(RNG.normal(size=layer.bias.shape))

    def numbers():
        with tf.GradientTape() as tape:
            tape.watch(images)
            found = layer(images)
            loss = tf.reduce_sum(found * upstream)
        weights = [one.value for one in layer.trainable_variables]
        return [found, *tape.gradient(loss, [images, *weights])]

    own = numbers()
    with faster_layers(model):
        faster = numbers()
    for ours, theirs in zip(faster, own, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (7, 3)])
@pytest.mark.parametrize("sides", [(10, 8), (7, 5)])
def test_a_depthwise_convolution_has_the_numbers_of_keras(sides, kernel, stride, padding):
    options = {"depth_multiplier": 2, "use_bias": False, "activation": "tanh"}
    same_numbers(keras.layers.DepthwiseConv2D(kernel, stride, padding, **options), sides)


@pytest.mark.parametrize("options", [{"use_bias": False}, {"activation": "swish"}])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_by_single_pixels_has_the_numbers_of_keras(stride, options):
    same_numbers(keras.layers.Conv2D(4, 1, stride, **options), (5, 4))


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (2, 3), (1, 1)])
@pytest.mark.parametrize("sides", [(1, 1), (2, 2), (3, 1), (3, 3), (6, 7)])
def test_a_convolution_to_few_pixels_has_the_numbers_of_keras(sides, kernel, stride, padding):
    if padding == "valid" and any(np.less(sides, kernel)):
        sides = kernel  # the smallest image of which anything comes out
    options = {"use_bias": stride == 2, "activation": "tanh"}
    same_numbers(keras.layers.Conv2D(4, kernel, stride, padding, **options), sides)


def test_which_convolutions_are_sums_of_matrix_products(monkeypatch):
    """Those with few pixels of output; others stay Keras' own."""
    products = []
    matmul = tf.matmul
    monkeypatch.setattr(tf, "matmul", lambda *given: (products.append(given), matmul(*given))[1])
    for sides, options, expected in (
        ((1, 1), {}, 1),  # only the middle of the kernel lies on the image
        ((2, 2), {}, 9),
        ((1, 3), {}, 3),
        ((4, 3), {}, 0),
        ((6, 6), {"strides": 2}, 9),
        ((5, 5), {"padding": "valid"}, 0),
        ((4, 4), {"padding": "valid"}, 9),
        ((3, 3), {"dilation_rate": 2}, 0),
        ((3, 3), {"groups": 2}, 0),
    ):
        layer = keras.layers.Conv2D(4, 3, **{"padding": "same", **options})
        model = keras.Sequential([keras.Input((*sides, 2)), layer])
        products.clear()
        with faster_layers(model):
            layer(tf.ones((1, *sides, 2)))
        assert len(products) == expected, (sides, options)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    layer = keras.layers.Conv2D(4, 3, padding="same")
    products.clear()
    with faster_layers(keras.Sequential([keras.Input((2, 2, 2)), layer])):
        layer(tf.ones((1, 2, 2, 2)))
    assert not products  # on a GPU


@pytest.mark.parametrize(("kernel", "sides"), [(1, (5, 4)), (3, (2, 3))])
def test_a_convolution_as_matrix_products_of_no_image(kernel, sides):
    """A worker may get no image of a last batch."""
    layer = keras.layers.Conv2D(4, kernel, padding="same")
    model = keras.Sequential([keras.Input((*sides, 3)), layer])
    with faster_layers(model):
        assert layer(tf.zeros((0, *sides, 3))).shape == (0, *sides, 4)


def test_which_gradients_of_a_depthwise_convolution_are_replaced(monkeypatch):
    """Those that oneDNN computes slowly; others, and layers with a bias, stay Keras' own."""
    padded = []
    gradient = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter
    monkeypatch.setattr(
        tf.raw_ops, "DepthwiseConv2dNativeBackpropFilter",
        lambda **given: (padded.append(given["explicit_paddings"]), gradient(**given))[1],
    )  # fmt: skip
    for side, kernel, bias, replaced in (
        (9, 5, False, True),
        (2, 3, False, True),
        (9, 3, False, False),
        (9, 5, True, False),
    ):
        layer = keras.layers.DepthwiseConv2D(kernel, padding="same", use_bias=bias)
        model = keras.Sequential([keras.Input((side, side, 1)), layer])
        padded.clear()
        with faster_layers(model), tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(tf.ones((1, side, side, 1))))
        tape.gradient(loss, layer.kernel.value)
        assert bool(padded) == replaced


def test_layers_are_those_of_keras_again_after_training_and_in_a_saved_file(tmp_path):
    model = network()
    norms = [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization)]
    with faster_layers(model):
        assert all("call" in vars(one) for one in norms)
        model.save(tmp_path / "network.keras")
    assert not any("call" in vars(one) for one in norms)
    with zipfile.ZipFile(tmp_path / "network.keras") as archive:
        config = json.loads(archive.read("config.json"))
    found = [one for one in config["config"]["layers"] if one["class_name"].startswith("Batch")]
    assert [one["module"] for one in found] == ["keras.layers"] * 2


@pytest.mark.parametrize(
    "change", [{"trainable": False}, {"synchronized": True}, {"dtype": "bfloat16"}]
)
def test_other_layers_are_computed_by_keras(change, monkeypatch):
    monkeypatch.setattr(tf.raw_ops, "FusedBatchNormV3", None)
    layer = keras.layers.BatchNormalization(**change)
    model = keras.Sequential([keras.Input((3, 5, 2)), layer])
    with faster_layers(model):
        found = layer(np.ones((2, 3, 5, 2), np.float32), training=True)
        inference = layer(np.ones((2, 3, 5, 2), np.float32))
    assert found.shape == inference.shape == (2, 3, 5, 2)
