"""The gradient of depthwise convolutions by their kernels: oneDNN against TensorFlow's own.

    python scripts/bench_depthwise.py [--image-size 32 64 96 224] [--batch 32] [--turns 9]

For each size of layer in efficientnetb0, prints the milliseconds of both in turns (medians), the
median of the ratios of single turns, and which one `alloyk/training/faster_layers.py` takes.
TensorFlow hands the operator to oneDNN unless its padding is given in pixels.
"""

import argparse
import os
import statistics
import time

ARCH = "efficientnetb0"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--image-size", type=int, nargs="+", default=[32, 64, 96, 224])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=9)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    from alloyk.training.faster_layers import padding_in_pixels, slow_in_onednn

    print("image  layer                          oneDNN, ms  own, ms  ratio  taken")
    for size in options.image_size:
        totals = [0.0, 0.0, 0.0]
        for layer, count in layers(size).items():
            kernel, stride, side, channels, padding = layer
            sides, kernel_size = (side, side), (kernel, kernel)
            outputs, pixels = padding_in_pixels(sides, kernel_size, stride, padding)
            own = slow_in_onednn(kernel_size, outputs)
            turns = times(layer, outputs, pixels, options)
            first, second = (1000 * statistics.median(one) for one in zip(*turns, strict=True))
            for at, one in enumerate((first, second, second if own else first)):
                totals[at] += count * one
            shape = f"{kernel}×{kernel}/{stride} {padding}, {side}×{side}×{channels}, {count}×"
            ratio = statistics.median(one / other for one, other in turns)
            print(
                f"{size:5d}  {shape:30s} {first:11.2f} {second:8.2f} {ratio:6.2f}  "
                f"{'own' if own else 'oneDNN'}"
            )
        print(f"{size:5d}  {'all':30s} {totals[0]:11.2f} {totals[1]:8.2f}   taken: {totals[2]:.2f}")


def layers(size: int) -> dict[tuple[int, int, int, int, str], int]:
    """(kernel, stride, side, channels, padding) → number of such layers."""
    import keras

    found: dict[tuple[int, int, int, int, str], int] = {}
    for layer in network(ARCH, size)._flatten_layers():
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            _, side, _, channels = layer.input.shape
            key = (layer.kernel_size[0], layer.strides[0], side, channels, layer.padding)
            found[key] = found.get(key, 0) + 1
    return found


def network(arch: str, size: int):
    """The network that `alloyk train` builds for one channel and two classes."""
    from alloyk.config import parse_overrides, resolve_config
    from alloyk.preprocessing import Standardize
    from alloyk.training.build import build_network

    settings = parse_overrides([f"model.arch={arch}", f"preprocess.image_size={size}"])
    return build_network(resolve_config(None, settings), [Standardize([0.5], [0.3])], 2)


def times(
    layer: tuple[int, int, int, int, str],
    outputs: list[int],
    pixels: list[int],
    options: argparse.Namespace,
) -> list[list[float]]:
    """Seconds of oneDNN's and of TensorFlow's own operator, in turns."""
    import tensorflow as tf

    kernel, stride, side, channels, padding = layer
    images = tf.random.normal([options.batch, side, side, channels])
    upstream = tf.random.normal([options.batch, *outputs, channels])

    def gradient(**padded):
        return tf.function(
            lambda: tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
                input=images, filter_sizes=[kernel, kernel, channels, 1], out_backprop=upstream,
                strides=[1, stride, stride, 1], **padded,
            )
        )  # fmt: skip

    both = [
        gradient(padding=padding.upper()),
        gradient(padding="EXPLICIT", explicit_paddings=pixels),
    ]
    for one in both:
        one()
    return [[seconds(one) for one in both] for _ in range(options.turns)]


def seconds(operator) -> float:
    start = time.perf_counter()
    operator()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
