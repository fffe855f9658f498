"""How long a model takes for one image on one processor thread.

Measured in a separate process: TensorFlow sets its number of threads once, when it starts, and the
calling process has other threads at work.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from alloyk.errors import ModelError
from alloyk.inference.classifier import load

WARM_UP = 3
MOST_RUNS = 50
SECONDS = 2.0  # after which no further run starts
FEWEST_RUNS = 5

ONE_THREAD = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONWARNINGS": "ignore",
}


def single_thread_latency(model: Path, image_shape: tuple[int, int, int]) -> float:
    """Return the median seconds for one raw image `(height, width, channels)`, after loading.

    Raises:
        ModelError: The measuring process failed.
    """
    command = [sys.executable, "-m", "alloyk.inference.latency", str(model), *map(str, image_shape)]
    environment = {**os.environ, **ONE_THREAD}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode:
        why = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelError(f"could not measure the latency of {model}: {why}")
    return float(ended.stdout)


def measure(model: Path, image_shape: tuple[int, int, int]) -> float:
    """Return the median seconds for one raw image, in this process."""
    classifier = load(model, threads=1)
    image = np.random.default_rng(0).integers(0, 2**14, image_shape).astype(np.uint16)
    for _ in range(WARM_UP):
        classifier.predict(image)
    seconds: list[float] = []
    while len(seconds) < MOST_RUNS and (len(seconds) < FEWEST_RUNS or sum(seconds) < SECONDS):
        start = time.perf_counter()
        classifier.predict(image)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    height, width, channels = map(int, sys.argv[2:])
    sys.stdout.write(f"{measure(Path(sys.argv[1]), (height, width, channels))}\n")
