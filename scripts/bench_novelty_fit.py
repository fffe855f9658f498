"""How long the detector of unlike images takes to fit, beside NumPy's full decompositions.

    python scripts/bench_novelty_fit.py [--width 1280] [--turns 3]

Random features of `--width` numbers (1,280 of EfficientNetB0) and a coarse image of each of 1,000
images. The decompositions are those of an earlier version: all eigenvectors of the covariances, and
all singular vectors, with as many threads as OpenBLAS takes.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from alloyk.inference.novelty_fitting import MAX_IMAGES, fit_novelty
from alloyk.inference.raw_statistics import NAMES
from alloyk.models.pooled import COARSE_SIDE


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    picture = COARSE_SIDE**2
    features = rng.random((MAX_IMAGES, options.width + picture))
    measured = rng.random((MAX_IMAGES, len(NAMES)))
    pooled, pictures = np.split(features, [options.width], axis=1)

    def full() -> None:
        for values in (pooled, pictures):
            np.linalg.eigh(np.cov(values.T))
        np.linalg.svd(pooled, full_matrices=False)

    ways: dict[str, Callable[[], object]] = {
        "fit_novelty": lambda: fit_novelty(features, measured, picture),
        "full decompositions": full,
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.turns):
        for way, run in ways.items():
            started = time.perf_counter()
            run()
            seconds[way].append(time.perf_counter() - started)
    for way, found in seconds.items():
        print(f"{way:20s} median {statistics.median(found):6.2f} s, longest {max(found):6.2f} s")


if __name__ == "__main__":
    main()
