"""From a configuration to a run folder: train, save, predict, evaluate."""

import logging
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata as installed
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from alloyk import __version__, pipeline
from alloyk.config import Config, write_config
from alloyk.data import ImageDataset
from alloyk.errors import AlloykError, ConfigError
from alloyk.evaluation import evaluate_run
from alloyk.files import whole_file, writing
from alloyk.imaging import shown
from alloyk.inference.metadata import ModelMetadata, write_metadata
from alloyk.inference.novelty import (
    FEATURES,
    NoveltyDetector,
    with_threshold,
    write_detector,
)
from alloyk.inference.training_counts import measured_counts
from alloyk.locks import is_empty, locked_folder
from alloyk.models import set_backbone_trainable
from alloyk.models.pooled import with_features
from alloyk.preprocessing.augmentation import Augmentation
from alloyk.preprocessing.for_dataset import preprocessing_for
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.facts import Facts
from alloyk.runs.folder import RunFolder
from alloyk.runs.predictions import write_predictions
from alloyk.runs.run_data import refuse_changed_data, refuse_missing_data
from alloyk.runs.split_record import write_split_record
from alloyk.runtime.kernels import describe_kernels
from alloyk.targets import LOGITS, Target
from alloyk.training.build import (
    Split,
    build_network,
    choose_strategy,
    compile_network,
    load_split,
    open_training_data,
    standardization_for,
    targets_for,
)
from alloyk.training.callbacks import (
    AfterFirstEpoch,
    BestEpoch,
    Checkpoint,
    EpochReport,
    HistoryFile,
    StopOnNaN,
)
from alloyk.training.losses.multitask import MultitaskNetwork, error_name
from alloyk.training.predicting import (
    PREDICTION_BATCH,
    fit_detector,
    predict_split,
    read_statistics,
)

logger = logging.getLogger(__name__)


def run_training(
    config: Config, run: Path, *, resume: bool = False, progress: Progress = NO_PROGRESS
) -> Path:
    """Train, save the model, predict the validation and test split, evaluate.

    Args:
        config: The experiment.
        run: Folder of the run: absent or empty, unless `resume`.
        resume: Resume an interrupted run after its last complete epoch.
        progress: Shows how far it is, see `alloyk.progress`.

    Returns:
        `run`, now complete.

    Raises:
        AlloykError: The data cannot be used, the folder cannot be written, training diverged.
    """
    run = Path(run)
    set_up_keras(config)
    if resume and config.data.path is not None and not Path(config.data.path).exists():
        file = RunFolder(run).config_file
        refuse_missing_data(run, f"restore it, or change data.path in {file}")
    dataset = open_training_data(config)
    for note in dataset.notes:
        logger.warning(note)
    with _own_run_folder(run, resume), _nothing_left_before_the_first_epoch(run):
        if _has_epochs(run):
            refuse_changed_data(run, dataset)
        with writing(RunFolder(run).config_file):
            write_config(config, RunFolder(run).config_file)
        return _train_and_evaluate(config, run, dataset, progress)


def _train_and_evaluate(
    config: Config, run: Path, dataset: ImageDataset, progress: Progress
) -> Path:
    preprocessing = preprocessing_for(dataset, **config.preprocessing_settings())
    digests: dict[str, str] = {}
    train = load_split(config, dataset, "train", preprocessing, digests)
    val = load_split(config, dataset, "val", preprocessing, digests)

    def record_split() -> None:
        """Write the split record; most files have been read, and hashed, by now."""
        write_split_record(RunFolder(run).split_file, dataset, digests)

    network = train_network(
        config, run, train, val, len(dataset.classes), progress,
        after_first_epoch=None if _has_epochs(run) else record_split,
    )  # fmt: skip
    with choose_strategy(config.train.devices).scope():
        full_network = with_features(network, FEATURES) or network
    detector = fit_detector(full_network, train, dataset)
    test = load_split(config, dataset, "test", preprocessing)
    for name, split in (("val", val), ("test", test)):
        found = predict_split(full_network, split)
        unlike = None
        if detector is not None and found.features is not None:
            statistics = read_statistics(dataset.paths(name))
            if name == "val":
                detector = with_threshold(detector, found.features, statistics)
            unlike = detector.scores(found.features, statistics)
        write_predictions(
            RunFolder(run).predictions_file(name), dataset.split(name), found.probabilities,
            dataset.classes, estimates=found.estimates, unlike=unlike,
        )  # fmt: skip
    targets = targets_for(train)
    _save_classifier(preprocessing, network, RunFolder(run).model_file, dataset, targets, detector)
    RunFolder(run).write_facts(_facts(dataset, network))
    evaluate_run(run)
    shutil.rmtree(RunFolder(run).checkpoint_folder)
    return run


@contextmanager
def _nothing_left_before_the_first_epoch(run: Path):
    """Remove what was written when the block fails with no epoch to go on from."""
    try:
        yield
    except BaseException:
        if not _has_epochs(run):
            shutil.rmtree(run)
        raise


def _has_epochs(run: Path) -> bool:
    """Whether there is an epoch to go on from."""
    return any(RunFolder(run).checkpoint_folder.glob("*.npz"))


@contextmanager
def _own_run_folder(run: Path, resume: bool) -> Iterator[None]:
    """Lock the run folder, made if it does not exist; refuse one that holds something else."""
    if run.exists() and not run.is_dir():
        raise AlloykError(f"--run must be a new or empty folder, {shown(run)} is a file")
    with locked_folder(run):
        folder = RunFolder(run)
        finished, unfinished = folder.is_finished, folder.checkpoint_folder.is_dir()
        if resume and finished:
            raise AlloykError(
                f"{shown(run)} is finished and cannot be resumed; its report is report.txt. To "
                f"train again: alloyk train {shown(folder.config_file)} --run NEW"
            )
        if not resume and unfinished and not finished:
            raise AlloykError(
                f"{shown(run)} holds an unfinished run; resume it with --resume, or choose another "
                "--run"
            )
        if not resume and not is_empty(run):
            found = "a finished run" if finished else "other files"
            raise AlloykError(
                f"--run must be a new or empty folder, {shown(run)} holds {found}; choose another"
            )
        with writing(run):
            folder.checkpoint_folder.mkdir(exist_ok=True)
        yield


def set_up_keras(config: Config) -> None:
    """Seeds, deterministic kernels, precision and devices, before anything is built."""
    keras.utils.set_random_seed(config.seed)
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    wanted = config.train.mixed_precision
    mixed = bool(tf.config.list_physical_devices("GPU")) if wanted == "auto" else wanted
    keras.config.set_dtype_policy("mixed_float16" if mixed else "float32")
    choose_strategy(config.train.devices)  # before anything is read: are they there?


class Phase(NamedTuple):
    """Epochs that are trained with the backbone frozen or not.

    Attributes:
        first: First epoch.
        end: Epoch to stop before.
        frozen: Whether the backbone is frozen.
    """

    first: int
    end: int
    frozen: bool


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
) -> keras.Model:
    """Train from scratch, or from the checkpoint in `run` if there is one.

    Args:
        config: The experiment.
        run: Folder of the history and the checkpoint.
        train: Training split.
        val: Validation split.
        num_classes: Number of classes.
        progress: Shows the batches of each epoch.
        after_first_epoch: Called once, before the first checkpoint is written.

    Returns:
        The network of the best epoch, from gray images in [0, 1] to logits; with tasks beside the
        alloy a `MultitaskNetwork`.
    """
    strategy = choose_strategy(config.train.devices)
    _refuse_uneven_batches(config.train.batch_size, strategy.num_replicas_in_sync)
    targets = targets_for(train)
    with strategy.scope():
        standardization = standardization_for(config, train)
        network = build_network(config, standardization, num_classes, targets)
    best, checkpoint, watching = _callbacks(config, run, train, targets, progress)
    if after_first_epoch is not None:
        watching.insert(0, AfterFirstEpoch(after_first_epoch))
    for phase in _phases(config):
        if not _train_phase(
            phase, config, network, train, val, num_classes, strategy, best, checkpoint, watching
        ):
            break
    best.restore()
    return network


def _refuse_uneven_batches(batch_size: int, replicas: int) -> None:
    """Raise if a batch cannot be divided evenly over the devices."""
    if batch_size % replicas:
        raise ConfigError(
            f"train.batch_size, the total over {replicas} devices, must be divisible by their "
            f"number, got {batch_size}; set train.batch_size={replicas * 16}"
        )


def _callbacks(
    config: Config, run: Path, train: Split, targets: tuple[Target, ...], progress: Progress
) -> tuple[BestEpoch, Checkpoint, list[keras.callbacks.Callback]]:
    """Best epoch, checkpoint, and what only watches; the history cut to the checkpoint."""
    settings, folder = config.train, RunFolder(run)
    best = BestEpoch(
        folder.checkpoint_folder,
        monitor=settings.monitor,
        patience=settings.patience,
        start_from_epoch=max(settings.start_from_epoch, _phases(config)[-1].first),
    )
    checkpoint = Checkpoint(folder.checkpoint_folder, best, _described(config))
    history = HistoryFile(folder.history_file, errors=[error_name(t.column) for t in targets])
    history.keep_until(checkpoint.epochs_done())
    steps = pipeline.steps_per_epoch(len(train), settings.batch_size)
    watching = [
        StopOnNaN(),
        history,
        EpochReport(settings.epochs, steps, len(train), progress),
        *([keras.callbacks.TensorBoard(folder.tensorboard_folder)] if settings.tensorboard else []),
    ]
    return best, checkpoint, watching


def _train_phase(
    phase: Phase,
    config: Config,
    network: keras.Model,
    train: Split,
    val: Split,
    num_classes: int,
    strategy: tf.distribute.Strategy,
    best: BestEpoch,
    checkpoint: Checkpoint,
    watching: list[keras.callbacks.Callback],
) -> bool:
    """Train the epochs of a phase that the checkpoint lacks; False if training has ended early."""
    done = checkpoint.epochs_done()
    if done > phase.end:
        return True  # the checkpoint holds a later phase
    steps = pipeline.steps_per_epoch(len(train), config.train.batch_size)
    with strategy.scope():
        if config.model.weights:
            set_backbone_trainable(network, not phase.frozen)
        stateful = [*compile_network(config, network, train.labels, num_classes, steps), best]
        checkpoint.attach(network, stateful)
        if done > phase.first:
            checkpoint.restore()
    if done == phase.end:
        return True
    if checkpoint.stopped():
        return False
    start = max(phase.first, done)
    together = _evenly(PREDICTION_BATCH, len(val), strategy.num_replicas_in_sync)
    network.fit(
        _training_batches(config, train, start, phase.end),
        steps_per_epoch=steps,
        initial_epoch=start,
        epochs=phase.end,
        validation_data=pipeline.evaluation_batches(
            val.images, val.labels, batch_size=together, values=val.values
        ),
        # What writes before a checkpoint comes first, the checkpoint last: it keeps the others'
        # state.
        callbacks=[
            *[one for one in watching if isinstance(one, AfterFirstEpoch)],
            *stateful,
            *[one for one in watching if not isinstance(one, AfterFirstEpoch)],
            checkpoint,
        ],
        shuffle=False,  # done by the pipeline
        verbose=0,
    )
    return True


def _training_batches(config: Config, train: Split, start: int, end: int) -> tf.data.Dataset:
    """Augmented batches of the epochs `start` to `end`."""
    return pipeline.training_batches(
        train.images,
        train.labels,
        batch_size=config.train.batch_size,
        seed=config.seed,
        first_epoch=start,
        epochs=end,
        augmentation=Augmentation(**config.augment.model_dump()),
        class_aware=config.data.sampling == "class_aware",
        values=train.values,
    )


def _described(config: Config) -> str:
    """The configuration without the path of its data, which `refuse_changed_data` checks."""
    return config.model_dump_json(exclude={"data": {"path"}})


def _evenly(batch_size: int, count: int, replicas: int) -> int:
    """A batch size whose first batch gives every replica as many images.

    Keras builds metrics from the mean of the replicas' first batches, which must agree in shape.

    >>> _evenly(64, 9, 2), _evenly(64, 9, 1), _evenly(64, 1000, 3)
    (8, 9, 63)
    """
    return max(min(batch_size, count) // replicas, 1) * replicas


def _phases(config: Config) -> list[Phase]:
    """The phases of a training, in order."""
    epochs = config.train.epochs
    frozen = min(config.model.freeze_epochs, epochs) if config.model.weights else 0
    phases = [Phase(0, frozen, True), Phase(frozen, epochs, False)]
    return [phase for phase in phases if phase.first < phase.end]


def _save_classifier(
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
    )
    with whole_file(path) as unfinished:
        classifier.save(unfinished)
        write_metadata(unfinished, metadata)
        if detector is not None:
            write_detector(unfinished, detector)


def _facts(dataset: ImageDataset, network: keras.Model) -> Facts:
    """What a reader needs beside configuration and metrics."""
    packages = ("tensorflow", "keras", "numpy", "scikit-learn")
    several = isinstance(network, MultitaskNetwork)
    return Facts(
        alloyk=__version__,
        classes=dataset.classes,
        simulated=dataset.simulated,
        data_root=dataset.root.absolute(),
        grouped_by=dataset.grouped_by,
        notes=dataset.notes,
        skipped=dataset.skipped,
        images=dataset.table["split"].value_counts().to_dict(),
        fingerprint=dataset.fingerprint(),
        # Of the network that is saved: learned weights of tasks serve training alone.
        parameters=keras.Model(network.inputs, network.output).count_params(),
        loss_weights=network.loss_weights() if several else {},
        packages={name: installed.version(name) for name in packages},
        python=platform.python_version(),
        processor=platform.processor() or platform.machine(),
        cpu_kernels=describe_kernels(),
        devices=tuple(device.name for device in tf.config.list_logical_devices()),
    )
