"""The network of a configuration, with its loss, optimizer and learning-rate schedule.

Nothing here needs TensorFlow: `scripts/train_on_jax.py` trains these networks on JAX.
"""

import math

import keras
import numpy as np

from alloyk.config import Config
from alloyk.models import build_model
from alloyk.targets import Target, weights_of
from alloyk.training.losses import build_loss
from alloyk.training.losses.mixed import MixedAccuracy, MixedLoss
from alloyk.training.losses.multitask import MultitaskNetwork
from alloyk.training.optimizers import build_optimizer, without_loss_scaling
from alloyk.training.plateau import ReduceOnPlateau
from alloyk.training.schedules import PacedSchedule, build_schedule


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
        zero_init_residual=model.zero_init_residual,
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
    config: Config,
    network: keras.Model,
    labels: np.ndarray,
    num_classes: int,
    steps: int,
    first_epoch: int = 0,
) -> list[keras.callbacks.Callback]:
    """Give the network its loss, and its optimizer with the learning-rate schedule.

    With a time budget the schedule is paced by a `TimeBudget`, see `paced_schedule_of`.

    Args:
        config: The experiment.
        network: From `build_network`.
        labels: `(n,)` int class indices of the training split, for losses that weight classes.
        num_classes: Number of classes.
        steps: Batches per epoch.
        first_epoch: Epoch from which the network is trained. The schedule begins there, and ends
            with the run; one that is paced is that of the whole run.

    Returns:
        `[ReduceOnPlateau]` for the schedule `plateau`, otherwise an empty list.
    """
    loss = config.loss.model_dump()
    optimizer = config.optimizer.model_dump()
    schedule = config.schedule.model_dump()
    plateau = config.schedule.name == "plateau"
    plateau_options = {
        key: schedule.pop(key) for key in ("factor", "patience", "min_delta") if plateau
    }
    paced = config.train.time_budget_minutes is not None
    epochs = config.train.epochs - (0 if paced else first_epoch)
    # Capped: a recipe's warm-up may be longer than a short training run, which is an error.
    warmup = min(schedule.pop("warmup_epochs"), epochs / 2)
    learning_rate = build_schedule(
        schedule.pop("name"),
        learning_rate=optimizer.pop("learning_rate"),
        steps_per_epoch=steps,
        epochs=epochs,
        warmup_epochs=warmup,
        **schedule,
    )
    class_counts = np.bincount(labels, minlength=num_classes)
    loss = build_loss(loss.pop("name"), class_counts=class_counts.tolist(), **loss)
    rate = PacedSchedule(learning_rate, epochs * steps) if paced else learning_rate
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
    start = first_epoch + math.ceil(warmup)
    return [ReduceOnPlateau(learning_rate, start_epoch=start, **plateau_options)]


def paced_schedule_of(network: keras.Model) -> PacedSchedule:
    """The schedule that a time budget paces, of a network that was compiled with one."""
    optimizer = without_loss_scaling(network.optimizer)
    schedule = optimizer._learning_rate  # Keras has no public accessor
    if not isinstance(schedule, PacedSchedule):
        raise TypeError(f"a time budget needs a `PacedSchedule`, got {type(schedule).__name__}")
    return schedule
