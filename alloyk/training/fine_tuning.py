"""Fine-tune a finished run with fake quantisation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from alloyk.config import Config
from alloyk.inference.backends import KerasBackend
from alloyk.inference.novelty_fitting import evenly_spaced
from alloyk.models.quantization_aware import observe_ranges, quantization_aware
from alloyk.runs.fine_tuning import refuse_unsuitable
from alloyk.runs.folder import RunFolder
from alloyk.targets import ALLOY, Target, weights_of
from alloyk.training.losses.multitask import MultitaskNetwork
from alloyk.training.splits import Split

FIRST_IMAGES = 320
"""Training images, evenly spaced, on which the initial ranges of activations are measured."""

FIRST_BATCH = 32


def fine_tuning_of(config: Config) -> "FineTuning | None":
    """The fine-tuning that a configuration asks for; None for any other training run."""
    if config.quantize.run is None:
        return None
    weights = None
    if config.multitask.weighting == "fixed":
        weights = weights_of(config.model.tasks, config.multitask.weights)
    return FineTuning(
        config.quantize.run, range_momentum=config.quantize.range_momentum, weights=weights
    )


class FineTuning:
    """The network of a finished run, to be trained with fake quantisation.

    Args:
        run: Its folder.
        range_momentum: Share of an activation's range that is kept in a training step.
        weights: Weights of the tasks' losses; None learns them, from those of the run.

    Attributes:
        plain: The network itself. `start` returns a version with fake quantisation that shares its
            weights, so training that version trains this one.

    Raises:
        ModelError: The run cannot be fine-tuned.
    """

    def __init__(
        self, run: Path, *, range_momentum: float, weights: Sequence[float] | None = None
    ) -> None:
        refuse_unsuitable(run)
        self.run = RunFolder(run)
        self.range_momentum, self.weights = range_momentum, weights
        self.plain = KerasBackend(self.run.model_file).model.layers[-1]

    @property
    def facts(self) -> dict[str, Any]:
        """Facts of the fine-tuned run: where it comes from, and the size of the saved network."""
        return {
            "fine_tuned_from": self.run.path.absolute(),
            "parameters": keras.Model(self.plain.inputs, self.plain.output).count_params(),
        }

    def start(self, train: Split, targets: tuple[Target, ...]) -> keras.Model:
        """Return the network with fake quantisation, its ranges taken from training images."""
        self.plain.trainable = True
        aware = quantization_aware(self.plain, momentum=self.range_momentum)
        numbers = tf.data.Dataset.from_tensor_slices(evenly_spaced(len(train), FIRST_IMAGES))
        observe_ranges(aware, train.images.batches(numbers.batch(FIRST_BATCH)))
        if not targets:
            return aware.model
        network = MultitaskNetwork(
            aware.model.input, aware.model.output, targets=targets, weights=self.weights,
            name=self.plain.name,
        )  # fmt: skip
        known = self.run.facts.loss_weights
        names = (ALLOY, *(target.column for target in targets))
        if network.log_variances is not None and set(names) <= set(known):
            found = keras.ops.convert_to_tensor([known[name] for name in names])
            network.log_variances.assign(-keras.ops.log(found))
        return network
