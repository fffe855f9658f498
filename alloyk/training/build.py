"""What a configuration means: its images as batches want them, its preprocessing, its network."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import keras
import numpy as np

from alloyk import pipeline
from alloyk.config import Config
from alloyk.data import SPLITS, ImageDataset
from alloyk.data.depths import depth_notes
from alloyk.data.source import cache_folder, open_dataset
from alloyk.models import build_model, expects_unit_range
from alloyk.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Standardize
from alloyk.targets import (
    Target,
    check_tasks,
    column_values,
    target_columns,
    target_of,
    task_notes,
    weights_of,
)
from alloyk.training.losses import build_loss
from alloyk.training.losses.mixed import MixedAccuracy, MixedLoss
from alloyk.training.losses.multitask import MultitaskNetwork
from alloyk.training.optimizers import build_optimizer
from alloyk.training.schedules import ReduceOnPlateau, build_schedule
from alloyk.training.time_budget import PacedSchedule


@dataclass(frozen=True)
class Split:
    """The images of one split, ready to be put into batches.

    Attributes:
        images: Where batches of preprocessed images come from.
        labels: `(n,)` int class numbers.
        values: Column of a task beside the alloy → `(n,)` float64, NaN where not known.
    """

    images: pipeline.KeptImages | pipeline.StreamedImages
    labels: np.ndarray
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self):
        return len(self.labels)


def open_training_data(config: Config) -> ImageDataset:
    """The data set of the configuration, checked for its tasks; notes say what they are.

    Raises:
        AlloykError: The data set cannot be used, or a task has no column to be learnt from.
    """
    dataset = open_dataset(config.data_settings())
    check_tasks(config.model.tasks, dataset.table)
    notes = (*task_notes(config.model.tasks, dataset.table), *depth_notes(dataset.paths("train")))
    return replace(dataset, notes=(*dataset.notes, *notes))


def load_splits(
    config: Config,
    dataset: ImageDataset,
    preprocessing: keras.layers.Layer,
    digests: dict[str, str] | None = None,
    *,
    names: Sequence[str] = SPLITS,
) -> list[Split]:
    """The images of splits, kept or streamed as the configuration says.

    Images to keep are read in one pass: setting up a pass takes longer than reading a small split.

    Args:
        config: The experiment.
        dataset: Its data set.
        preprocessing: Layers from a raw image to a gray one of fixed size.
        digests: Path → SHA-256 of the file; filled for plain files as they are read.
        names: The splits.

    Raises:
        AlloykError: An image to keep cannot be read, or there is not enough memory or disk space.
    """
    paths = [dataset.paths(name) for name in names]
    images: Iterable[pipeline.KeptImages | pipeline.StreamedImages]
    if config.data.cache == "none":
        images = [pipeline.StreamedImages(one, preprocessing, digests) for one in paths]
    else:
        folder = cache_folder() / "preprocessed" if config.data.cache == "disk" else None
        key = dataset.fingerprint() if folder else ""
        every = [path for one in paths for path in one]
        kept = pipeline.keep_images(every, preprocessing, folder=folder, key=key, digests=digests)
        images = kept.parts(map(len, paths))
    columns = target_columns(config.model.tasks, dataset.table)
    return [
        Split(
            own,
            dataset.labels(name),
            {column: column_values(dataset.split(name), column) for column in columns},
        )
        for name, own in zip(names, images, strict=True)
    ]


def targets_for(train: Split) -> tuple[Target, ...]:
    """The numbers to estimate, with their statistics over the training split."""
    return tuple(target_of(column, values) for column, values in train.values.items())


def standardization_for(config: Config, train: Split) -> list[keras.layers.Layer]:
    """The layer that standardises the gray image; none before pretrained weights.

    A pretrained backbone carries the normalisation it was trained with inside.
    """
    settings = config.preprocess
    if settings.mean is not None:
        return [Standardize(settings.mean, settings.std)]
    if settings.standardize == "none" or expects_unit_range(config.model.weights):
        return []
    if settings.standardize == "imagenet":
        return [Standardize(IMAGENET_MEAN, IMAGENET_STD)]
    return [Standardize(*pipeline.mean_and_std(train.images, len(train)))]


def build_network(
    config: Config, standardization, num_classes: int, targets: tuple[Target, ...] = ()
) -> keras.Model:
    """Standardisation and network as one model from an image in [0, 1] to logits.

    With `targets` it is a `MultitaskNetwork`, from the image to logits and each target's value.
    """
    model = config.model
    image = keras.Input((*config.preprocess.image_size, config.data.channel_count), name="image")
    standardized = image
    for layer in standardization:
        standardized = layer(standardized)
    network = build_model(
        model.arch,
        standardized.shape[1:],
        num_classes,
        activation=model.activation,
        weights=model.weights,
        hidden_units=model.hidden_units,
        dropout=model.dropout,
        seed=config.seed,
        batch_norm_momentum=model.batch_norm_momentum,
        stochastic_depth=model.stochastic_depth,
        stem_stride=model.stem_stride,
        depth=model.depth,
        width=model.width,
        kernel_size=model.kernel_size,
        targets=targets,
    )
    outputs, name = network(standardized), "standardized_network"
    if not targets:
        return keras.Model(image, outputs, name=name)
    fixed = config.multitask.weighting == "fixed"
    weights = weights_of(model.tasks, config.multitask.weights) if fixed else None
    return MultitaskNetwork(image, outputs, targets=targets, weights=weights, name=name)


def compile_network(
    config: Config, network: keras.Model, labels: np.ndarray, num_classes: int, steps: int
) -> list[keras.callbacks.Callback]:
    """Give the network its loss, and its optimizer with the learning-rate schedule.

    With a time budget the schedule is paced by a `TimeBudget`, see `paced_schedule_of`.

    Args:
        config: The experiment.
        network: From `build_network`.
        labels: `(n,)` int class numbers of the training split, for losses that weigh classes.
        num_classes: Number of classes.
        steps: Batches per epoch.

    Returns:
        Callbacks of the schedule: none, or one with state.
    """
    loss = config.loss.model_dump()
    optimizer = config.optimizer.model_dump()
    schedule = config.schedule.model_dump()
    plateau = config.schedule.name == "plateau"
    plateau_options = {
        key: schedule.pop(key) for key in ("factor", "patience", "min_delta") if plateau
    }
    # A recipe's warm-up must not forbid a short training.
    warmup = min(schedule.pop("warmup_epochs"), config.train.epochs / 2)
    learning_rate = build_schedule(
        schedule.pop("name"),
        learning_rate=optimizer.pop("learning_rate"),
        steps_per_epoch=steps,
        epochs=config.train.epochs,
        warmup_epochs=warmup,
        **schedule,
    )
    class_counts = np.bincount(labels, minlength=num_classes)
    loss = build_loss(loss.pop("name"), class_counts=class_counts.tolist(), **loss)
    rate = learning_rate
    if config.train.time_budget_minutes is not None:
        rate = PacedSchedule(learning_rate, config.train.epochs * steps)
    optimizer = build_optimizer(
        optimizer.pop("name"), rate, average_weights=config.train.average_weights, **optimizer
    )
    if isinstance(network, MultitaskNetwork):
        network.compile(optimizer, loss)
    else:
        accuracy = MixedAccuracy(name="accuracy")
        network.compile(optimizer, MixedLoss(loss), metrics=[accuracy])
    network.optimizer.build(network.trainable_variables)
    if not plateau:
        return []
    return [ReduceOnPlateau(learning_rate, start_epoch=math.ceil(warmup), **plateau_options)]


def paced_schedule_of(network: keras.Model) -> PacedSchedule | None:
    """The schedule that a time budget paces; None without a time budget."""
    schedule = network.optimizer._learning_rate  # Keras has no public way to the schedule
    return schedule if isinstance(schedule, PacedSchedule) else None
