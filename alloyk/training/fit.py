"""Train a network from scratch or from a checkpoint."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from alloyk import pipeline
from alloyk.config import Config
from alloyk.errors import ConfigError
from alloyk.models import set_backbone_trainable
from alloyk.models.precision import in_float32
from alloyk.preprocessing.augmentation import Augmentation
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.folder import RunFolder
from alloyk.targets import Target
from alloyk.training.averaging import AveragedWeights
from alloyk.training.build import build_network, compile_network
from alloyk.training.callbacks import (
    AfterFirstEpoch,
    EpochReport,
    HistoryFile,
    StopOnNaN,
)
from alloyk.training.checkpoint import BestEpoch, Checkpoint
from alloyk.training.faster_layers import faster_layers
from alloyk.training.identity import identity, lasting_identity
from alloyk.training.losses.multitask import MultitaskNetwork, error_name
from alloyk.training.phases import Phase, phases_of
from alloyk.training.predicting import PREDICTION_BATCH
from alloyk.training.run_clock import RunClock
from alloyk.training.splits import Split, refuse_clipping, standardization_for, targets_for
from alloyk.training.strategy import (
    Distribution,
    clip_over_all_devices,
    local_distribution,
    refuse_uneven_batches,
    synchronize_batch_norm,
)
from alloyk.training.time_budget import Workload


class _Callbacks(NamedTuple):
    """The callbacks of a training run whose order matters.

    Attributes:
        first: Called before all others: the split record is written before a checkpoint.
        best: The best epoch so far.
        watching: Without state.
        report: One of these, which shows the progress.
        checkpoint: Called after these, because it saves the state of the others.
        last: Called when the checkpoint of an epoch is complete.
    """

    first: list[keras.callbacks.Callback]
    best: BestEpoch
    watching: list[keras.callbacks.Callback]
    report: EpochReport
    checkpoint: Checkpoint
    last: list[keras.callbacks.Callback]


@dataclass(frozen=True)
class _Training:
    """What the phases of one run share; `epochs` is where it ends without a time budget."""

    config: Config
    network: keras.Model
    train: Split
    val: Split
    num_classes: int
    distribution: Distribution
    callbacks: _Callbacks
    clock: RunClock
    epochs: int

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return pipeline.steps_per_epoch(len(self.train), self.config.train.batch_size)

    def train_phase(self, phase: Phase) -> bool:
        """Train the epochs that the checkpoint lacks; False if training has ended early."""
        checkpoint = self.callbacks.checkpoint
        done, steps = checkpoint.epochs_done(), checkpoint.steps_done()
        if done > phase.end or (done == phase.end and steps):
            return True  # the checkpoint is of a later phase
        stateful = self._compile(phase, done > phase.first or steps > 0)
        if done == phase.end:
            return True
        if checkpoint.stopped():
            return False
        done = max(phase.first, done)
        if steps:
            self._fit(phase, done, done + 1, stateful, steps)
            done += 1
            if checkpoint.stopped():
                return True
        if done < phase.end:
            self._fit(phase, done, phase.end, stateful)
        return True

    def _compile(self, phase: Phase, restored: bool) -> list[keras.callbacks.Callback]:
        """Compile the network for a phase, restore its checkpoint; return callbacks with state."""
        config, checkpoint = self.config, self.callbacks.checkpoint
        with self.distribution.strategy.scope():
            if config.model.weights:
                set_backbone_trainable(self.network, not phase.frozen)
            stateful = [
                *compile_network(
                    config,
                    self.network,
                    self.train.labels,
                    self.num_classes,
                    self.steps,
                    phase.first,
                ),
                *self.clock.budget_for(config, self.network),
                self.callbacks.best,
            ]
            if not self.distribution.is_one_device:
                clip_over_all_devices(self.network.optimizer)
            checkpoint.attach(self.network, stateful)
            if restored:
                checkpoint.restore()
        return stateful

    def _fit(
        self,
        phase: Phase,
        start: int,
        end: int,
        stateful: list[keras.callbacks.Callback],
        skipped: int = 0,
    ) -> None:
        """Train from the epoch `start` to `end`, without the `skipped` first batches."""
        config, val, distribution = self.config, self.val, self.distribution
        batches = distribution.batches(
            lambda part: _training_batches(config, self.train, start, end, part, skipped)
        )
        if distribution.is_one_device:
            last = min(phase.end, self.epochs)
            self.clock.measure(phase, self.network, batches.element_spec, last - start)
        averaged = [AveragedWeights()] if config.train.average_weights is not None else []
        together = _evenly(PREDICTION_BATCH, len(val), distribution.part.total)
        self.network.fit(
            batches,
            steps_per_epoch=self.steps - skipped,
            initial_epoch=start,
            epochs=end,
            validation_data=distribution.batches(
                lambda part: pipeline.evaluation_batches(
                    val.images, val.labels, batch_size=together, values=val.values, part=part
                )
            ),
            validation_steps=None
            if distribution.is_one_device
            else pipeline.steps_per_epoch(len(val), together),
            callbacks=[
                *self.callbacks.first,
                *averaged,
                *stateful,
                *[one.restored for one in averaged],
                *self.callbacks.watching,
                self.callbacks.checkpoint,
                *self.callbacks.last,
            ],
            shuffle=False,  # done by the pipeline
            verbose=0,
        )
        if averaged:
            self.callbacks.checkpoint.restore()  # Keras ends `fit` with averaged weights


@pipeline.reading_errors()
def train_network(
    config: Config,
    run: Path,
    train: Split,
    val: Split,
    num_classes: int,
    progress: Progress = NO_PROGRESS,
    *,
    after_first_epoch: Callable[[], None] | None = None,
    after_epoch: Callable[[int], None] | None = None,
    until: int | None = None,
    changing: bool = False,
    test_images: int = 0,
    measuring_seconds: float = 0.0,
    started: float | None = None,
    distribution: Distribution | None = None,
    data: Callable[[], str] = lambda: "",
    start: Callable[[Split, tuple[Target, ...]], keras.Model] | None = None,
) -> keras.Model:
    """Train from scratch, or from the checkpoint in `run` if there is one.

    Args:
        config: The experiment.
        run: Folder of the history and the checkpoint.
        train: Training split.
        val: Validation split.
        num_classes: Number of classes.
        progress: Shows the batches of each epoch.
        after_first_epoch: Called once, before the checkpoint of the first epoch is written.
        after_epoch: Called with the number of epochs done, after each checkpoint.
        until: Epochs after which to stop; the checkpoint can be continued. None trains all.
        changing: Whether the checkpoint may be of other values of the settings that can change
            between epochs, see `alloyk.runs.lineage`.
        test_images: Number of test images, for estimates of the time.
        measuring_seconds: How long the raw images are measured afterwards, for the same.
        started: `time.monotonic()` when the run began; a time budget counts from there. None: now.
        distribution: The devices; None: those of this process, by the configuration.
        data: Identifies the images, for a checkpoint within the first epoch.
        start: Returns the network to fine-tune, from the training split and the targets; None
            builds one from the configuration.

    Returns:
        The network of the best epoch, in float32, from gray images in [0, 1] to logits; with
        further tasks a `MultitaskNetwork`.
    """
    distribution = distribution or local_distribution(config.train)
    refuse_uneven_batches(config.train.batch_size, distribution.part)
    refuse_clipping(Augmentation(**config.augment.model_dump()), train)
    targets = targets_for(train)
    if config.quantize.run is not None and start is None:
        raise ConfigError("quantize.run must be unset here; fine-tune with `alloyk train`")
    standardization = standardization_for(config, train) if start is None else []
    with distribution.strategy.scope():
        if start is None:
            network = build_network(config, standardization, num_classes, targets)
        else:
            network = start(train, targets)
    synchronize_batch_norm(network, not distribution.is_one_device)
    work = Workload(len(train), len(val), test_images, config.train.batch_size, measuring_seconds)
    clock = RunClock(work, started)
    epochs = config.train.epochs if until is None else min(until, config.train.epochs)
    described = lasting_identity(config) if changing else identity(config)
    callbacks = _callbacks(config, described, run, train, targets, progress, clock, epochs, data)
    if after_first_epoch is not None:
        callbacks = callbacks._replace(first=[AfterFirstEpoch(after_first_epoch)])
    if after_epoch is not None:
        after = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: after_epoch(epoch + 1))
        callbacks = callbacks._replace(last=[after])
    training = _Training(
        config, network, train, val, num_classes, distribution, callbacks, clock, epochs
    )
    with faster_layers(network), closing(callbacks.report):
        for phase in phases_of(config, until):
            if not training.train_phase(phase):
                break
    if distribution.peers is not None:  # without devices of other workers, which may have ended
        network = build_network(config, standardization, num_classes, targets)
    callbacks.best.restore(network)
    synchronize_batch_norm(network, False)
    with distribution.strategy.scope():
        several = isinstance(network, MultitaskNetwork)
        return network.in_float32() if several else in_float32(network)


def _callbacks(
    config: Config,
    described: str,
    run: Path,
    train: Split,
    targets: tuple[Target, ...],
    progress: Progress,
    clock: RunClock,
    epochs: int,
    data: Callable[[], str],
) -> _Callbacks:
    """The callbacks of a training run; the history is cut to the checkpoint."""
    settings, folder = config.train, RunFolder(run)
    best = BestEpoch(
        folder.checkpoint_folder,
        monitor=settings.monitor,
        patience=settings.patience,
        start_from_epoch=max(settings.start_from_epoch, phases_of(config)[-1].first),
    )
    checkpoint = Checkpoint(
        folder.checkpoint_folder, best, described,
        within=settings.checkpoint_steps, steps=clock.work.steps, data=data,
    )  # fmt: skip
    history = HistoryFile(folder.history_file, errors=[error_name(t.column) for t in targets])
    history.keep_until(checkpoint.epochs_done())
    report = EpochReport(
        None if settings.time_budget_minutes else epochs,
        clock.work.steps,
        len(train),
        progress,
        clock.left,
        before=lambda: checkpoint.before,
    )
    watching = [
        StopOnNaN(before=lambda: checkpoint.before),
        history,
        report,
        *([keras.callbacks.TensorBoard(folder.tensorboard_folder)] if settings.tensorboard else []),
    ]
    return _Callbacks([], best, watching, report, checkpoint, [])


def _training_batches(
    config: Config, train: Split, start: int, end: int, part: pipeline.Part, skipped: int
) -> tf.data.Dataset:
    """Augmented batches of the epochs `start` to `end`, without the first `skipped` ones."""
    return pipeline.training_batches(
        train.images,
        train.labels,
        batch_size=config.train.batch_size,
        seed=config.seed,
        first_epoch=start,
        first_step=skipped,
        epochs=end,
        augmentation=Augmentation(**config.augment.model_dump()),
        class_aware=config.data.sampling == "class_aware",
        values=train.values,
        part=part,
    )


def _evenly(batch_size: int, count: int, replicas: int) -> int:
    """A batch size whose first batch gives every replica as many images.

    Keras builds metrics from the mean of the replicas' first batches, which must agree in shape.

    >>> _evenly(64, 9, 2), _evenly(64, 9, 1), _evenly(64, 1000, 3)
    (8, 9, 63)
    """
    return max(min(batch_size, count) // replicas, 1) * replicas
