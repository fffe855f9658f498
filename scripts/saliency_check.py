"""Do the maps lie where the evidence is? On simulated radiographs, where that is known.

    .venv/bin/python scripts/saliency_check.py [--images 1200] [--epochs 8]

Two questions, each put to Grad-CAM (at the layer that is chosen by itself, and at the last one)
and to SHAP: which share of a map's weight lies on the plate and its edge when two alloys are told
apart, and which on a bright marker when the marker is all that differs between two classes of the
same plates. Beside each stands the share that an even map would have. A few minutes on two cores.
"""

import argparse

import keras
import numpy as np

from alloyk.config.recipes import ARCHITECTURES
from alloyk.explanation.gradcam import GradCAM, enlarged
from alloyk.explanation.shapley import GradientSHAP
from alloyk.models import build_model
from alloyk.simulator.dataset.simulation import simulate_arrays

SIZE = 64
FIELD_MM = 60
MARKER = 8
SHOWN = 100


def plates(count, seed):
    """Simulated images in [0, 1], alloy numbers, and where plate and edge are."""
    counts, table = simulate_arrays(preset="easy", images=count, image_size=SIZE, seed=seed)
    low = counts.min(axis=(1, 2), keepdims=True)
    images = (counts - low) / (counts.max(axis=(1, 2), keepdims=True) - low)
    edge = (table["plate_edge_mm"].to_numpy() / FIELD_MM + 0.5) * SIZE
    # A cell of an 8×8 map reaches half its width over the edge.
    on_plate = np.arange(SIZE)[None, :, None] > edge[:, None, None] - SIZE / 16
    labels = (table["label"] == "2017").to_numpy().astype(int)
    return images.astype(np.float32), labels, np.broadcast_to(on_plate, images.shape)


def marked(images, rng):
    """Every second image with a bright square somewhere; labels, and where the squares are."""
    images, labels = images.copy(), np.arange(len(images)) % 2
    where = np.zeros(images.shape, bool)
    for i in np.flatnonzero(labels):
        row, column = rng.integers(0, SIZE - MARKER, 2)
        images[i, row : row + MARKER, column : column + MARKER] += 0.25
        near = [slice(max(0, at - 4), at + MARKER + 4) for at in (row, column)]
        where[i][tuple(near)] = True
    return np.clip(images, 0, 1), labels, where


def trained(arch, images, labels, epochs, seed=0):
    """A network that tells two classes of images in [0, 1] apart."""
    keras.utils.set_random_seed(seed)
    network = build_model(arch, (SIZE, SIZE, 1), 2, seed=seed)
    standardized = keras.Sequential(
        [keras.Input((SIZE, SIZE, 1)), keras.layers.Rescaling(4, -2), network]
    )
    standardized.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    standardized.fit(images[..., None], labels, epochs=epochs, batch_size=32, verbose=0)
    return standardized


def report(task, arch, network, images, labels, where, background):
    """Print a row for each kind of map."""
    accuracy = network.evaluate(images[..., None], labels, verbose=0)[1]
    for name, make, n in (
        ("Grad-CAM auto", GradCAM(network), SHOWN),
        ("Grad-CAM last", GradCAM(network, "last"), SHOWN),
        ("SHAP gradient", GradientSHAP(network, background, samples=100), 20),
    ):
        maps = np.abs(enlarged(make(images[:n], labels[:n]), (SIZE, SIZE)))
        some = maps.any(axis=(1, 2))
        total = maps[some].sum(axis=(1, 2))
        share = (maps[some] * where[:n][some]).sum(axis=(1, 2)) / total
        corner = maps[some][:, : SIZE // 4, [*range(SIZE // 4), *range(-SIZE // 4, 0)]]
        corners = corner.sum(axis=(1, 2)) / total
        even = where[:n][some].mean()
        settings = " ".join(str(value) for value in make.settings.values())
        print(
            f"{task:<8} {arch:<9} {accuracy:.3f}  {name:<14} {settings:<30} "
            f"{share.mean():.2f} (even {even:.2f})  upper corners {corners.mean():.2f} "
            f"(even {1 / 8:.2f})  empty {1 - some.mean():.2f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--arch", nargs="+", choices=ARCHITECTURES, default=["cnn", "resnet18"])
    options = parser.parse_args()
    images, labels, on_plate = plates(options.images, seed=0)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels, on_plate = images[order], labels[order], on_plate[order]
    test = slice(0, SHOWN)
    train = slice(SHOWN, None)
    for arch in options.arch:
        network = trained(arch, images[train], labels[train], options.epochs)
        report(
            "alloys", arch, network, images[test], labels[test], on_plate[test], images[train][:50]
        )
        with_marker, classes, where = marked(images, np.random.default_rng(1))
        network = trained(arch, with_marker[train], classes[train], options.epochs)
        shown = np.flatnonzero(classes[test])
        report(
            "marker", arch, network, with_marker[shown], classes[shown], where[shown],
            with_marker[train][:50],
        )  # fmt: skip


if __name__ == "__main__":
    main()
