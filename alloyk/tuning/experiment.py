"""The experiment around which to search: a trial's configuration, its data, its training."""

import logging
import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from alloyk.config import Config, overlay, resolve_config, write_config
from alloyk.data import ImageDataset
from alloyk.data.folds import validation_split
from alloyk.errors import ConfigError, ModelError
from alloyk.files import unfinished_path, whole_file
from alloyk.preprocessing.for_dataset import preprocessing_for
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.folder import RunFolder
from alloyk.runs.planned import NOT_PLANNED, Planned
from alloyk.runs.predictions import write_predictions
from alloyk.runs.search_folder import SearchFolder
from alloyk.runs.search_records import (
    FROM,
    GENERATION,
    PARENT,
    RUNNING,
    UNTIL,
    Trial,
    TrialRecords,
    falls,
)
from alloyk.runs.search_space import Parameter
from alloyk.training.checkpoint import weights_digest
from alloyk.training.fit import train_network
from alloyk.training.keras_setup import set_up_keras, setup_undone
from alloyk.training.predicting import predict_split
from alloyk.training.release import networks_released
from alloyk.training.splits import Split, load_splits, open_training_data
from alloyk.tuning.folds import fold_folder, over_folds
from alloyk.tuning.loop import Outcome, Suggestions, TimeIsUp, run_trials
from alloyk.tuning.population import Population
from alloyk.tuning.space import extremes, overrides_of
from alloyk.tuning.suggestions import suggestions_for
from alloyk.tuning.task import Task

_logger = logging.getLogger(__name__)


class TrialData(NamedTuple):
    """The data of trials.

    Attributes:
        dataset: The data set.
        train: Training split.
        val: Validation split.
    """

    dataset: ImageDataset
    train: Split
    val: Split


class Experiment:
    """The experiment around which to search: a trial's configuration, its data, its training.

    Args:
        path: YAML file of the experiment.
        overrides: What the command line adds to it.
        progress: Shows the batches of each epoch, see `alloyk.progress`.
        planned: Settings made for the data set.
        folds: Number of folds whose mean is the objective; None: the validation split.
    """

    def __init__(
        self,
        path: Path | None,
        overrides: Mapping,
        progress: Progress = NO_PROGRESS,
        planned: Planned = NOT_PLANNED,
        folds: int | None = None,
    ) -> None:
        self.path, self.overrides, self.progress = path, dict(overrides), progress
        self.planned, self.folds = planned, folds
        self.base = self.configuration({})
        self._data: dict[str, TrialData] = {}

    @property
    def monitor(self) -> str:
        """What trials are compared by."""
        return self.base.train.monitor

    def configuration(self, values: Mapping[str, Any]) -> Config:
        """The configuration of a trial."""
        given = overlay(self.overrides, overrides_of(values))
        arch = given.get("model", {}).get("arch")
        return resolve_config(self.path, given, self.planned.for_arch(arch))

    def check(self, parameters: tuple[Parameter, ...]) -> None:
        """Raise for keys, values and data that no trial could use, before the first one."""
        if self.base.quantize.run is not None:
            raise ConfigError(
                "quantize.run must be unset in a search; fine-tune its best run with "
                "`alloyk train --quantize-from`"
            )
        self._refuse_different_losses(parameters)
        configurations = [self.configuration(values) for values in extremes(parameters)]
        for fold in range(2, (self.folds or 1) + 1):
            self._validated_by(fold, self.dataset)
        self.data(configurations[0], self.folds and 1)

    @cached_property
    def dataset(self) -> ImageDataset:
        """The data set, with its own split; no search space changes it."""
        return open_training_data(self.base)

    def fingerprint(self) -> str:
        """That of the data set."""
        return self.dataset.fingerprint()

    def run_trials(self, task: Task) -> bool:
        """Take and train trials of a search; see `alloyk.tuning.loop.run_trials`."""
        suggestions: Suggestions
        if task.members is not None:
            suggestions = self.population(task)
        else:
            suggestions = suggestions_for(
                task.search, task.parameters, seed=self.base.seed + 1, max_trials=task.max_trials,
                falling=falls(self.monitor), epochs=self.base.train.epochs,
            )  # fmt: skip
        return run_trials(task.out, suggestions, self.train, deadline=task.deadline)

    def population(self, task: Task) -> Population:
        """Where the values of the trials of Population-Based Training come from."""
        assert task.members is not None
        return Population(
            task.parameters, task.members, self.base.train.epochs, falling=falls(self.monitor),
            seed=self.base.seed + 1, first_seed=self.base.seed,
        )  # fmt: skip

    def _refuse_different_losses(self, parameters: tuple[Parameter, ...]) -> None:
        """Raise if trials would be compared by values of different losses."""
        for key in (one.key for one in parameters) if falls(self.monitor) else ():
            if key.partition(".")[0] in ("loss", "multitask") or key == "model.tasks":
                raise ConfigError(
                    f"search space, {key}: train.monitor must be val_accuracy, because values of "
                    f"different losses cannot be compared, got {self.monitor}; add --set "
                    "train.monitor=val_accuracy"
                )

    def data(self, config: Config, fold: int | None = None) -> TrialData:
        """The data of a configuration, with a fold as its validation split; kept for trials alike.

        Raises:
            AlloykError: The data cannot be used, or a class has too few groups for the folds.
        """
        key = repr((config.data, config.preprocess, config.model.tasks, fold))
        if key not in self._data:
            self._data.clear()
            base = self.base
            same = (config.data, config.model.tasks) == (base.data, base.model.tasks)
            dataset = self.dataset if same else open_training_data(config)
            if fold is not None:
                dataset = self._validated_by(fold, dataset)
            preprocessing = preprocessing_for(dataset, **config.preprocessing_settings())
            train, val = load_splits(config, dataset, preprocessing, names=("train", "val"))
            self._data[key] = TrialData(dataset, train, val)
        return self._data[key]

    def _validated_by(self, fold: int, dataset: ImageDataset) -> ImageDataset:
        """The data set with one fold of its training and validation images as validation split."""
        assert self.folds is not None
        data = self.base.data
        split = validation_split(
            dataset.table, (fold, self.folds), data.group_by, seed=data.split_seed
        )
        return replace(dataset, table=dataset.table.assign(split=split))

    @setup_undone()
    def train(self, trial: Trial, records: TrialRecords, deadline: float | None) -> Outcome:
        """Train one trial, from its checkpoint if there is one; return its best value.

        Raises:
            TimeIsUp: The deadline passed; the trial can be resumed.
        """
        config = self.configuration(trial.values)
        folder = records.folder(trial)
        set_up_keras(config)
        values = ", ".join(f"{key}={value}" for key, value in trial.values.items())
        resumed = " (resumed)" if checkpoints_in(folder) else ""
        _logger.info("trial %s%s: %s", trial.name, resumed, values)
        _remove_checkpoints(records, trial)
        _write_settings(config, SearchFolder(records.out).settings_file(trial), trial)
        parent = trial.values.get(PARENT)
        before = None if parent is None else records.out / f"trial_{parent}"
        if self.folds is None:
            return self._train(config, trial, folder, before, self.data(config), deadline)

        def train_fold(fold: int, own: Path) -> Outcome:
            if deadline is not None and time.time() > deadline:
                raise TimeIsUp
            _logger.info("trial %s: fold %d of %d", trial.name, fold, self.folds)
            above = before and fold_folder(before, fold)
            return self._train(config, trial, own, above, self.data(config, fold), deadline)

        return over_folds(folder, self.folds, train_fold, continued=UNTIL in trial.values)

    def _train(
        self,
        config: Config,
        trial: Trial,
        folder: Path,
        before: Path | None,
        data: TrialData,
        deadline: float | None,
    ) -> Outcome:
        """Train a trial, or a fold of it, in its folder, from that of the one it continues."""
        run, generation = RunFolder(folder), trial.values.get(GENERATION)
        if before is not None:
            _continue(before, folder, required=generation is not None)
        run.checkpoint_folder.mkdir(exist_ok=True)

        def watch_time(_epochs_done: int) -> None:
            if deadline is not None and time.time() > deadline:
                raise TimeIsUp

        dataset, train, val = data
        classes = tuple(dataset.classes)
        with networks_released():
            network = train_network(
                config, folder, train, val, len(classes), self.progress,
                after_epoch=watch_time, until=trial.values.get(UNTIL),
                changing=generation is not None,
            )  # fmt: skip
            probabilities = predict_split(network, val).probabilities
            weights = None if generation is None else weights_digest(network)
            del network
        write_predictions(run.predictions_file("val"), dataset.split("val"), probabilities, classes)
        history = run.history
        assert history is not None  # train_network wrote it
        own = history["seconds"][int(trial.values.get(FROM, 0)) :]
        # What another member may copy are the weights of the last epoch, not of the best one.
        row = -1 if generation is not None else history.best_row(self.monitor)
        result = float(history[self.monitor][row])
        if not math.isfinite(result):
            where = "in the last epoch" if generation is not None else "in each epoch"
            raise ModelError(f"{self.monitor} must be finite, got {result} {where}")
        return Outcome(result, history.epochs, round(float(own.sum()), 3), weights)


def checkpoints_in(trial: Path) -> list[Path]:
    """The folders of the checkpoints of a trial and of its folds."""
    name = RunFolder(trial).checkpoint_folder.name
    return [*trial.glob(name), *trial.glob(f"fold_*/{name}")]


def _write_settings(config: Config, file: Path, trial: Trial) -> None:
    """Write the configuration of a trial, whose folder no other worker has."""
    with whole_file(file) as unfinished:
        write_config(config, unfinished, f"# Trial {trial.name} of a search.\n")


def _continue(parent: Path, folder: Path, *, required: bool = False) -> None:
    """Start a trial from the history and the checkpoint of the trial that it continues.

    Raises:
        ModelError: There is no checkpoint, and it is required.
    """
    before, checkpoint = RunFolder(parent), RunFolder(folder).checkpoint_folder
    if checkpoint.exists():
        return
    if not before.checkpoint_folder.exists():
        if required:
            raise ModelError(
                f"the trial that is continued must have its checkpoint, but "
                f"{before.checkpoint_folder} is missing; search in another --out"
            )
        return
    for unfinished in checkpoint.parent.glob(f".{checkpoint.name}-*"):
        shutil.rmtree(unfinished)  # left by an interrupted copy
    shutil.copyfile(before.history_file, RunFolder(folder).history_file)
    with unfinished_path(checkpoint) as unfinished:
        shutil.copytree(before.checkpoint_folder, unfinished)


def _remove_checkpoints(records: TrialRecords, trial: Trial) -> None:
    """Remove the checkpoints that no trial needs any more, now that their results are recorded.

    A trial of Hyperband may be continued at any time, a member of a population in the next
    generation.
    """
    for other in records:
        if GENERATION in trial.values:
            over = other.values[GENERATION] < trial.values[GENERATION] - 1
        else:
            over = other.state != RUNNING and UNTIL not in other.values
        for checkpoint in checkpoints_in(records.folder(other)) if over else ():
            shutil.rmtree(checkpoint, ignore_errors=True)
