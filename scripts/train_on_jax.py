#!/usr/bin/env python
"""Train the networks of alloyk with Keras on JAX, for example on a GPU, without TensorFlow.

    python scripts/train_on_jax.py CONFIG.yaml --runs RUNS [--seeds 0 1 2]

The run folder of each seed, RUNS/<name of CONFIG>-<seed>, has the configuration, the history, the
facts, the record of its images, the predictions of validation and test, their evaluation, and the
weights of the best epoch (`weights.npz`), but no `model.keras`. Data set, preprocessing,
augmentation, network, loss, optimizer and schedule are alloyk's own. What differs from
`alloyk train`: the random numbers; the last batch of an epoch, which is filled up with images of
the epoch's beginning, because a compiled step has one batch size; and an interrupted training run
starts again. The class is the only task, and pretrained weights, MixUp, time budgets and
`schedule.name=plateau` are refused.

An epoch is one compiled loop. It is compiled once for all seeds of a configuration.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import argparse
import csv
import platform
import sys
import time
from collections.abc import Sequence
from importlib import metadata as installed
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
from scipy.special import softmax

from alloyk import __version__
from alloyk.config import Config, resolve_config, write_config
from alloyk.data import SPLITS, ImageDataset
from alloyk.data.source import open_dataset
from alloyk.errors import AlloykError, ConfigError
from alloyk.imaging import read_image
from alloyk.imaging.gray import to_gray
from alloyk.models import expects_unit_range
from alloyk.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Standardize
from alloyk.preprocessing.augmentation import Augmentation
from alloyk.preprocessing.for_dataset import preprocessing_for
from alloyk.runs.facts import Facts
from alloyk.runs.folder import RunFolder
from alloyk.runs.predictions import write_predictions
from alloyk.runs.split_record import write_split_record
from alloyk.training.build import build_network, compile_network

PREDICTION_BATCH = 256


class Images(NamedTuple):
    """The preprocessed images of a data set, `(n, height, width, 1)` float32, and their classes."""

    arrays: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]


class State(NamedTuple):
    """What a training step changes: lists of arrays, in the order of Keras' variables."""

    trained: list[Any]
    other: list[Any]
    optimizer: list[Any]


class Best(NamedTuple):
    """The best epoch so far: its number, its value of the monitored column and its weights."""

    epoch: int
    value: float
    state: State


def load_images(config: Config, dataset: ImageDataset) -> Images:
    """Read and preprocess all images."""
    layers = preprocessing_for(dataset, **config.preprocessing_settings())
    arrays = {}
    for split in SPLITS:
        raw = [to_gray(read_image(path)) for path in dataset.paths(split)]
        batches = range(0, len(raw), PREDICTION_BATCH)
        parts = [_preprocessed(layers, raw[start : start + PREDICTION_BATCH]) for start in batches]
        arrays[split] = np.concatenate(parts)
    return Images(arrays, {split: dataset.labels(split) for split in SPLITS})


def _preprocessed(layers: keras.Model, raw: Sequence[np.ndarray]) -> np.ndarray:
    """Images of one size at a time."""
    result: dict[int, np.ndarray] = {}
    sizes = [image.shape for image in raw]
    for size in dict.fromkeys(sizes):
        places = [place for place, other in enumerate(sizes) if other == size]
        batch = np.stack([raw[place] for place in places]).astype(np.float32)
        result |= zip(places, np.asarray(layers.predict(batch, verbose=0)), strict=True)
    return np.stack([result[place] for place in range(len(raw))])


class Trainer:
    """Trains a configuration from any seed, with functions compiled once.

    Args:
        config: The experiment; its seed does not count.
        images: Of its data set.
        num_classes: Number of classes.

    Raises:
        ConfigError: The configuration needs what is not done here.
    """

    def __init__(self, config: Config, images: Images, num_classes: int) -> None:
        refuse_unsupported(config)
        self.config, self.num_classes = config, num_classes
        self.labels = images.labels
        self.steps = -(-len(images.labels["train"]) // config.train.batch_size)
        self.arrays = {split: jnp.asarray(array) for split, array in images.arrays.items()}
        self._training = self.arrays["train"], jnp.asarray(images.labels["train"])
        self.standardization = standardization_for(config, images.arrays["train"])
        self.network = self._compiled(config)
        self.augmentation = Augmentation(**config.augment.model_dump())
        self._epoch = jax.jit(self._train_epoch, donate_argnums=0)
        self._logits = jax.jit(lambda state, images: self._forward(state, images)[0])

    def train(self, seed: int) -> tuple[list[dict[str, float]], Best]:
        """Train from a seed; a row of `history.csv` for each epoch, and the best epoch.

        Raises:
            AlloykError: The loss is not finite.
        """
        config = self.config.model_copy(update={"seed": seed})
        keras.utils.set_random_seed(seed)
        network = self._compiled(config)
        state = State(
            [jnp.array(one.value) for one in network.trainable_variables],
            [jnp.array(one.value) for one in network.non_trainable_variables],
            [jnp.array(one.value) for one in network.optimizer.variables],
        )
        history: list[dict[str, float]] = []
        best: Best | None = None
        for epoch in range(config.train.epochs):
            start = time.monotonic()
            order = jnp.asarray(self._order(seed, epoch))
            key = jax.random.key(seed * 100_000 + epoch)
            state, loss, accuracy = self._epoch(state, order, key, *self._training)
            row = {"epoch": epoch + 1, "loss": float(loss), "accuracy": float(accuracy)}
            if not np.isfinite(row["loss"]):
                raise AlloykError(f"the loss must be finite, got {loss} in epoch {epoch + 1}")
            averaged = self._averaged(state)
            row |= self._validate(averaged)
            row |= {"learning_rate": self._rate(epoch), "seconds": time.monotonic() - start}
            history.append(row)
            monitor = config.train.monitor
            sign = -1 if monitor.endswith("accuracy") else 1
            if best is None or sign * row[monitor] < sign * best.value:
                best = Best(epoch, row[monitor], jax.device_get(averaged))
            last = max(best.epoch, config.train.start_from_epoch)
            if config.train.patience is not None and epoch - last >= config.train.patience:
                break
        assert best is not None
        return history, best

    def probabilities(self, state: State, split: str) -> np.ndarray:
        """Of the images of a split, `(n, num_classes)` float64."""
        return np.asarray(softmax(self._outputs(state, split).astype(np.float64), axis=1))

    def weights(self, state: State) -> dict[str, np.ndarray]:
        """Path of each weight of the network → its value."""
        named = [
            *zip(self.network.trainable_variables, state.trained, strict=True),
            *zip(self.network.non_trainable_variables, state.other, strict=True),
        ]
        values = {id(variable): np.asarray(value) for variable, value in named}
        return {
            f"{number} {weight.path}": values[id(weight)]
            for number, weight in enumerate(self.network.weights)
        }

    def _compiled(self, config: Config) -> keras.Model:
        layers = [Standardize(*self.standardization)] if self.standardization else []
        network = build_network(config, layers, self.num_classes)
        compile_network(config, network, self.labels["train"], self.num_classes, self.steps)
        return network

    def _order(self, seed: int, epoch: int) -> np.ndarray:
        """Numbers of the images of each batch, `(steps, batch_size)` int32."""
        rng = np.random.default_rng([seed, epoch])
        labels = self.labels["train"]
        if self.config.data.sampling == "class_aware":
            members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
            drawn = rng.integers(len(members), size=len(labels))
            order = np.array([rng.choice(members[number]) for number in drawn])
        else:
            order = rng.permutation(len(labels))
        batch_size = self.config.train.batch_size
        return np.resize(order, (self.steps, batch_size)).astype(np.int32)

    def _forward(self, state: State, images: Any, *, training: bool = False) -> tuple[Any, Any]:
        logits, other = self.network.stateless_call(
            state.trained, state.other, images, training=training
        )
        return logits, other

    def _train_epoch(
        self, state: State, order: Any, key: Any, images: Any, labels: Any
    ) -> tuple[State, Any, Any]:
        """Train on all batches; the state, mean loss and accuracy over them."""

        def step(state: State, place: tuple[Any, Any]) -> tuple[State, tuple[Any, Any]]:
            numbers, batch_key = place
            batch = self.augmentation(images[numbers], batch_key)
            truth = labels[numbers]

            def loss_of(trained: list[Any]) -> tuple[Any, tuple[Any, Any]]:
                logits, other = self._forward(state._replace(trained=trained), batch, training=True)
                return self.network.loss(truth, logits), (logits, other)

            gradient = jax.value_and_grad(loss_of, has_aux=True)
            (loss, (logits, other)), gradients = gradient(state.trained)
            trained, optimizer = self.network.optimizer.stateless_apply(
                state.optimizer, gradients, state.trained
            )
            right = jnp.mean(jnp.argmax(logits, axis=-1) == truth)
            return State(trained, other, optimizer), (loss, right)

        keys = jax.random.split(key, self.steps)
        state, (losses, right) = jax.lax.scan(step, state, (order, keys))
        return state, jnp.mean(losses), jnp.mean(right)

    def _averaged(self, state: State) -> State:
        """The state with averaged weights, if the configuration asks for them."""
        if self.config.train.average_weights is None:
            return state
        optimizer = self.network.optimizer
        places = {id(variable): place for place, variable in enumerate(optimizer.variables)}
        averages = optimizer._model_variables_moving_average  # as alloyk.training.averaging
        return state._replace(trained=[state.optimizer[places[id(one)]] for one in averages])

    def _outputs(self, state: State, split: str) -> np.ndarray:
        images = self.arrays[split]
        found = []
        for start in range(0, len(images), PREDICTION_BATCH):
            batch = images[start : start + PREDICTION_BATCH]
            missing = PREDICTION_BATCH - len(batch)
            padded = jnp.pad(batch, [(0, missing), (0, 0), (0, 0), (0, 0)])
            found.append(np.asarray(self._logits(state, padded))[: len(batch)])
        return np.concatenate(found)

    def _validate(self, state: State) -> dict[str, float]:
        logits, truth = self._outputs(state, "val"), self.labels["val"]
        loss = float(self.network.loss(jnp.asarray(truth), jnp.asarray(logits)))
        return {"val_loss": loss, "val_accuracy": float((logits.argmax(axis=1) == truth).mean())}

    def _rate(self, epoch: int) -> float:
        """The learning rate of the last step of an epoch."""
        schedule = self.network.optimizer._learning_rate  # Keras has no public way to it
        return float(schedule((epoch + 1) * self.steps - 1))


def standardization_for(config: Config, images: np.ndarray) -> tuple[Any, Any] | None:
    """Mean and standard deviation of each channel; None if the images stay as they are."""
    if config.preprocess.mean is not None:
        return config.preprocess.mean, config.preprocess.std
    if config.preprocess.standardize == "none" or expects_unit_range(config.model.weights):
        return None
    if config.preprocess.standardize == "imagenet":
        return IMAGENET_MEAN, IMAGENET_STD
    axes = (0, 1, 2)
    return (
        tuple(images.mean(axis=axes, dtype=np.float64).tolist()),
        tuple(images.std(axis=axes, dtype=np.float64).tolist()),
    )


def refuse_unsupported(config: Config) -> None:
    """Require a configuration that can be trained here.

    Raises:
        ConfigError: It cannot.
    """
    unsupported = {
        "model.tasks must be alloy": len(config.model.tasks) > 1,
        "model.weights must be unset": config.model.weights is not None,
        "augment.mixup must be 0": config.augment.mixup > 0,
        "train.time_budget_minutes must be unset": config.train.time_budget_minutes is not None,
        "schedule.name must not be plateau": config.schedule.name == "plateau",
        "data.channels must be unset": config.data.channel_count > 1,
        "quantize.run must be unset": config.quantize.run is not None,
    }
    for rule, broken in unsupported.items():
        if broken:
            raise ConfigError(f"{rule} for a training run on JAX; use `alloyk train`")


def train_run(trainer: Trainer, dataset: ImageDataset, seed: int, run: Path) -> None:
    """Train one seed into a run folder."""
    folder = RunFolder(run)
    history, best = trainer.train(seed)
    run.mkdir(parents=True)
    write_config(trainer.config.model_copy(update={"seed": seed}), folder.config_file)
    write_split_record(folder.split_file, dataset)
    with folder.history_file.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
    folder.write_facts(facts_of(dataset, trainer.network))
    for split in ("val", "test"):
        write_predictions(
            folder.predictions_file(split), dataset.split(split),
            trainer.probabilities(best.state, split), dataset.classes,
        )  # fmt: skip
    np.savez(run / "weights.npz", **trainer.weights(best.state))  # type: ignore[arg-type]


def facts_of(dataset: ImageDataset, network: keras.Model) -> Facts:
    """The facts of a run."""
    counts = dataset.table["split"].value_counts()
    packages = ("jax", "keras", "numpy")
    return Facts(
        alloyk=__version__,
        classes=dataset.classes,
        simulated=dataset.simulated,
        data_root=dataset.root.absolute(),
        grouped_by=dataset.grouped_by,
        notes=dataset.notes,
        images={str(split): int(count) for split, count in counts.items()},
        fingerprint=dataset.fingerprint(),
        parameters=network.count_params(),
        packages={name: installed.version(name) for name in packages},
        python=platform.python_version(),
        processor=platform.processor() or platform.machine(),
        devices=tuple(device.device_kind for device in jax.devices()),
    )


def main() -> None:
    from alloyk.evaluation import evaluate_run

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args()
    config = resolve_config(options.config)
    dataset = open_dataset(config.data_settings())
    trainer = Trainer(config, load_images(config, dataset), len(dataset.classes))
    for seed in options.seeds:
        run = options.runs / f"{options.config.stem}-{seed}"
        if run.exists():
            sys.exit(f"{run} must not exist; choose other --runs")
        train_run(trainer, dataset, seed, run)
        metrics = evaluate_run(run)
        print(f"{run}: test accuracy {metrics['accuracy']:.4f}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except AlloykError as error:
        sys.exit(f"Error: {error}")
