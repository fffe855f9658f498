"""What faster layers and fused optimizers save of a training step.

    python scripts/bench_fused.py [--arch resnet18 efficientnetb0] [--image-size 64] [--turns 6]
    python scripts/bench_fused.py --without pointwise

Builds each network twice, as `alloyk train` compiles it and with Keras' own layers and optimizer
(`alloyk/training/faster_layers.py`, `fused_optimizers.py`), trains both on one batch in memory in
turns, and prints the milliseconds of a step, the median of the ratios of single turns, and how many
seconds the first step of each took, in which TensorFlow traces the graph. With `--without`, the
other network lacks only this one kind of faster layer, or computes the learning rate for each
weight (`rate`).
"""

import argparse
import os
import statistics
from contextlib import AbstractContextManager, ExitStack, nullcontext
from unittest.mock import patch

from alloyk.config.recipes import ARCHITECTURES

STEPS = 10
KINDS = ("batch_norm", "depthwise", "pointwise", "by_taps", "gelu", "rate")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--arch", nargs="+", choices=ARCHITECTURES, default=["resnet18", "efficientnetb0"]
    )
    parser.add_argument("--image-size", type=int, nargs="+", default=[64])
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--without", choices=KINDS, help="compare with all changes but this one")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    other = f"without {options.without}" if options.without else "Keras"
    print(
        f"{'':16s} {'size':>5s} {f'{other}, ms':>24s} {'alloyk, ms':>10s} {'ratio':>6s} "
        f"{'first steps, s':>14s}"
    )
    bench("fnn", 32)  # so that no other network pays for TensorFlow's start
    for arch in options.arch:
        for size in options.image_size:
            plain, fused = slower(arch, size, options.without), bench(arch, size)
            plain.bare_seconds(1)  # traces again: the other bench has cleared Keras' session
            turns = [
                [1000 * one.bare_seconds(STEPS) / STEPS for one in (plain, fused)]
                for _ in range(options.turns)
            ]
            medians = [statistics.median(one) for one in zip(*turns, strict=True)]
            ratio = statistics.median(first / second for first, second in turns)
            print(
                f"{arch:16s} {size:5d} {medians[0]:24.0f} {medians[1]:10.0f} {ratio:6.2f} "
                f"{plain.first_seconds:7.1f} {fused.first_seconds:6.1f}"
            )


def bench(arch: str, size: int):
    from bench_training import Bench

    return Bench(arch, size, images=64)


def slower(arch: str, size: int, without: str | None):
    """The bench of a network whose training step lacks one kind of faster layer, or all."""
    with ExitStack() as stack:
        for patched in lacking(without) if without else keras_alone():
            stack.enter_context(patched)
        return bench(arch, size)


def keras_alone() -> list[AbstractContextManager]:
    from alloyk.training import fused_optimizers

    return [
        patch("alloyk.training.faster_layers.faster_layers", lambda _: nullcontext()),
        patch.object(fused_optimizers.Fused, "can_fuse", lambda *_: False),
        rate_of_each_weight(),
    ]


def rate_of_each_weight() -> AbstractContextManager:
    """The learning rate as Keras computes it."""
    import keras

    from alloyk.training import fused_optimizers

    kept = keras.optimizers.Optimizer._get_current_learning_rate
    return patch.object(fused_optimizers.Fused, "_get_current_learning_rate", kept)


def lacking(kind: str) -> list[AbstractContextManager]:
    from alloyk.training import faster_layers

    if kind == "rate":
        return [rate_of_each_weight()]
    chosen, left_out = faster_layers._faster_call, getattr(faster_layers, f"_{kind}")

    def call(layer):
        faster = chosen(layer)
        return None if faster is left_out else faster

    return [patch.object(faster_layers, "_faster_call", call)]


if __name__ == "__main__":
    main()
