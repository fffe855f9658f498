"""A complete, untrained run folder, made in a second: a network whose decisions differ by image."""

from collections import defaultdict
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from alloyk.config import resolve_config, write_config
from alloyk.data.source import open_dataset
from alloyk.imaging import read_image
from alloyk.inference.metadata import ModelMetadata, write_metadata
from alloyk.models import build_model
from alloyk.models.nested import nested_layers
from alloyk.preprocessing import Standardize
from alloyk.preprocessing.for_dataset import preprocessing_for
from alloyk.runs.folder import RunFolder
from alloyk.runs.predictions import write_predictions
from alloyk.runs.split_record import write_split_record

CLASSES = ("1050", "2017", "steel")


def raw_image(number: int, size=(40, 48), *, rgb=False) -> np.ndarray:
    """Counts of a plate with waves of its own, 16-bit gray or 8-bit colour."""
    rng = np.random.default_rng([number, *size])
    rows, columns = np.mgrid[: size[0], : size[1]] / 10
    waves = np.sin(rng.uniform(-3, 3) * rows + rng.uniform(-3, 3) * columns + rng.uniform(0, 6))
    counts = 9000 + 3000 * waves + rng.normal(0, rng.uniform(50, 2000), size)
    if not rgb:
        return counts.clip(0, 16383).astype(np.uint16)
    tint = rng.uniform(0.5, 1, 3)
    return (counts[..., None] / 64 * tint).clip(0, 255).astype(np.uint8)


def write_dataset(folder: Path, *, sizes=((40, 48),), rgb=False, per_class=6) -> Path:
    """`folder`/{train,val,test}/<class>/*.png; the sizes take turns."""
    number = 0
    for split, count in (("train", 2), ("val", 1), ("test", per_class)):
        for label in CLASSES:
            (folder / split / label).mkdir(parents=True)
            for _ in range(count):
                pixels = raw_image(number, sizes[number % len(sizes)], rgb=rgb)
                Image.fromarray(pixels).save(folder / split / label / f"{number:03}.png")
                number += 1
    return folder


def write_run(
    run: Path, data: Path, *, arch="cnn", image_size=32, policy="float32", repair=False
) -> Path:
    """A run on `data`: config.yaml, model.keras and predictions.csv, as training leaves them.

    Repair is off unless a test is about preprocessing: its graph takes longest to trace.
    """
    settings = {
        "data": {"path": str(data)},
        "model": {"arch": arch, "hidden_units": 32},
        "preprocess": {"image_size": image_size, "equalize": True, "repair": repair},
    }
    config = resolve_config(None, settings)
    dataset = open_dataset(config.data_settings())
    run.mkdir(parents=True)
    write_config(config, run / "config.yaml")
    write_split_record(RunFolder(run).split_file, dataset)

    keras.config.set_dtype_policy(policy)
    try:
        preprocessing = preprocessing_for(dataset, **config.preprocessing_settings())
        image = keras.Input((image_size, image_size, 1), name="image")
        standardized = Standardize((0.5,), (0.29,))(image)
        network = build_model(
            arch, (image_size, image_size, 1), len(CLASSES), hidden_units=32, seed=3
        )
        network = keras.Model(image, network(standardized), name="standardized_network")
        classifier = keras.Sequential(
            [keras.Input((None, None, None), name="raw_image"), preprocessing, network],
            name="classifier",
        )
    finally:
        keras.config.set_dtype_policy("float32")
    raw = [read_image(path).astype(np.float32) for path in dataset.paths("test")]
    probabilities = spread_decisions(classifier, raw)
    classifier.save(run / "model.keras")
    write_metadata(
        run / "model.keras",
        ModelMetadata(classes=dataset.classes, output="logits", simulated=False),
    )
    write_predictions(
        run / "predictions.csv", dataset.split("test"), probabilities, dataset.classes
    )
    return run


def spread_decisions(classifier, images) -> np.ndarray:
    """Shift and scale the last layer so that logits have mean 0 and deviation 1 over `images`.

    Without this an untrained network answers the same to all, and any comparison passes.

    Returns:
        The probabilities afterwards.
    """

    by_shape = defaultdict(list)
    for number, image in enumerate(images):
        by_shape[image.shape].append(number)

    def logits():
        found = np.empty((len(images), len(CLASSES)))
        for numbers in by_shape.values():
            batch = np.stack([images[number] for number in numbers])
            found[numbers] = classifier(batch, training=False)
        return found

    last = next(layer for layer in nested_layers(classifier) if layer.name == "logits")
    before = logits()
    kernel, bias = last.get_weights()
    scale = 1 / before.std(axis=0)
    last.set_weights([kernel * scale, (bias - before.mean(axis=0)) * scale])
    powers = np.exp(logits())
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    assert len(set(probabilities.argmax(axis=1))) == len(CLASSES)
    assert probabilities.max() < 0.999
    return probabilities
