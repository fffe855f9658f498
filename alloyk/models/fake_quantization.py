"""Fake quantisation: layers that compute in float32 what an int8 `.tflite` file will compute.

Rounding has no useful gradient, so it is passed through as if it were the identity (the
straight-through estimator), except outside the range of an activation, where it is 0.

Weights are symmetric, one scale for each output channel, in -127..127. Activations are asymmetric,
one scale for each tensor, in -128..127, with 0 exactly representable. A batch norm is folded into
the weights in front of it before they are rounded, with its moving averages: the exported file uses
those, and a network that has been trained already needs no new ones (Krishnamoorthi, 2018, freezes
them too before a fine-tuning ends).

References: [Jacob et al., 2018](https://arxiv.org/abs/1712.05877), sections 3 and 3.2;
[Krishnamoorthi, 2018](https://arxiv.org/abs/1806.08342), sections 2.4 and 3.2; the scales are those
of [TensorFlow Lite](https://ai.google.dev/edge/litert/models/quantization_spec).
"""

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

LEVELS = 255
"""Steps of an int8 activation from its lowest to its highest value."""

MIN_RANGE = 1e-9
"""A narrower range is taken to be this wide; a scale must not be 0."""


@dataclass
class Switch:
    """What the fake quantisers of one network do, until a graph is traced with it.

    Attributes:
        active: Whether they quantise.
        observing: Whether they measure ranges, each the mean over the batches seen. Only where
            TensorFlow runs eagerly.
    """

    active: bool = True
    observing: bool = False


def fake_quantize(x: Any, low: Any, high: Any) -> Any:
    """Round activations to the 256 values of an int8 scale from `low` to `high`.

    The gradient is 1 inside the range and 0 outside.

    >>> found = fake_quantize(ops.array([-1.0, 0.004, 0.3, 9.0]), 0.0, 2.55)
    >>> [round(float(one), 3) for one in found]
    [0.0, 0.0, 0.3, 2.55]
    """
    low, high = ops.minimum(low, 0.0), ops.maximum(high, 0.0)  # 0 is what images are padded with
    scale = ops.maximum(high - low, MIN_RANGE) / LEVELS
    zero = ops.round(-128 - low / scale)
    inside = ops.clip(x, (-128 - zero) * scale, (127 - zero) * scale)
    rounded = ops.round(inside / scale) * scale
    return inside + ops.stop_gradient(rounded - inside)


def fake_quantize_sigmoid(x: Any) -> Any:
    """Round values in [0, 1] to multiples of 1/256 below 1: TensorFlow Lite's scale of a sigmoid.

    >>> (fake_quantize_sigmoid(ops.array([0.0, 0.499, 1.0])) * 256).numpy().tolist()
    [0.0, 128.0, 255.0]
    """
    inside = ops.clip(x, 0.0, 255 / 256)
    return inside + ops.stop_gradient(ops.round(inside * 256) / 256 - inside)


def fake_quantize_weights(kernel: Any, axes: tuple[int, ...]) -> Any:
    """Round weights to 127 steps on either side of 0, with a scale for each output channel.

    Args:
        kernel: The weights.
        axes: Those over which a channel's largest magnitude is taken.

    >>> fake_quantize_weights(ops.array([[1.27, 12.7], [0.014, -0.3]]), (0,)).numpy().tolist()
    [[1.2699999809265137, 12.699999809265137], [0.009999999776482582, -0.30000001192092896]]
    """
    largest = ops.max(ops.abs(kernel), axis=axes, keepdims=True)
    scale = ops.stop_gradient(ops.maximum(largest, MIN_RANGE) / 127)
    rounded = ops.round(kernel / scale) * scale
    return kernel + ops.stop_gradient(rounded - kernel)


class FakeQuantize(keras.layers.Layer):
    """Round activations to the int8 values of their range, a moving average over batches.

    Args:
        switch: Shared by all of a network.
        layers: Names of the layers whose joint output this is.
        weighted: Whether that is a layer with weights (and what is fused with it).
        momentum: Share of the range that is kept in a training step.
        name: Name of the layer.
    """

    def __init__(
        self, switch: Switch, layers: tuple[str, ...], *, weighted: bool, momentum: float, name: str
    ) -> None:
        super().__init__(name=name, dtype="float32")
        self.switch, self.of_layers, self.weighted = switch, tuple(layers), weighted
        self.momentum = momentum
        self.batches_seen = 0
        self.low = self.add_weight(shape=(), initializer="zeros", trainable=False, name="low")
        self.high = self.add_weight(shape=(), initializer="zeros", trainable=False, name="high")

    def call(self, x: Any, training: bool = False) -> Any:
        if self.switch.observing:
            self.batches_seen += 1
            self._follow(x, 1 / self.batches_seen)
        elif training and self.switch.active:
            self._follow(x, 1 - self.momentum)
        return fake_quantize(x, self.low, self.high) if self.switch.active else x

    def _follow(self, x: Any, share: float) -> None:
        """Move the range towards that of `x`."""
        x = ops.stop_gradient(x)
        self.low.assign(self.low + share * (ops.min(x) - self.low))
        self.high.assign(self.high + share * (ops.max(x) - self.high))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class QuantizedWeights(keras.layers.Layer):
    """A convolution or dense layer, with the batch norm after it folded in, and rounded weights.

    The layers keep their weights: what is learned here is learned by them.

    Args:
        switch: Shared by all of a network.
        layer: `Conv2D`, `DepthwiseConv2D` or `Dense`; its activation is left out.
        norm: The batch norm after it, or None.
    """

    def __init__(
        self,
        switch: Switch,
        layer: keras.layers.Layer,
        norm: keras.layers.BatchNormalization | None,
    ) -> None:
        super().__init__(name=f"{layer.name}_quantized", dtype="float32")
        self.switch, self.layer, self.norm = switch, layer, norm

    def build(self, input_shape: Any) -> None:
        self.built = True

    def folded(self) -> tuple[Any, Any]:
        """The kernel and the bias, batch norm included."""
        kernel = ops.convert_to_tensor(self.layer.kernel)
        bias = ops.convert_to_tensor(self.layer.bias) if self.layer.use_bias else 0.0
        if self.norm is None:
            return kernel, bias
        norm = self.norm
        factor = 1 / ops.sqrt(norm.moving_variance + norm.epsilon)
        if norm.scale:
            factor = factor * norm.gamma
        bias = (bias - norm.moving_mean) * factor
        if norm.center:
            bias = bias + norm.beta
        return kernel * ops.reshape(factor, self._channels()), bias

    def _channels(self) -> tuple[int, ...]:
        """Shape of the output channels within the kernel.

        A depthwise kernel is `(height, width, channels, multiplier)`.
        """
        depthwise = isinstance(self.layer, keras.layers.DepthwiseConv2D)
        return tuple(self.layer.kernel.shape[2 if depthwise else -1 :])

    def call(self, x: Any) -> Any:
        kernel, bias = self.folded()
        if self.switch.active:
            axes = tuple(range(len(kernel.shape) - len(self._channels())))
            kernel = fake_quantize_weights(kernel, axes)
        layer = self.layer
        if isinstance(layer, keras.layers.Dense):
            return ops.matmul(x, kernel) + bias
        convolve = (
            ops.depthwise_conv if isinstance(layer, keras.layers.DepthwiseConv2D) else ops.conv
        )
        return bias + convolve(
            x,
            kernel,
            strides=tuple(layer.strides),
            padding=layer.padding,
            data_format=layer.data_format,
            dilation_rate=tuple(layer.dilation_rate),
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)


class QuantizedSigmoid(keras.layers.Layer):
    """The sigmoid of an int8 file, or the swish made of it: `x · sigmoid(x)`.

    Args:
        switch: Shared by all of a network.
        name: Name of the layer.
        swish: Whether the result is multiplied by the input.
    """

    def __init__(self, switch: Switch, *, swish: bool, name: str) -> None:
        super().__init__(name=name, dtype="float32")
        self.switch, self.swish = switch, swish

    def call(self, x: Any) -> Any:
        gate = ops.sigmoid(x)
        if self.switch.active:
            gate = fake_quantize_sigmoid(gate)
        return x * gate if self.swish else gate

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class SharedLayer(keras.layers.Layer):
    """A layer of another model, called without becoming part of this model's graph.

    A layer that is in two graphs has no single `input` and `output` any more.
    """

    def __init__(self, layer: keras.layers.Layer) -> None:
        super().__init__(name=f"{layer.name}_shared", dtype="float32")
        self.layer = layer

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, x: Any) -> Any:
        return self.layer(x)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)
