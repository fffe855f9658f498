"""Networks with fake quantisation: what they compute, and what they learn."""

import keras
import numpy as np
import pytest
from keras import ops

from alloyk.errors import ModelError
from alloyk.models import ARCHITECTURES, build_model
from alloyk.models.fake_quantization import (
    FakeQuantize,
    QuantizedWeights,
    Switch,
    fake_quantize,
    fake_quantize_weights,
)
from alloyk.models.nested import nested_layers
from alloyk.models.quantization_aware import (
    activation_ranges_of,
    observe_ranges,
    quantization_aware,
)
from alloyk.targets import Target


def gradient_of(function, x):
    """Gradient of the sum of `function(x)`, by the backend's own differentiation."""
    import tensorflow as tf

    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        total = ops.sum(function(variable))
    return tape.gradient(total, variable).numpy()


def test_activations_are_rounded_as_by_the_quantiser():
    from ai_edge_quantizer.algorithms.uniform_quantize.uniform_quantize_tensor import (
        tensor_zp_scale_from_min_max,
    )
    from ai_edge_quantizer.qtyping import QuantGranularity

    x = np.random.default_rng(0).normal(0, 2, 10_000).astype(np.float32)
    for low, high in ((-1.3, 2.9), (0.0, 6.0), (0.4, 3.0), (-4.0, -1.0)):
        zero, scale = tensor_zp_scale_from_min_max(
            np.array([low]), np.array([high]), 8, False, QuantGranularity.TENSORWISE
        )
        stored = np.clip(np.rint(x / scale) + zero, -128, 127)
        found = ops.convert_to_numpy(fake_quantize(x, low, high))
        np.testing.assert_allclose(found, (stored - zero) * scale, atol=1e-5)


def test_the_gradient_passes_inside_the_range_and_ends_outside():
    x = np.array([-1.1, -0.9, 0.0, 1.9, 2.1], np.float32)
    found = gradient_of(lambda one: fake_quantize(one, -1.0, 2.0), x)
    assert found.tolist() == [0, 1, 1, 1, 0]
    kernel = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    found = gradient_of(lambda one: fake_quantize_weights(one, (0,)), kernel)
    np.testing.assert_array_equal(found, np.ones((3, 4)))


def test_ranges_follow_batches_in_training_only():
    layer = FakeQuantize(Switch(), ("conv",), weighted=True, momentum=0.9, name="rounded")
    batch = np.array([[-2.0, 4.0]], np.float32)
    layer(batch, training=False)
    assert (float(layer.low), float(layer.high)) == (0, 0)
    layer(batch, training=True)
    assert (float(layer.low), float(layer.high)) == pytest.approx((-0.2, 0.4))
    layer(batch, training=True)
    assert (float(layer.low), float(layer.high)) == pytest.approx((-0.38, 0.76))


QUICK = ("fnn", "cnn", "resnet18", "efficientnetb0", "cnn gelu", "cnn leaky_relu", "fnn swish")
SLOW = tuple(
    pytest.param(name, marks=pytest.mark.slow) for name in ARCHITECTURES if name not in QUICK
)


@pytest.mark.parametrize("arch", [*QUICK, *SLOW])
def test_without_rounding_it_is_the_network(arch):
    name, _, activation = arch.partition(" ")
    targets = (Target("thickness", 3.0, 1.0),) if name in ("cnn", "efficientnetb0") else ()
    network = build_model(
        name, (32, 32, 1), 3, hidden_units=16, seed=1, activation=activation or None,
        targets=targets,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for layer in nested_layers(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            ends = ((0.5, 1.5), (-0.3, 0.3), (-0.3, 0.3), (0.5, 2))
            layer.set_weights([rng.uniform(*one, shape) for one in ends])
    aware = quantization_aware(network)
    images = rng.normal(size=(2, 32, 32, 1)).astype(np.float32)
    aware.switch.active = False
    found, expected = aware.model(images), network(images)
    if not targets:
        found, expected = {"logits": found}, {"logits": expected}
    assert set(found) == set(expected)
    for key in expected:
        size = np.abs(expected[key]).max()
        np.testing.assert_allclose(found[key], expected[key], atol=2e-5 * size)

    observe_ranges(aware, [images])
    rounded = aware.model(images)
    rounded = rounded["logits"] if targets else rounded
    assert np.abs(rounded - expected["logits"]).max() > 0
    ranges = activation_ranges_of(aware.model)
    weighted = [layer for layer in nested_layers(network)
                if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D
                              | keras.layers.Dense)]  # fmt: skip
    in_float = 1 + len(targets)  # the layers that give the outputs
    assert sum(one.weighted for one in ranges) == len(weighted) - in_float
    assert len({(one.layers, one.weighted) for one in ranges}) == len(ranges)


def test_training_it_trains_the_network_but_no_statistics():
    network = build_model("cnn", (16, 16, 1), 2, hidden_units=8, depth=2, width=4, seed=0)
    before = {one.path: ops.convert_to_numpy(one).copy() for one in network.variables}
    aware = quantization_aware(network, momentum=0.5)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(8, 16, 16, 1)).astype(np.float32)
    observe_ranges(aware, [images])
    ranges = activation_ranges_of(aware.model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    aware.model.compile(keras.optimizers.SGD(0.1), loss)
    aware.model.fit(2 * images, rng.integers(0, 2, 8), epochs=1, verbose=0)
    changed = {
        path for path, array in before.items()
        if not np.array_equal(array, next(
            ops.convert_to_numpy(one) for one in network.variables if one.path == path
        ))
    }  # fmt: skip
    assert {one.path for one in network.trainable_variables} == changed
    assert not [path for path in changed if "moving" in path]
    # Twice as large an image, half of the way.
    assert activation_ranges_of(aware.model)[0].high == pytest.approx(1.5 * ranges[0].high)
    # No layer of the network was put into another graph.
    assert network.get_layer("hidden").input is not None


def test_an_unknown_layer_is_refused():
    image = keras.Input((8, 8, 1))
    inner = keras.Input((8, 8, 1))
    backbone = keras.Model(
        inner, keras.layers.AveragePooling2D(2, name="mean")(inner), name="backbone"
    )
    network = keras.Model(image, backbone(image))
    with pytest.raises(ModelError, match=r"alloyk's architectures, got mean \(AveragePooling2D\)"):
        quantization_aware(network)


def test_a_depthwise_kernel_has_a_scale_for_each_channel():
    layer = keras.layers.DepthwiseConv2D(3, use_bias=False)
    layer.build((None, 8, 8, 4))
    scales = np.array([0.01, 0.1, 1.0, 10.0], np.float32).reshape(1, 1, 4, 1)
    layer.set_weights([scales * layer.get_weights()[0]])
    found = QuantizedWeights(Switch(), layer, None)
    kernel, _ = found.folded()
    rounded = fake_quantize_weights(kernel, (0, 1))
    error = np.abs(ops.convert_to_numpy(rounded - kernel)).max(axis=(0, 1, 3))
    largest = np.abs(layer.get_weights()[0]).max(axis=(0, 1, 3))
    assert (error <= largest / 127 * 0.501).all()
    assert found.compute_output_shape((1, 8, 8, 4)) == (1, 6, 6, 4)
