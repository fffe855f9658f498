"""Fake quantisation against the arithmetic of the int8 file that is made from the same network."""

import keras
import numpy as np
import pytest

from alloyk.exporting.conversion import write_tflite
from alloyk.exporting.learned_ranges import tensor_ranges, without_range
from alloyk.exporting.quantization import (
    NetworkOperator,
    Scheme,
    network_operators,
    quantize,
)
from alloyk.inference.backends import TFLiteBackend
from alloyk.models import build_model
from alloyk.models.nested import nested_layers
from alloyk.models.quantization_aware import (
    INPUT,
    activation_ranges_of,
    observe_ranges,
    quantization_aware,
)
from alloyk.runs.activation_ranges import ActivationRange
from alloyk.targets import Target

layers = keras.layers
SIDE = 12


def convolution(x):
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(x)
    x = layers.BatchNormalization(name="bn")(x)
    return layers.Activation("relu", name="activation")(x)


def squeeze_and_excite(x):
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="dwconv")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Activation("silu", name="activation")(x)
    gate = layers.GlobalAveragePooling2D(name="se_squeeze")(x)
    gate = layers.Reshape((1, 1, x.shape[-1]), name="se_reshape")(gate)
    gate = layers.Conv2D(2, 1, activation="silu", name="se_reduce")(gate)
    gate = layers.Conv2D(x.shape[-1], 1, activation="sigmoid", name="se_expand")(gate)
    x = layers.Multiply(name="se_excite")([x, gate])
    x = layers.Conv2D(8, 1, use_bias=False, name="project")(x)
    return layers.BatchNormalization(name="project_bn")(x)


def residual(x):
    shortcut = layers.Conv2D(8, 1, use_bias=False, name="shortcut")(x)
    x = layers.ZeroPadding2D(1, name="pad")(x)
    x = layers.Conv2D(8, 3, name="conv", activation="relu")(x)
    x = layers.Add(name="add")([x, shortcut])
    return layers.Activation("relu", name="activation")(x)


def shuffled(model):
    """Give every batch norm statistics and weights that matter, and biases a value."""
    rng = np.random.default_rng(1)
    for layer in nested_layers(model):
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights(
                [rng.uniform(*ends, shape) for ends in ((0.5, 2), (-1, 1), (-1, 1), (0.2, 3))]
            )
    return model


def network(block):
    """A network around a block, with the block's output beside the logits.

    Doubled: the file's name for an output is not the layer's.
    """
    inner = keras.Input((SIDE, SIDE, 3))
    backbone = keras.Model(inner, block(inner), name="backbone")
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = backbone(image)
    logits = layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D(name="pooling")(x))
    doubled = layers.Rescaling(2.0, name="doubled")(x)
    return shuffled(keras.Model(image, {"logits": logits, "map": doubled}, name="tiny"))


@pytest.mark.parametrize("block", [convolution, squeeze_and_excite, residual])
def test_fake_quantised_output_is_that_of_the_int8_file(block, tmp_path):
    tiny = network(block)
    images = np.random.default_rng(0).normal(size=(8, SIDE, SIDE, 3)).astype(np.float32)
    aware = quantization_aware(tiny)
    observe_ranges(aware, [images[:4], images[4:]])

    file = tmp_path / "tiny.tflite"
    write_tflite(tiny, file, (SIDE, SIDE, 3))
    content = file.read_bytes()
    operators = network_operators(content)
    learned = activation_ranges_of(aware.model)
    ranges = tensor_ranges(operators, learned)
    assert not without_range(operators, ranges)
    assert {(one.low, one.high) for one in learned} <= set(ranges.values())  # each is used
    quantized = quantize(content, Scheme(weights=8, activations=8), operators, ranges)
    file.write_bytes(quantized)

    deployed, last = TFLiteBackend(file), learned[-1]
    step = 2 * (max(last.high, 0) - min(last.low, 0)) / 255
    for image in images:
        expected = keras.ops.convert_to_numpy(aware.model(image[None])["map"])
        steps = np.abs(deployed(image[None])["map"].reshape(expected.shape) - expected) / step
        assert steps.max() < 1.01
        assert (steps < 0.01).mean() > 0.99  # the others are ties, which are rounded up or down
        assert len(np.unique((expected / step).round(2))) > 50  # there is something to agree on


def test_a_name_with_several_layers_has_the_range_of_most_of_them():
    learned = [
        ActivationRange((INPUT,), False, -1.0, 1.0),
        ActivationRange(("conv", "bn", "act"), True, 0.0, 2.0),
        ActivationRange(("act2",), False, -0.5, 3.0),
        ActivationRange(("twin",), False, 0.0, 4.0),
        ActivationRange(("twin",), False, 0.0, 5.0),
    ]
    convolved = "backbone_1/act_1/Relu;backbone_1/conv_1/convolution"
    operators = [
        NetworkOperator("pad_1/Pad", "PAD", ("serving_default_image:0",)),
        NetworkOperator(convolved, "CONV_2D", ("pad_1/Pad",)),
        NetworkOperator("backbone_1/act2_1/Sigmoid", "LOGISTIC", ("x",)),
        NetworkOperator("backbone_1/act2_1/mul_1", "MUL", ("x",)),
        NetworkOperator("backbone_1/twin_1/mul_1", "MUL", ()),
    ]  # fmt: skip
    ranges = tensor_ranges(operators, learned)
    assert ranges == {
        "serving_default_image:0": (-1.0, 1.0), "pad_1/Pad": (-1.0, 1.0), "x": (-1.0, 1.0),
        convolved: (0.0, 2.0), operators[2].name: (0.0, 1.0), operators[3].name: (-0.5, 3.0),
    }  # fmt: skip
    assert without_range(operators, ranges) == [operators[4].name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "activation"),
    [
        ("fnn", None), ("fnn", "leaky_relu"), ("cnn", "gelu"), ("cnn", "swish"), ("vgg16", None),
        ("resnet18", None), ("resnet34", None), ("resnet50", None), ("efficientnetb0", None),
    ],
)  # fmt: skip
def test_every_tensor_of_every_architecture_has_a_range(arch, activation, tmp_path):
    target = Target("thickness", 3.0, 1.0)
    network = build_model(
        arch, (32, 32, 1), 3, hidden_units=16, activation=activation, targets=(target,), seed=0
    )
    image = keras.Input((32, 32, 1), name="image")
    network = keras.Model(image, network(image), name="standardized_network")
    aware = quantization_aware(network)
    observe_ranges(aware, [np.random.default_rng(0).normal(size=(2, 32, 32, 1)).astype("float32")])
    write_tflite(network, tmp_path / "network.tflite", (32, 32, 1))
    operators = network_operators((tmp_path / "network.tflite").read_bytes())
    learned = activation_ranges_of(aware.model)
    ranges = tensor_ranges(operators, learned)
    assert not without_range(operators, ranges)
    assert {(one.low, one.high) for one in learned} <= set(ranges.values())
