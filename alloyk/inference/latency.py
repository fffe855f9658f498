"""Measure the speed and memory of a model.

This is done in a separate process: TensorFlow sets its number of threads once, when it starts, and
the calling process has other threads at work.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from alloyk.errors import ModelError
from alloyk.inference.classifier import Classifier, load
from alloyk.runtime.memory import peak_memory_bytes

WARM_UP = 3
MAX_RUNS = 300
SECONDS = 2.0  # after which no further run starts
MIN_RUNS = 5
TOGETHER = 16
"""Number of images in a batch when throughput is measured."""

QUIET = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYTHONWARNINGS": "ignore",
}


@dataclass(frozen=True)
class Speed:
    """Speed and memory of a model on raw images of one shape, reading of files not included.

    Attributes:
        threads: Processor threads.
        median_seconds: Median time of one image by itself.
        p99_seconds: 99th percentile of the same.
        runs: Number of runs that both are computed from.
        images_per_second: Throughput: in batches of `TOGETHER` if the model takes batches.
        peak_bytes: Largest resident memory of the process, Python and libraries included, with
            one image at a time.
    """

    threads: int
    median_seconds: float
    p99_seconds: float
    runs: int
    images_per_second: float
    peak_bytes: int


def measured_speed(model: Path, image_shape: tuple[int, int, int], threads: int = 1) -> Speed:
    """Measure a model in a process of its own.

    Args:
        model: Anything that `alloyk.load` takes.
        image_shape: `(height, width, channels)` of the raw image.
        threads: Processor threads.

    Raises:
        ModelError: The measuring process failed.
    """
    command = [sys.executable, "-m", "alloyk.inference.latency", str(model), str(threads)]
    environment = {
        **os.environ,
        **QUIET,
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": "1",
    }
    command += map(str, image_shape)
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode:
        why = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelError(f"could not measure the latency of {model}: {why}")
    return Speed(**json.loads(ended.stdout.splitlines()[-1]))


def single_thread_latency(model: Path, image_shape: tuple[int, int, int]) -> float:
    """Return the median seconds for one raw image `(height, width, channels)`, after loading.

    Raises:
        ModelError: The measuring process failed.
    """
    return measured_speed(model, image_shape).median_seconds


def measure(model: Path, image_shape: tuple[int, int, int], threads: int = 1) -> Speed:
    """Measure a model in this process."""
    classifier = load(model, threads=threads)
    image = np.random.default_rng(0).integers(0, 2**14, image_shape).astype(np.float32)[None]
    seconds = _timed(classifier, image)
    peak_bytes = peak_memory_bytes()  # before any batch
    together = seconds
    count = 1
    if classifier.backend.takes_batches:
        count = TOGETHER
        together = _timed(classifier, np.repeat(image, count, axis=0))
    return Speed(
        threads=threads,
        median_seconds=statistics.median(seconds),
        p99_seconds=float(np.percentile(seconds, 99)),
        runs=len(seconds),
        images_per_second=count / statistics.median(together),
        peak_bytes=peak_bytes,
    )


def _timed(classifier: Classifier, images: np.ndarray) -> list[float]:
    for _ in range(WARM_UP):
        classifier.backend(images)
    seconds: list[float] = []
    while len(seconds) < MAX_RUNS and (len(seconds) < MIN_RUNS or sum(seconds) < SECONDS):
        start = time.perf_counter()
        classifier.backend(images)
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    threads, height, width, channels = map(int, sys.argv[2:])
    speed = measure(Path(sys.argv[1]), (height, width, channels), threads)
    sys.stdout.write(json.dumps(asdict(speed)) + "\n")
