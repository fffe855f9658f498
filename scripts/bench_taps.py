"""Convolutions with few pixels of output: oneDNN against a matrix product for each tap.

    python scripts/bench_taps.py [--arch resnet18] [--image-size 32 64 96] [--batch 32] [--turns 9]

For each size of layer with an output of at most 4×4 pixels, prints the milliseconds of the output
and its gradients by both ways in turns (medians), the median of the ratios of single turns, and
which one `alloyk/training/faster_layers.py` takes.
"""

import argparse
import os
import statistics
from unittest.mock import patch

from bench_depthwise import network, seconds

from alloyk.config.recipes import ARCHITECTURES

LARGEST = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", choices=ARCHITECTURES, default="resnet18")
    parser.add_argument("--image-size", type=int, nargs="+", default=[32, 64, 96])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=9)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    from alloyk.training.faster_layers import FEW_PIXELS

    print("image  layer                                  oneDNN, ms  taps, ms  ratio  taken")
    for size in options.image_size:
        for shape, same in layers(options.arch, size).items():
            turns = times(same[0], options)
            first, second = (1000 * statistics.median(one) for one in zip(*turns, strict=True))
            ratio = statistics.median(one / other for one, other in turns)
            few = same[0].output.shape[1] <= FEW_PIXELS[same[0].padding]
            print(
                f"{size:5d}  {f'{shape}, {len(same)}×':38s} {first:10.1f} {second:9.1f} "
                f"{ratio:6.2f}  {'taps' if few else 'oneDNN'}", flush=True,
            )  # fmt: skip


def layers(arch: str, size: int) -> dict[str, list]:
    """Description of a layer → the layers of this kind, by single pixels left out."""
    import keras

    found: dict[str, list] = {}
    for layer in network(arch, size)._flatten_layers():
        if not isinstance(layer, keras.layers.Conv2D) or layer.output.shape[1] > LARGEST:
            continue
        (kernel, _), (stride, _) = layer.kernel_size, layer.strides
        if (kernel, stride) != (1, 1):
            (_, side, _, channels), (_, output, _, filters) = layer.input.shape, layer.output.shape
            shape = f"{kernel}×{kernel}/{stride}, {side}²×{channels} to {output}²×{filters}"
            found.setdefault(shape, []).append(layer)
    return found


def times(layer, options: argparse.Namespace) -> list[list[float]]:
    """Seconds of a layer's output and gradients, by Keras and by taps, in turns."""
    import tensorflow as tf

    from alloyk.training import faster_layers

    images = tf.random.normal([options.batch, *layer.input.shape[1:]])
    upstream = tf.random.normal([options.batch, *layer.output.shape[1:]])

    def step(call):
        def output_and_gradients():
            with tf.GradientTape() as tape:
                tape.watch(images)
                output = call(layer, images)
            gradients = tape.gradient(output, [images, layer.kernel.value], upstream)
            return output, gradients

        return tf.function(output_and_gradients)

    both = [step(type(layer).call), step(faster_layers._by_taps)]
    with patch.dict(faster_layers.FEW_PIXELS, same=LARGEST, valid=LARGEST):
        for one in both:
            one()
    return [[seconds(one) for one in both] for _ in range(options.turns)]


if __name__ == "__main__":
    main()
