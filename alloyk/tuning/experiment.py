"""The experiment around which to search: a trial's configuration, its data, its training."""

import logging
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from alloyk.config import Config, overlay, resolve_config, write_config
from alloyk.data import ImageDataset
from alloyk.errors import ConfigError, ModelError
from alloyk.files import unfinished_path, whole_file
from alloyk.preprocessing.for_dataset import preprocessing_for
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.folder import RunFolder
from alloyk.runs.predictions import write_predictions
from alloyk.runs.search_folder import SearchFolder
from alloyk.runs.search_records import FROM, GENERATION, PARENT, UNTIL, Trial, TrialRecords, falls
from alloyk.runs.search_space import Parameter
from alloyk.training.checkpoint import weights_digest
from alloyk.training.fit import set_up_keras, train_network
from alloyk.training.memory import networks_released
from alloyk.training.predicting import predict_split
from alloyk.training.splits import Split, load_splits, open_training_data
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
    """The experiment around which to search: a trial's configuration, its data, its training."""

    def __init__(
        self, path: Path | None, overrides: Mapping, progress: Progress = NO_PROGRESS
    ) -> None:
        self.path, self.overrides, self.progress = path, dict(overrides), progress
        self.base = resolve_config(path, self.overrides)
        self._data: dict[str, TrialData] = {}

    @property
    def monitor(self) -> str:
        """What trials are compared by."""
        return self.base.train.monitor

    def configuration(self, values: Mapping[str, Any]) -> Config:
        """The configuration of a trial."""
        return resolve_config(self.path, overlay(self.overrides, overrides_of(values)))

    def check(self, parameters: tuple[Parameter, ...]) -> None:
        """Raise for keys, values and data that no trial could use, before the first one."""
        self._refuse_different_losses(parameters)
        configurations = [self.configuration(values) for values in extremes(parameters)]
        self.data(configurations[0])

    @property
    def dataset(self) -> ImageDataset:
        """The data set; no search space changes it."""
        known = next(iter(self._data.values()), None)
        return (known or self.data(self.base)).dataset

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

    def data(self, config: Config) -> TrialData:
        """The data of a configuration; kept for trials alike."""
        key = repr((config.data, config.preprocess, config.model.tasks))
        if key not in self._data:
            self._data.clear()
            dataset = open_training_data(config)
            preprocessing = preprocessing_for(dataset, **config.preprocessing_settings())
            train, val = load_splits(config, dataset, preprocessing, names=("train", "val"))
            self._data[key] = TrialData(dataset, train, val)
        return self._data[key]

    def train(self, trial: Trial, records: TrialRecords, deadline: float | None) -> Outcome:
        """Train one trial, from its checkpoint if there is one; return its best value.

        Raises:
            TimeIsUp: The deadline passed; the trial can be resumed.
        """
        config = self.configuration(trial.values)
        folder = records.folder(trial)
        set_up_keras(config)
        run = RunFolder(folder)
        values = ", ".join(f"{key}={value}" for key, value in trial.values.items())
        resumed = " (resumed)" if run.checkpoint_folder.exists() else ""
        _logger.info("trial %s%s: %s", trial.name, resumed, values)
        generation = trial.values.get(GENERATION)
        if generation is not None:
            _remove_checkpoints(records, before=generation - 1)
        if trial.values.get(PARENT) is not None:
            parent = records.out / f"trial_{trial.values[PARENT]}"
            _continue(parent, folder, required=generation is not None)
        run.checkpoint_folder.mkdir(exist_ok=True)
        _write_settings(config, SearchFolder(records.out).settings_file(trial), trial)

        def watch_time(_epochs_done: int) -> None:
            if deadline is not None and time.time() > deadline:
                raise TimeIsUp

        dataset, train, val = self.data(config)
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
        if UNTIL not in trial.values:  # a trial of Hyperband may be continued
            shutil.rmtree(run.checkpoint_folder)
        own = history["seconds"][int(trial.values.get(FROM, 0)) :]
        # What another member may copy are the weights of the last epoch, not of the best one.
        row = -1 if generation is not None else history.best_row(self.monitor)
        result = float(history[self.monitor][row])
        if not math.isfinite(result):
            where = "in the last epoch" if generation is not None else "in each epoch"
            raise ModelError(f"{self.monitor} must be finite, got {result} {where}")
        return Outcome(result, history.epochs, round(float(own.sum()), 3), weights)


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


def _remove_checkpoints(records: TrialRecords, *, before: int) -> None:
    """Remove the checkpoints of earlier generations, which no member can copy any more."""
    for trial in records:
        if trial.values[GENERATION] < before:
            shutil.rmtree(RunFolder(records.folder(trial)).checkpoint_folder, ignore_errors=True)
