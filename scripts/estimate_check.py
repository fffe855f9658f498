"""The estimate of a training step beside the measured one, for each network.

    python scripts/estimate_check.py [--arch resnet18 efficientnetb0] [--image-size 32 64]

`alloyk train --time-budget` estimates the step from forward passes to decide on the image size,
before it trains. Prints seconds per step, estimated and measured, the share of the forward pass in
the measured step (`FORWARD_SHARE` in `alloyk/training/step_cost.py` is the one assumed), and how
long the estimate and the measurement take.
"""

import argparse
import time

from alloyk.config import resolve_config
from alloyk.config.recipes import ARCHITECTURES
from alloyk.runtime.tensorflow import load_tensorflow


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--image-size", type=int, nargs="+", default=[64])
    options = parser.parse_args()
    load_tensorflow()
    from alloyk.training.keras_setup import set_up_keras
    from alloyk.training.step_cost import FORWARD_SHARE, estimate_step, measure_configuration

    print(f"{'':16s} {'size':>5s} {'estimate':>9s} {'step':>7s} {'share':>6s} {'took':>11s}")
    for arch in options.arch:
        for side in options.image_size:
            settings = {"preprocess": {"image_size": side}, "model": {"arch": arch}}
            config = resolve_config(None, settings)
            set_up_keras(config)
            started = time.perf_counter()
            estimate = estimate_step(config, 2)
            between = time.perf_counter()
            step = measure_configuration(config, [100, 100]).seconds
            ended = time.perf_counter()
            share = FORWARD_SHARE * estimate / step
            print(
                f"{arch:16s} {side:5d} {estimate:9.3f} {step:7.3f} {share:6.2f} "
                f"{between - started:5.1f} {ended - between:5.1f}", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
