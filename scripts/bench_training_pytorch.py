"""A training step in PyTorch, for `bench_training.py --pytorch`.

Needs no alloyk: it runs in an environment with torch and timm, whose networks it takes, with the
activations of alloyk's. Answers the tasks of `bench_training.py` from standard input, one line of
JSON each. The memory format is channels-last, the faster one on CPUs; the optimizer is Adam
without weight decay and clipping, where alloyk's step has the optimizer of its recipe with both.
"""

import json
import sys
import time

import timm
import torch

NAMES = {"efficientnetb0": "efficientnet_b0"}  # where timm's differ
ACTIVATIONS = {"resnet50": "gelu"}
MATRIX_SIDE = 2048
BATCH_SIZE = 32


def main():
    bench = None
    for line in sys.stdin:
        task = json.loads(line)
        answer = None
        if task["do"] == "matmul":
            answer = matrix_product_rate()
        elif task["do"] == "build":
            bench = Bench(task["arch"], task["size"], task["images"])
        elif bench:
            answer = bench.turn()
        print(json.dumps(answer), flush=True)


def matrix_product_rate():
    """GFLOP/s of a large float32 matrix product, the best of several."""
    a = torch.randn(MATRIX_SIDE, MATRIX_SIDE)
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 2 * MATRIX_SIDE**3 / min(seconds) / 1e9


class Bench:
    """A network of timm, and one batch of images."""

    def __init__(self, arch, size, images):
        options = {"act_layer": ACTIVATIONS[arch]} if arch in ACTIVATIONS else {}
        network = timm.create_model(NAMES.get(arch, arch), num_classes=2, in_chans=1, **options)
        self.network = network.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-3)
        self.loss = torch.nn.CrossEntropyLoss()
        batch = torch.randn(BATCH_SIZE, 1, size, size)
        self.images = batch.to(memory_format=torch.channels_last)
        self.labels = torch.randint(0, 2, (BATCH_SIZE,))
        self.steps = images // BATCH_SIZE
        for _ in range(2):
            self.train()
            self.predict()

    def turn(self):
        """Images per second of the bare step and of prediction."""
        return {"bare": self.rate(self.train), "predict": self.rate(self.predict)}

    def rate(self, step):
        start = time.perf_counter()
        for _ in range(self.steps):
            step()
        return self.steps * BATCH_SIZE / (time.perf_counter() - start)

    def train(self):
        self.network.train()
        self.optimizer.zero_grad()
        self.loss(self.network(self.images), self.labels).backward()
        self.optimizer.step()

    def predict(self):
        self.network.eval()
        with torch.inference_mode():
            self.network(self.images)


if __name__ == "__main__":
    main()
