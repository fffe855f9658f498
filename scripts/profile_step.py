"""Where the time of a training step goes, by operator of TensorFlow.

    python scripts/profile_step.py [--arch resnet18] [--image-size 96] [--steps 20]

Trains on one batch in memory, as `scripts/bench_training.py` does for its bare step, under
TensorFlow's profiler, and prints a row for each kind of operator: calls and milliseconds in a step,
and its share of the time of all operators. Convolutions have their rate too, beside that of a
float32 matrix product of 2048×2048. The kernels are those that TensorFlow chooses, or
`TF_ENABLE_ONEDNN_OPTS` in the environment.
"""

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from alloyk.config.recipes import ARCHITECTURES

HOST = "/host:CPU"
# oneDNN's operators are called like those they replace, after this.
ONEDNN = "_MklNative"
# Operators of which each takes nearly all operations of one of the three passes of a step.
PASSES = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter")
# They wait for the operators inside them, which are counted.
FUNCTIONS = ("StatefulPartitionedCall", "PartitionedCall", "While", "StatelessWhile", "If")
LEAST_SHARE = 0.005


class Operator(NamedTuple):
    """Time of all calls of one kind of operator."""

    name: str
    calls: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", choices=ARCHITECTURES, default="resnet18")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from bench_training import Bench, matrix_product_rate

    rate = matrix_product_rate()
    bench = Bench(options.arch, options.image_size, images=64)
    with tempfile.TemporaryDirectory() as folder:
        seconds = profiled_seconds(bench, options.steps, Path(folder))
        operators = operators_of(Path(folder))
    if not operators:
        sys.exit("the profile has no operators; this version of TensorFlow records none")
    flop = bench.training_flop() / 3 * bench.batch_size
    print(
        f"{options.arch}, {options.image_size} pixels, batches of {bench.batch_size}: "
        f"{1000 * seconds / options.steps:.0f} ms a step, matrix product {rate:.0f} GFLOP/s"
    )
    print_table(operators, options.steps, flop, rate)


def profiled_seconds(bench, steps: int, folder: Path) -> float:
    """Seconds of the steps, whose profile is written into a folder."""
    import tensorflow as tf

    tf.profiler.experimental.start(str(folder))
    try:
        return bench.bare_seconds(steps)
    finally:
        tf.profiler.experimental.stop()


def operators_of(folder: Path) -> list[Operator]:
    """The operators of a profile, the longest first.

    TensorFlow names the event of an operator `PATH:KIND`.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    calls: dict[str, int] = defaultdict(int)
    picoseconds: dict[str, int] = defaultdict(int)
    for file in folder.rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace.FromString(file.read_bytes())
        for plane in space.planes:
            if plane.name != HOST:
                continue
            for line in plane.lines:
                for event in line.events:
                    name = plane.event_metadata[event.metadata_id].name
                    path, _, kind = name.rpartition(":")
                    kind = kind.removeprefix(ONEDNN)
                    if "/" in path and kind.isidentifier() and kind not in FUNCTIONS:
                        calls[kind] += 1
                        picoseconds[kind] += event.duration_ps
    found = [Operator(kind, calls[kind], picoseconds[kind] / 1e12) for kind in calls]
    return sorted(found, key=lambda one: -one.seconds)


def print_table(operators: list[Operator], steps: int, flop: float, rate: float) -> None:
    total = sum(one.seconds for one in operators)
    print(
        f"{'operator':32s} {'calls':>6s} {'ms':>8s} {'share':>6s} {'GFLOP/s':>8s} {'of matrix':>9s}"
    )
    rest = 0.0
    for one in operators:
        if one.seconds < LEAST_SHARE * total:
            rest += one.seconds
            continue
        line = f"{one.name:32s} {one.calls / steps:6.0f} {1000 * one.seconds / steps:8.2f}"
        line += f" {one.seconds / total:6.3f}"
        if one.name in PASSES:
            reached = flop * steps / one.seconds / 1e9
            line += f" {reached:8.0f} {reached / rate:9.2f}"
        print(line)
    print(f"{'all others':32s} {'':6s} {1000 * rest / steps:8.2f} {rest / total:6.3f}")


if __name__ == "__main__":
    main()
