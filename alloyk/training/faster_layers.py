"""Layers of Keras computed in less time in training, with the same numbers up to rounding.

Batch norm is one operator of TensorFlow; Keras makes a dozen of it. A convolution by single pixels
is a matrix product, and one with few pixels of output is a sum of such products. The gradient of a
depthwise convolution by its kernel is that of TensorFlow's own operator where oneDNN's is slower.
GELU and its gradient pass over the feature maps once each, where Keras' operators pass a dozen
times.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, NamedTuple

import keras

FAST_KERNEL, FAST_SIDE = 3, 3
"""Largest kernel and smallest output for which oneDNN's gradient by the kernel is the faster one.

Measured by `scripts/bench_depthwise.py`.
"""
FEW_PIXELS = {"same": 3, "valid": 2}
"""Largest side of an output that matrix products compute sooner than oneDNN does, by padding.

Measured by `scripts/bench_taps.py`.
"""


@contextmanager
def faster_layers(network: keras.Model) -> Iterator[None]:
    """Compute layers in less time while a network is trained (`scripts/bench_fused.py`).

    The layers stay those of Keras, and so do saved files: only their computation is replaced, by
    the same one. Keras' own is used on another backend, for other types than float32, and where a
    layer has options that the replacement lacks; for batch norm, on several devices too.
    """
    layers = []
    for layer in network._flatten_layers():
        call = _faster_call(layer)
        if call is not None:
            layer.call = partial(call, layer)
            layers.append(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call


def _faster_call(layer: keras.Layer) -> Callable[..., Any] | None:
    """What replaces the layer's `call`; None for most layers."""
    if keras.backend.backend() != "tensorflow" or layer.compute_dtype != "float32":
        return None
    if isinstance(layer, keras.layers.BatchNormalization):
        usual = layer.axis in (-1, 3) and layer.scale and layer.center and not layer.renorm
        return _batch_norm if usual else None
    if isinstance(layer, keras.layers.Activation):
        return _gelu if layer.activation is keras.activations.gelu else None
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        usual = layer.data_format == "channels_last" and tuple(layer.dilation_rate) == (1, 1)
        square = len(set(layer.strides)) == 1  # what TensorFlow's operator takes
        return _depthwise if usual and square and not layer.use_bias else None
    if isinstance(layer, keras.layers.Conv2D):
        if layer.data_format != "channels_last" or layer.groups != 1:
            return None
        if tuple(layer.kernel_size) == tuple(layer.strides) == (1, 1):
            return _pointwise
        usual = tuple(layer.dilation_rate) == (1, 1) and len(set(layer.strides)) == 1
        return _by_taps if usual else None
    return None


def _batch_norm(
    layer: keras.layers.BatchNormalization,
    inputs: Any,
    training: bool | None = None,
    mask: Any = None,
) -> Any:
    """The layer's `call`: normalise `(batch, height, width, channels)`, update the averages."""
    here = training and layer.trainable and mask is None and not layer.synchronized
    if not here or len(inputs.shape) != 4:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    import tensorflow as tf

    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.convert_to_tensor(layer.gamma),
        offset=tf.convert_to_tensor(layer.beta),
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=layer.epsilon,
        is_training=True,
    )
    # The operator divides by n − 1, Keras by n.
    values = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
    variance *= (values - 1) / values
    for average, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        average.assign(average * layer.momentum + now * (1 - layer.momentum))
    return outputs


def _gelu(layer: keras.layers.Activation, inputs: Any) -> Any:
    """The layer's `call`. On a GPU it is Keras' own."""
    import tensorflow as tf

    if tf.config.list_logical_devices("GPU"):
        return type(layer).call(layer, inputs)
    return _compiled_gelu()(inputs)


@cache
def _compiled_gelu() -> Callable[[Any], Any]:
    """GELU (Hendrycks and Gimpel 2016, exact) and its gradient, each compiled to one loop."""
    import tensorflow as tf

    def probability(x: Any) -> Any:
        """That a standard normal value is below `x`."""
        return tf.math.erfc(x * -math.sqrt(1 / 2)) / 2

    def density(x: Any) -> Any:
        return tf.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)

    @tf.function(jit_compile=True)
    def outputs(x: Any) -> Any:
        return x * probability(x)

    @tf.function(jit_compile=True)
    def gradient(x: Any, upstream: Any) -> Any:
        return upstream * (probability(x) + x * density(x))

    @tf.custom_gradient
    def gelu(x: Any) -> Any:
        return outputs(x), partial(gradient, x)

    return gelu


def _pointwise(layer: keras.layers.Conv2D, inputs: Any) -> Any:
    """The layer's `call` as a matrix product of `(pixels, channels)` and the kernel."""
    if None in inputs.shape[1:]:
        return type(layer).call(layer, inputs)
    import tensorflow as tf

    channels = inputs.shape[-1]
    # Not kernel[0, 0], whose gradient is written into zeros: 4 % of a step of EfficientNetB0.
    kernel = tf.reshape(layer.kernel, [channels, layer.filters])
    product = tf.matmul(tf.reshape(inputs, [-1, channels]), kernel)
    outputs = tf.reshape(product, [-1, *inputs.shape[1:-1], layer.filters])
    return _activated(layer, outputs)


def _by_taps(layer: keras.layers.Conv2D, inputs: Any) -> Any:
    """The layer's `call` where few pixels come out: the sum of a matrix product for each tap.

    A tap is a pixel of the kernel. Its product leaves out the outputs for which it lies on padding:
    in an image of 1×1 pixels only one of 3×3 taps lies on the image. On a GPU, where many small
    operators take longer than a large one, the convolution is Keras' own.
    """
    sides, stride = inputs.shape[1:3], layer.strides[0]
    if None in sides:
        return type(layer).call(layer, inputs)
    import tensorflow as tf

    outputs, pixels = padding_in_pixels(sides, layer.kernel_size, stride, layer.padding)
    if max(outputs) > FEW_PIXELS[layer.padding] or tf.config.list_logical_devices("GPU"):
        return type(layer).call(layer, inputs)
    overlaps = [
        [Overlap.of_tap(tap, stride, *lengths) for tap in range(taps)]
        for taps, *lengths in zip(layer.kernel_size, pixels[2:6:2], sides, outputs, strict=True)
    ]
    channels = inputs.shape[-1]
    weights = tf.unstack(tf.reshape(layer.kernel, [-1, channels, layer.filters]))
    products = []
    for (rows, columns), weight in zip(itertools.product(*overlaps), weights, strict=True):
        if not rows.outputs or not columns.outputs:
            continue
        seen = inputs[:, rows.seen, columns.seen]
        product = tf.matmul(tf.reshape(seen, [-1, channels]), weight)
        shape = [-1, len(rows.outputs), len(columns.outputs), layer.filters]
        around = [(0, 0), rows.around, columns.around, (0, 0)]
        products.append(tf.pad(tf.reshape(product, shape), around))
    return _activated(layer, tf.add_n(products))


class Overlap(NamedTuple):
    """Where a tap of a convolution lies on the image, along one axis."""

    outputs: range
    """The outputs for which it does."""
    seen: slice
    """The inputs that it sees for them."""
    around: tuple[int, int]
    """The number of outputs before and after these."""

    @classmethod
    def of_tap(cls, tap: int, stride: int, padding: int, side: int, output: int) -> "Overlap":
        """The overlap of a tap, counted from the kernel's first.

        Args:
            tap: Which tap of the kernel.
            stride: Pixels between two outputs.
            padding: Pixels of padding before the first input.
            side: Number of inputs.
            output: Number of outputs.

        >>> Overlap.of_tap(0, stride=1, padding=1, side=2, output=2)
        Overlap(outputs=range(1, 2), seen=slice(0, 1, 1), around=(1, 0))
        >>> Overlap.of_tap(1, stride=2, padding=0, side=6, output=2)
        Overlap(outputs=range(0, 2), seen=slice(1, 4, 2), around=(0, 0))
        """
        offset = tap - padding
        first = max(0, -(offset // stride))
        end = max(first, min(output, (side - 1 - offset) // stride + 1))
        seen = slice(first * stride + offset, (end - 1) * stride + offset + 1, stride)
        return cls(range(first, end), seen, (first, output - end))


def _activated(layer: keras.layers.Conv2D, outputs: Any) -> Any:
    """A convolution's outputs with bias and activation."""
    import tensorflow as tf

    if layer.use_bias:
        outputs = tf.nn.bias_add(outputs, tf.convert_to_tensor(layer.bias))
    return layer.activation(outputs)


def _depthwise(layer: keras.layers.DepthwiseConv2D, inputs: Any) -> Any:
    """The layer's `call`, with another gradient by the kernel where that is faster.

    TensorFlow hands operators to oneDNN, except those whose padding is given in pixels.
    """
    sides, kernel_size, stride = inputs.shape[1:3], layer.kernel_size, layer.strides[0]
    if None in sides:
        return type(layer).call(layer, inputs)
    outputs, pixels = padding_in_pixels(sides, kernel_size, stride, layer.padding)
    if not slow_in_onednn(kernel_size, outputs):
        return type(layer).call(layer, inputs)
    import tensorflow as tf

    options = {"strides": [1, stride, stride, 1], "padding": layer.padding.upper()}
    in_pixels = {**options, "padding": "EXPLICIT", "explicit_paddings": pixels}

    @tf.custom_gradient
    def convolve(images: Any, kernel: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, Any]:
            by_images = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(images), filter=kernel, out_backprop=upstream, **options
            )
            by_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=images, filter_sizes=kernel.shape, out_backprop=upstream, **in_pixels
            )
            return by_images, by_kernel

        return tf.raw_ops.DepthwiseConv2dNative(input=images, filter=kernel, **options), gradient

    return layer.activation(convolve(inputs, tf.convert_to_tensor(layer.kernel)))


def padding_in_pixels(
    sides: Sequence[int], kernel_size: Sequence[int], stride: int, padding: str
) -> tuple[list[int], list[int]]:
    """Height and width of a convolution's output, and its padding as an operator takes it.

    Args:
        sides: Height and width of the images.
        kernel_size: Those of the kernel.
        stride: Pixels between two outputs.
        padding: `same` or `valid`.

    >>> padding_in_pixels((8, 7), (5, 5), stride=2, padding="same")
    ([4, 4], [0, 0, 1, 2, 2, 2, 0, 0])
    """
    outputs, pixels = [], [0, 0]
    for side, length in zip(sides, kernel_size, strict=True):
        if padding == "same":
            output = -(-side // stride)
            missing = max((output - 1) * stride + length - side, 0)
        else:
            output, missing = (side - length) // stride + 1, 0
        outputs.append(output)
        pixels += [missing // 2, missing - missing // 2]
    return outputs, [*pixels, 0, 0]


def slow_in_onednn(kernel_size: Sequence[int], outputs: Sequence[int]) -> bool:
    """Whether oneDNN's gradient by the kernel takes longer than TensorFlow's own."""
    return max(kernel_size) > FAST_KERNEL or min(outputs) < FAST_SIDE
