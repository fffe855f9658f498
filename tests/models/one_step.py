"""Train one step of each architecture on the Keras backend of the environment, and keep the result.

Usage: KERAS_BACKEND=jax python one_step.py OUT.npz ARCH...
"""

import sys

import keras
import numpy as np

from alloyk.models import ARCHITECTURES, build_model
from alloyk.preprocessing import augmentation, build_preprocessing
from alloyk.training.losses import build_loss
from alloyk.training.optimizers import build_optimizer

SIDE, CLASSES, BATCH = 32, 3, 8

# All but those that need KerasCV or change the classes.
AUGMENTATIONS = {
    "geometry": {
        "horizontal_flip": True, "vertical_flip": True, "rotation_deg": 20, "scale": 0.2,
        "shift": 0.1, "crop": 0.2, "orientation": True,
    },
    "elastic": {"elastic": 0.03},
    "brightness": {
        "brightness": 0.2, "contrast": 0.2, "cutout": 0.3, "erasing": 0.7, "noise": 0.1,
    },
    "detector": {"blur": 0.8, "response": 0.1, "defects": 0.01, "border": 0.1},
}  # fmt: skip


def fill(network):
    """Weights that do not depend on the backend: kernels from NumPy, the others as built."""
    rng = np.random.default_rng(0)
    for weight in network.trainable_variables:
        if weight.name == "kernel":
            fan_in = np.prod(weight.shape[:-1])
            weight.assign(rng.normal(0, np.sqrt(1 / fan_in), weight.shape).astype(np.float32))


def weights_of(network):
    """Copies of the trainable weights."""
    return [keras.ops.convert_to_numpy(one).copy() for one in network.trainable_variables]


def one_step(arch):
    """Loss, then for each trainable weight the change by one step."""
    keras.utils.set_random_seed(0)
    # Other draws on each backend.
    drawn = {"stochastic_depth": 0.0} if "stochastic_depth" in ARCHITECTURES[arch].options else {}
    size = {"depth": 1} if arch == "cnn" else {}  # each stage has the same layers
    network = build_model(
        arch, (SIDE, SIDE, 1), CLASSES, hidden_units=32, dropout=0.0, **drawn, **size
    )
    fill(network)
    before = weights_of(network)
    rng = np.random.default_rng(1)
    images = rng.normal(0, 1, (BATCH, SIDE, SIDE, 1)).astype(np.float32)
    labels = rng.integers(0, CLASSES, BATCH)
    optimizer = build_optimizer("sgd", 0.1, weight_decay=0.0001, clip_norm=1.0)
    network.compile(optimizer, build_loss("focal", class_counts=[3, 3, 2], gamma=2.0))
    loss = float(network.train_on_batch(images, labels))
    after = weights_of(network)
    return loss, [two - one for one, two in zip(before, after, strict=True)]


def preprocessed():
    """A batch of raw images through the layers that a saved model has."""
    counts = np.random.default_rng(2).integers(0, 16384, (2, 40, 50, 1)).astype(np.float32)
    layers = build_preprocessing((SIDE, SIDE), repair=True, normalize="robust", equalize=True)
    return layers.predict(counts, verbose=0)  # compiled once, not operation by operation


class NumpyDraws:
    """Random numbers that do not depend on the backend, in place of `Draws`."""

    def __init__(self, seed, rows=None, size=None):
        self.rng = np.random.default_rng(0)

    def uniform(self, shape, low, high, axis=0):
        shape = [int(length) for length in shape]
        return keras.ops.convert_to_tensor(self.rng.uniform(low, high, shape).astype(np.float32))

    def normal(self, shape):
        shape = [int(length) for length in shape]
        return keras.ops.convert_to_tensor(self.rng.normal(0, 1, shape).astype(np.float32))


def augmented():
    """Name → a batch changed by some augmentations."""
    batch = np.random.default_rng(3).random((4, 24, 24, 1), np.float32)
    found = {}
    original, augmentation.Draws = augmentation.Draws, NumpyDraws
    try:
        for name, strengths in AUGMENTATIONS.items():
            change = augmentation.Augmentation(**strengths)
            if keras.backend.backend() == "jax":
                import jax

                changed = jax.jit(lambda images, change=change: change(images, None))(batch)
            else:
                changed = change(batch, None)
            found[f"augmented by {name}"] = keras.ops.convert_to_numpy(changed)
    finally:
        augmentation.Draws = original
    return found


def steps_of(names):
    """Name → array: the preprocessed batch, and for each architecture its loss and changes."""
    found = {"backend": keras.backend.backend(), "preprocessed": preprocessed(), **augmented()}
    for arch in names:
        loss, changes = one_step(arch)
        found[f"{arch} loss"] = np.float64(loss)
        found.update({f"{arch} {number:03d}": change for number, change in enumerate(changes)})
    return found


if __name__ == "__main__":
    out, *names = sys.argv[1:]
    np.savez(out, **steps_of(names))
