"""Train a configuration into a run folder: train, save, predict, evaluate."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras

from alloyk.config import Config, write_config
from alloyk.data import ImageDataset
from alloyk.data.sameness import sample_digest
from alloyk.errors import AlloykError, ConfigError, DataError
from alloyk.evaluation import evaluate_run
from alloyk.files import whole_file, writing
from alloyk.imaging import several
from alloyk.inference.measuring import measuring_seconds, read_measurements
from alloyk.inference.novelty import FEATURES
from alloyk.inference.novelty_fitting import with_threshold
from alloyk.locks import LOCK_FILE, is_empty, locked_folder
from alloyk.messages import shown
from alloyk.models.pooled import with_features
from alloyk.models.quantization_aware import activation_ranges_of
from alloyk.preprocessing.for_dataset import preprocessing_for
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.activation_ranges import write_activation_ranges
from alloyk.runs.destination import refuse_in_data
from alloyk.runs.facts import Facts
from alloyk.runs.folder import RunFolder
from alloyk.runs.lineage import Lineage
from alloyk.runs.predictions import write_predictions
from alloyk.runs.run_data import refuse_changed_data, refuse_missing_data
from alloyk.runs.split_record import write_split_record
from alloyk.runtime.peers import Peers
from alloyk.training.checkpoint import data_of, epochs_in, kernels_used
from alloyk.training.fine_tuning import fine_tuning_of
from alloyk.training.fit import train_network
from alloyk.training.keras_setup import set_up_keras, setup_undone
from alloyk.training.predicting import fit_detector, predict_split
from alloyk.training.replay import replay
from alloyk.training.saving import save_classifier, training_facts
from alloyk.training.splits import Split, load_splits, open_training_data, targets_for
from alloyk.training.strategy import Distribution, cluster_of, distribution_of
from alloyk.training.workers import agree_on_data, joined, private_folder, shared_checkpoint

_REPLAY_HEADER = (
    "# The last settings of a schedule: alloyk train --replay with the lineage.json beside this\n"
    "# file repeats the run.\n"
)

logger = logging.getLogger(__name__)


@setup_undone()
def run_training(
    config: Config,
    run: Path,
    *,
    resume: bool = False,
    progress: Progress = NO_PROGRESS,
    plan: str = "",
    lineage: Lineage | None = None,
    started: float | None = None,
) -> Path:
    """Train, save the model, predict the validation and test split, evaluate.

    With several workers (`train.strategy`) only the first one writes `run`.

    Args:
        config: The experiment.
        run: Folder of the run: absent or empty, unless `resume`.
        resume: Resume an interrupted run from its last checkpoint.
        progress: Progress display, see `alloyk.progress`.
        plan: The settings made from the data set with their reasons, as YAML; kept with the run.
        lineage: A schedule of settings to repeat; `config` has those of its last part.
        started: `time.monotonic()` when the command began, for a time budget.

    Returns:
        `run`, now complete; with several workers that of the first one.

    Raises:
        AlloykError: The data cannot be used, the folder cannot be written, training diverged.
    """
    run = Path(run)
    cluster = cluster_of(config.train)
    set_up_keras(config, over_workers=cluster is not None)
    if resume and config.data.path is not None and not Path(config.data.path).exists():
        file = RunFolder(run).config_file
        refuse_missing_data(run, f"restore it, or change data.path in {file}")
    if cluster is None:
        return _write_run(config, run, resume, progress, plan, lineage, started)
    if lineage is not None:
        raise ConfigError(
            "a lineage must be replayed by one process, as in the search, got several workers; "
            "unset TF_CONFIG"
        )
    with joined(cluster, config) as peers:
        if peers.is_chief:
            _write_run(config, run, resume, progress, plan, None, started, peers)
        else:
            _help(config, peers, progress)
        return Path(peers.gather("finished", str(run.absolute()))[0])


def _write_run(
    config: Config,
    run: Path,
    resume: bool,
    progress: Progress,
    plan: str,
    lineage: Lineage | None,
    started: float | None,
    peers: Peers | None = None,
) -> Path:
    """Train into a run folder, alone or as the first of several workers."""
    if not resume:
        refuse_in_data(run, config.data.path, "--run")
    dataset = _open(config, peers)
    if lineage is not None and dataset.fingerprint() != lineage.data:
        raise DataError(
            f"the data set must be the one of the search, got {shown(dataset.root)}, which differs "
            "from it; name it with --data"
        )
    with _own_run_folder(run, resume), _nothing_left_before_the_first_epoch(run):
        _refuse_other_images(run, dataset)
        if config.quantize.run is not None and not epochs_in(RunFolder(run).checkpoint_folder):
            refuse_changed_data(config.quantize.run, dataset)
        config_file = RunFolder(run).config_file
        with whole_file(config_file) as unfinished:  # also when resumed
            write_config(config, unfinished, _REPLAY_HEADER if lineage else "")
        if lineage:
            lineage.write(RunFolder(run).lineage_file)
        if plan:
            with whole_file(RunFolder(run).plan_file) as unfinished:
                unfinished.write_text(plan, encoding="utf-8")
        if peers is not None:
            peers.share_files(shared_checkpoint(run))
        with distribution_of(config.train, peers) as distribution:
            return _train_and_evaluate(
                config, run, dataset, progress, distribution, lineage, started
            )


def _help(config: Config, peers: Peers, progress: Progress) -> None:
    """Train with the first worker, which writes the run."""
    dataset = _open(config, peers)
    with (
        private_folder(peers.cluster, peers.share_files(None)) as folder,
        distribution_of(config.train, peers) as distribution,
    ):
        preprocessing = preprocessing_for(dataset, **config.preprocessing_settings())
        train, val = load_splits(config, dataset, preprocessing, names=("train", "val"))
        train_network(
            config, folder, train, val, len(dataset.classes), progress, distribution=distribution
        )


def _open(config: Config, peers: Peers | None) -> ImageDataset:
    """The data set of the configuration, the same on all workers."""
    dataset = open_training_data(config)
    for note in dataset.notes:
        logger.warning(note)
    if peers is not None:
        agree_on_data(peers, dataset)
    return dataset


def _train_and_evaluate(
    config: Config,
    run: Path,
    dataset: ImageDataset,
    progress: Progress,
    distribution: Distribution,
    lineage: Lineage | None = None,
    started: float | None = None,
) -> Path:
    folder = RunFolder(run)
    preprocessing = preprocessing_for(dataset, **config.preprocessing_settings())
    digests: dict[str, str] = {}
    train, val, test = load_splits(config, dataset, preprocessing, digests)

    def record_split() -> None:
        """Write the split record; most files have been read and hashed before."""
        write_split_record(folder.split_file, dataset, digests)

    recorded = epochs_in(folder.checkpoint_folder) > 0
    fine_tuning = fine_tuning_of(config)
    train_parts = partial(
        train_network, run=run, train=train, val=val, num_classes=len(dataset.classes),
        progress=progress, after_first_epoch=None if recorded else record_split,
        test_images=len(dataset.split("test")), measuring_seconds=measuring_seconds(dataset),
        started=started, distribution=distribution,
        data=partial(sample_digest, dataset),
        start=fine_tuning.start if fine_tuning else None,
    )  # fmt: skip
    if lineage is None:
        network = train_parts(config)
    else:
        network = replay(lineage, folder.checkpoint_folder, train_parts)
    facts = training_facts(dataset, network, kernels_used(folder.checkpoint_folder))
    if fine_tuning is not None:
        facts = replace(facts, **fine_tuning.facts)
        write_activation_ranges(folder.ranges_file, activation_ranges_of(network))
        network = fine_tuning.plain
    with nullcontext() if distribution.peers else distribution.strategy.scope():
        featured = with_features(network, FEATURES) or network
    complete_run(run, dataset, preprocessing, (train, val, test), network, featured, facts)
    shutil.rmtree(folder.checkpoint_folder)
    return run


def complete_run(
    run: Path,
    dataset: ImageDataset,
    preprocessing: keras.Model,
    splits: Sequence[Split],
    network: keras.Model,
    featured: keras.Model,
    facts: Facts,
) -> None:
    """Predict the validation and test split with a trained network, save it, and evaluate.

    Args:
        run: Folder of the run, with its configuration and history.
        dataset: Its data set.
        preprocessing: Layers from a raw image to a gray one of fixed size.
        splits: Training, validation and test split.
        network: From gray images to logits.
        featured: The same with its pooled features, see `with_features`; `network` if it has none.
        facts: For `facts.json`.
    """
    folder = RunFolder(run)
    train, val, test = splits
    detector = fit_detector(featured, train, dataset)
    for name, split in (("val", val), ("test", test)):
        found = predict_split(featured, split, detector)
        unlike = None
        if detector is not None and found.distances is not None:
            measured = read_measurements(dataset.paths(name), several(dataset.channels))
            if name == "val":
                detector = with_threshold(detector, found.distances, *measured)
            unlike = detector.scores_at(found.distances, *measured)
        write_predictions(
            folder.predictions_file(name), dataset.split(name), found.probabilities,
            dataset.classes, estimates=found.estimates, unlike=unlike,
        )  # fmt: skip
    targets = targets_for(train)
    save_classifier(preprocessing, network, folder.model_file, dataset, targets, detector)
    folder.write_facts(facts)
    evaluate_run(run)


@contextmanager
def _nothing_left_before_the_first_epoch(run: Path):
    """Remove the written files if the block fails before the first checkpoint.

    The folder itself is left to `locked_folder`, which knows whether it was there before.
    """
    try:
        yield
    except BaseException:
        if not _has_checkpoint(run):
            for path in run.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name != LOCK_FILE:
                    path.unlink(missing_ok=True)
        raise


def _refuse_other_images(run: Path, dataset: ImageDataset) -> None:
    """Require the images that an interrupted training run was started with."""
    digest = data_of(RunFolder(run).checkpoint_folder)
    if digest is None:
        if _has_checkpoint(run):
            refuse_changed_data(run, dataset)
    elif digest != sample_digest(dataset):  # within the first epoch, there is no split record yet
        raise DataError(
            f"the images must be those that {shown(run)} was started with, but those in "
            f"{shown(dataset.root)} have other names, labels, splits, sizes or content; restore "
            "the data set, or train into a new folder"
        )


def _has_checkpoint(run: Path) -> bool:
    """Whether there is a checkpoint to resume from."""
    return any(RunFolder(run).checkpoint_folder.glob("*.npz"))


@contextmanager
def _own_run_folder(run: Path, resume: bool) -> Iterator[None]:
    """Lock the run folder, creating it if necessary; raise if it cannot be used."""
    if run.exists() and not run.is_dir():
        raise AlloykError(f"--run must be a new or empty folder, got {shown(run)}, a file")
    with locked_folder(run):
        folder = RunFolder(run)
        finished, unfinished = folder.is_finished, folder.checkpoint_folder.is_dir()
        if resume and finished:
            raise AlloykError(
                f"--resume needs an unfinished run, got {shown(run)}, which is finished. To train "
                f"again: alloyk train {shown(folder.config_file)} --run NEW"
            )
        if not resume and unfinished and not finished:
            raise AlloykError(
                f"--run must be a new or empty folder, got {shown(run)} with an unfinished run; "
                "resume it with --resume, or choose another --run"
            )
        if not resume and not is_empty(run):
            found = "a finished run" if finished else "other files"
            raise AlloykError(
                f"--run must be a new or empty folder, got {shown(run)} with {found}; "
                "choose another"
            )
        with writing(run):
            folder.checkpoint_folder.mkdir(exist_ok=True)
        yield
