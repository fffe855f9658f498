"""Images per second in training, beside what the processor can compute.

    python scripts/bench_training.py [--arch resnet18 efficientnetb0] [--image-size 32 64 96]
        [--kernels eigen onednn bfloat16] [--turns 3] [--images 512] [--pytorch PYTHON]

Prints a row for each architecture, image size and set of TensorFlow's CPU kernels:

- bare: images/s of the training step alone, on one batch in memory
- train: images/s of `fit` as `alloyk train` runs it: shuffled, augmented as the embedded
  default, with checkpoints and history, without the report of each epoch
- ratio: train over bare
- predict: images/s of prediction in batches
- GFLOP: operations of one training image, three times those of the forward pass
- share: GFLOP/s of the bare step over those of a float32 matrix product of 2048×2048

`bfloat16` is oneDNN with Keras' policy `mixed_bfloat16`, which alloyk does not use. The kernels are
measured in turns, each in a process of its own that waits while the others measure. Rates are
medians over the turns, ratios medians of the ratios of single turns.

With `--pytorch`, a Python of an environment with torch and timm measures the bare step and
prediction of these networks in PyTorch, as one more set (`bench_training_pytorch.py`).
"""

import argparse
import atexit
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments import DEFAULT

from alloyk.config.recipes import ARCHITECTURES

KERNELS = {  # name -> TF_ENABLE_ONEDNN_OPTS and Keras' precision policy
    "eigen": ("0", "float32"),
    "onednn": ("1", "float32"),
    "bfloat16": ("1", "mixed_bfloat16"),
}
MATRIX_SIDE = 2048
PYTORCH_WORKER = Path(__file__).with_name("bench_training_pytorch.py")
IN_PYTORCH = {"resnet18", "resnet50", "efficientnetb0"}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--arch", nargs="+", choices=ARCHITECTURES, default=["resnet18", "efficientnetb0"]
    )
    parser.add_argument("--image-size", type=int, nargs="+", default=[96])
    parser.add_argument("--kernels", nargs="+", choices=KERNELS, default=["eigen", "onednn"])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--pytorch", metavar="PYTHON", help="also measure PyTorch; a Python that has torch and timm"
    )
    parser.add_argument("--worker", metavar="POLICY", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.pytorch:
        return options
    if not shutil.which(options.pytorch):
        parser.error(f"--pytorch: there is no program {options.pytorch}")
    others = sorted(set(options.arch) - IN_PYTORCH)
    if others:
        parser.error(f"--pytorch compares {', '.join(sorted(IN_PYTORCH))}, not {', '.join(others)}")
    return options


def main():
    options = parse_arguments()
    if options.worker:
        return work(options.worker)
    workers = {name: start_worker(name) for name in options.kernels}
    if options.pytorch:
        workers = {"pytorch": start([options.pytorch, PYTORCH_WORKER], os.environ)} | workers
    rates = {name: ask(worker, {"do": "matmul"}) for name, worker in workers.items()}
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, matrix product "
        + ", ".join(f"{rate:.0f} GFLOP/s ({name})" for name, rate in rates.items())
    )
    print(
        f"{'':16s} {'size':>5s} {'kernels':>8s} {'bare':>7s} {'train':>7s} {'ratio':>6s} "
        f"{'predict':>8s} {'GFLOP':>7s} {'share':>6s}"
    )
    for arch in options.arch:
        for size in options.image_size:
            measure(workers, rates, arch, size, options)
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()


def measure(workers, rates, arch, size, options):
    """Measure one network in all workers, in turns, and print its rows."""
    task = {"do": "build", "arch": arch, "size": size, "images": options.images}
    # PyTorch's worker, which comes first, does not count operations.
    *_, flop = [ask(worker, task) for worker in workers.values()]
    gflop = flop / 1e9
    found: dict[str, list] = {name: [] for name in workers}
    for _ in range(options.turns):
        for name, worker in workers.items():
            found[name].append(ask(worker, {"do": "turn"}))
    for name, turns in found.items():
        median = {what: statistics.median(turn[what] for turn in turns) for what in turns[0]}
        trained = f"{'':7s} {'':6s}"
        if "train" in median:
            ratio = statistics.median(turn["train"] / turn["bare"] for turn in turns)
            trained = f"{median['train']:7.1f} {ratio:6.2f}"
        share = median["bare"] * gflop / rates[name]
        print(
            f"{arch:16s} {size:5d} {name:>8s} {median['bare']:7.1f} {trained} "
            f"{median['predict']:8.1f} {gflop:7.3f} {share:6.2f}"
        )
    for first, second in itertools.combinations(found, 2):
        for what in found[first][0]:
            pairs = zip(found[first], found[second], strict=True)
            ratio = statistics.median(two[what] / one[what] for one, two in pairs)
            print(f"{'':16s} {'':5s} {what}: {second} over {first} {ratio:.2f}", flush=True)


def start_worker(kernels):
    onednn, policy = KERNELS[kernels]
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": onednn, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return start([sys.executable, __file__, "--worker", policy], environment)


def start(command, environment):
    return subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def ask(worker, task):
    print(json.dumps(task), file=worker.stdin, flush=True)
    answer = worker.stdout.readline()
    if not answer:
        sys.exit(f"{worker.args[0]} has ended; its error is above")
    return json.loads(answer)


def work(policy):
    """Answer tasks from standard input, one line of JSON each."""
    bench = None
    for line in sys.stdin:
        task = json.loads(line)
        if task["do"] == "matmul":
            answer = matrix_product_rate()
        elif task["do"] == "build":
            bench = Bench(task["arch"], task["size"], task["images"], policy)
            answer = bench.training_flop()
        elif bench:
            answer = bench.turn()
        print(json.dumps(answer), flush=True)


def matrix_product_rate():
    """GFLOP/s of a large float32 matrix product, the best of several."""
    import tensorflow as tf

    a = tf.random.normal((MATRIX_SIDE, MATRIX_SIDE))
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        (a @ a).numpy()
        seconds.append(time.perf_counter() - start)
    return 2 * MATRIX_SIDE**3 / min(seconds) / 1e9


class Bench:
    """A network, compiled as `alloyk train` does, and images to train it on."""

    def __init__(self, arch, size, images, policy="float32"):
        import keras
        import numpy as np

        from alloyk.config import parse_overrides, resolve_config
        from alloyk.preprocessing import Standardize
        from alloyk.training.build import build_network, compile_network
        from alloyk.training.faster_layers import faster_layers

        keras.backend.clear_session()
        keras.config.set_dtype_policy(policy)
        rng = np.random.default_rng(0)
        self.images = rng.random((images, size, size, 1), np.float32)
        self.labels = rng.integers(0, 2, images)
        settings = [f"model.arch={arch}", f"preprocess.image_size={size}"]
        config = resolve_config(None, parse_overrides(settings))
        self.batch_size = config.train.batch_size
        self.steps = images // self.batch_size
        self.network = build_network(config, [Standardize([0.5], [0.3])], 2)
        compile_network(config, self.network, self.labels, 2, self.steps)
        faster = faster_layers(self.network)
        faster.__enter__()  # for as long as the process runs
        atexit.register(faster.__exit__, None, None, None)
        # All three trace their function in the first call.
        few = 2 * self.batch_size
        self.first_seconds = self.bare_seconds(1)
        self.train_seconds(self.images[:few], self.labels[:few])
        self.predict_seconds(self.images[:few])

    def turn(self):
        """Images per second of the bare step, of training and of prediction."""
        trained = self.steps * self.batch_size
        bare, train = self.bare_seconds(self.steps), self.train_seconds(self.images, self.labels)
        return {
            "bare": trained / bare,
            "train": trained / train,
            "predict": len(self.images) / self.predict_seconds(self.images),
        }

    def bare_seconds(self, steps):
        import tensorflow as tf

        from alloyk.pipeline.reading import untuned

        first = slice(0, self.batch_size)
        batch = (tf.constant(self.images[first]), tf.constant(self.labels[first]))
        same = tf.data.Dataset.from_tensors(batch).repeat().with_options(untuned())
        start = time.perf_counter()
        self.network.fit(same, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0)
        return time.perf_counter() - start

    def predict_seconds(self, images):
        import tensorflow as tf

        from alloyk.pipeline.reading import untuned

        batches = tf.data.Dataset.from_tensor_slices(images).batch(self.batch_size)
        start = time.perf_counter()
        self.network.predict(batches.with_options(untuned()), verbose=0)
        return time.perf_counter() - start

    def train_seconds(self, images, labels):
        with tempfile.TemporaryDirectory() as folder:
            return self._train_seconds(images, labels, Path(folder))

    def _train_seconds(self, images, labels, folder):
        from alloyk import pipeline
        from alloyk.preprocessing.augmentation import Augmentation
        from alloyk.training.callbacks import HistoryFile, StopOnNaN
        from alloyk.training.checkpoint import BestEpoch, Checkpoint

        best = BestEpoch(folder, monitor="loss")
        checkpoint = Checkpoint(folder, best)
        checkpoint.attach(self.network, [best])
        history = HistoryFile(folder / "history.csv")
        history.keep_until(0)
        batches = pipeline.training_batches(
            pipeline.KeptImages(images), labels, batch_size=self.batch_size, seed=0, epochs=1,
            augmentation=Augmentation(**DEFAULT["augment"]),
        )  # fmt: skip
        start = time.perf_counter()
        self.network.fit(
            batches, steps_per_epoch=len(images) // self.batch_size, epochs=1, verbose=0,
            shuffle=False, callbacks=[StopOnNaN(), best, history, checkpoint],
        )  # fmt: skip
        return time.perf_counter() - start

    def training_flop(self):
        """Floating-point operations of one training image: forward, and twice that backward."""
        return 3 * forward_flop(self.network)


def forward_flop(layer):
    """Operations of convolutions and dense layers for one image, a multiply-add counted as two."""
    import keras

    if isinstance(layer, keras.Model):
        return sum(forward_flop(inner) for inner in layer.layers)
    weights = getattr(layer, "kernel", None)
    if weights is None:
        return 0
    if isinstance(layer, keras.layers.Dense):
        return 2 * weights.shape[0] * weights.shape[1]
    _, rows, columns, channels = layer.output.shape
    per_place = 1
    for length in weights.shape[:3]:
        per_place *= length
    # Depthwise: one filter for each channel, and its kernel has the channels already.
    each = 1 if isinstance(layer, keras.layers.DepthwiseConv2D) else channels
    return 2 * rows * columns * per_place * each


if __name__ == "__main__":
    main()
