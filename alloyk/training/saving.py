"""Save a trained network: the model file and the facts of its run."""

import platform
from collections.abc import Sequence
from importlib import metadata as installed
from pathlib import Path

import keras
import tensorflow as tf

from alloyk import __version__
from alloyk.data import ImageDataset
from alloyk.files import whole_file
from alloyk.inference.metadata import ModelMetadata, write_metadata
from alloyk.inference.novelty import NoveltyDetector
from alloyk.inference.novelty_file import write_detector
from alloyk.inference.training_counts import measured_counts
from alloyk.runs.facts import Facts
from alloyk.runtime.kernels import describe_kernels, processor_name
from alloyk.targets import LOGITS, Target
from alloyk.training.losses.multitask import MultitaskNetwork


def save_classifier(
    preprocessing: keras.Model,
    network: keras.Model,
    path: Path,
    dataset: ImageDataset,
    targets: tuple[Target, ...],
    detector: NoveltyDetector | None,
) -> None:
    """Write preprocessing and network as one model that takes the raw image."""
    # The same layers without loss and optimizer, whose moments would triple the file.
    uncompiled = keras.Model(network.inputs, network.output, name=network.name)
    classifier = keras.Sequential(
        [keras.Input(preprocessing.input_shape[1:], name="raw_image"), preprocessing, uncompiled],
        name="classifier",
    )
    depths, brightest = measured_counts(dataset.paths("train"))
    metadata = ModelMetadata(
        depths=depths,
        brightest=brightest,
        classes=dataset.classes,
        output=LOGITS,
        simulated=dataset.simulated,
        spreads={target.column: target.spread for target in targets},
        page=dataset.page,
        raw=dataset.raw,
        hdf5_path=dataset.hdf5_path,
        channels=dataset.channels,
    )
    with whole_file(path) as unfinished:
        classifier.save(unfinished)
        write_metadata(unfinished, metadata)
        if detector is not None:
            write_detector(unfinished, detector)


def training_facts(
    dataset: ImageDataset, network: keras.Model, kernels: Sequence[str] = ()
) -> Facts:
    """Return the facts of a run, except its configuration and metrics.

    Args:
        dataset: The data set.
        network: The trained network.
        kernels: CPU kernels of the training; several if it was resumed with others.
    """
    packages = ("tensorflow", "keras", "numpy", "scikit-learn")
    several = isinstance(network, MultitaskNetwork)
    return Facts(
        alloyk=__version__,
        classes=dataset.classes,
        simulated=dataset.simulated,
        data_root=dataset.root.absolute(),
        grouped_by=dataset.grouped_by,
        channels=dataset.channels.as_dict() if dataset.channels else {},
        notes=dataset.notes,
        skipped=dataset.skipped,
        images={str(split): int(n) for split, n in dataset.table["split"].value_counts().items()},
        fingerprint=dataset.fingerprint(),
        # Of the saved network: learned weights of tasks are used in training only.
        parameters=keras.Model(network.inputs, network.output).count_params(),
        loss_weights=network.loss_weights() if several else {},
        packages={name: installed.version(name) for name in packages},
        python=platform.python_version(),
        processor=processor_name(),
        cpu_kernels={
            **describe_kernels(),
            **({"before_a_break": ", ".join(kernels[:-1])} if len(kernels) > 1 else {}),
        },
        devices=tuple(device.name for device in tf.config.list_logical_devices()),
    )
