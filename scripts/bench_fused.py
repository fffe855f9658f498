"""What faster layers and fused optimizers save of a training step.

    python scripts/bench_fused.py [--arch resnet18 efficientnetb0] [--image-size 64] [--turns 6]

Builds each network twice, as `alloyk train` compiles it and with Keras' own layers and optimizer
(`alloyk/training/faster_layers.py`, `fused_optimizers.py`), trains both on one batch in memory in
turns, and prints the milliseconds of a step and the median of the ratios of single turns.
"""

import argparse
import os
import statistics
from contextlib import nullcontext
from unittest.mock import patch

from alloyk.config.recipes import ARCHITECTURES

STEPS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--arch", nargs="+", choices=ARCHITECTURES, default=["resnet18", "efficientnetb0"]
    )
    parser.add_argument("--image-size", type=int, nargs="+", default=[64])
    parser.add_argument("--turns", type=int, default=6)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(f"{'':16s} {'size':>5s} {'Keras, ms':>10s} {'fused, ms':>10s} {'ratio':>6s}")
    for arch in options.arch:
        for size in options.image_size:
            plain, fused = keras_alone(arch, size), bench(arch, size)
            turns = [
                [1000 * one.bare_seconds(STEPS) / STEPS for one in (plain, fused)]
                for _ in range(options.turns)
            ]
            medians = [statistics.median(one) for one in zip(*turns, strict=True)]
            ratio = statistics.median(first / second for first, second in turns)
            print(f"{arch:16s} {size:5d} {medians[0]:10.0f} {medians[1]:10.0f} {ratio:6.2f}")


def bench(arch: str, size: int):
    from bench_training import Bench

    return Bench(arch, size, images=64)


def keras_alone(arch: str, size: int):
    """The bench of a network whose training step is traced with Keras' own operators."""
    from alloyk.training import fused_optimizers

    with (
        patch("alloyk.training.faster_layers.faster_layers", lambda _: nullcontext()),
        patch.object(fused_optimizers.Fused, "can_fuse", lambda *_: False),
    ):
        return bench(arch, size)


if __name__ == "__main__":
    main()
