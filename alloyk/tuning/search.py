"""Hyperparameter search with Keras Tuner over any keys of the configuration.

Trials see the training and the validation split only. Keras Tuner chooses the values of a trial;
what is finished is kept in records of our own (`alloyk.tuning.records`). A resumed search asks
Keras Tuner for the same trials again, answers the finished ones from the records, and goes on
within the trial that was interrupted.
"""

import contextlib
import csv
import io
import logging
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner import errors

from alloyk.config import Config, overlay, resolve_config, write_config
from alloyk.errors import AlloykError
from alloyk.files import whole_file
from alloyk.imaging import shown
from alloyk.locks import is_empty, locked_folder
from alloyk.preprocessing.for_dataset import preprocessing_for
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.folder import RunFolder
from alloyk.training import set_up_keras, train_network
from alloyk.training.build import Split, load_splits, open_training_data
from alloyk.training.memory import networks_released
from alloyk.tuning.keras_space import hyperparameters_of
from alloyk.tuning.records import (
    FAILED,
    SEARCH_FILE,
    Trial,
    TrialRecords,
    refuse_another_search,
    search_difference,
    write_description,
)
from alloyk.tuning.space import (
    Parameter,
    as_yaml,
    extremes,
    overrides_of,
    parameters_of,
    refuse_endless_ranges,
)

RANDOM_TRIALS = 10
BEST_FILE, TRIALS_FILE = "best.yaml", "trials.csv"

_logger = logging.getLogger(__name__)


class Experiment:
    """The experiment around which to search: a trial's configuration, its data, its training."""

    def __init__(
        self, path: Path | None, overrides: Mapping, progress: Progress = NO_PROGRESS
    ) -> None:
        self.path, self.overrides, self.progress = path, dict(overrides), progress
        self.base = resolve_config(path, self.overrides)
        self._data: dict[str, tuple[Split, Split, int]] = {}

    @property
    def monitor(self) -> str:
        """What trials are compared by."""
        return self.base.train.monitor

    def configuration(self, values: Mapping[str, Any]) -> Config:
        """The configuration of a trial."""
        return resolve_config(self.path, overlay(self.overrides, overrides_of(values)))

    def check(self, parameters: tuple[Parameter, ...]) -> None:
        """Raise for keys, values and data that no trial could use, before the first one."""
        configurations = [self.configuration(values) for values in extremes(parameters)]
        self.splits(configurations[0])

    def splits(self, config: Config) -> tuple[Split, Split, int]:
        """Training split, validation split and number of classes; kept for trials alike."""
        key = repr((config.data, config.preprocess, config.model.tasks))
        if key not in self._data:
            self._data.clear()
            dataset = open_training_data(config)
            preprocessing = preprocessing_for(dataset, **config.preprocessing_settings())
            train, val = load_splits(config, dataset, preprocessing, names=("train", "val"))
            self._data[key] = train, val, len(dataset.classes)
        return self._data[key]

    def train(self, values: Mapping[str, Any], folder: Path) -> float:
        """Train one trial, from its checkpoint if there is one; return its best value."""
        config = self.configuration(values)
        set_up_keras(config)
        run = RunFolder(folder)
        run.checkpoint_folder.mkdir(exist_ok=True)
        with networks_released():
            train_network(config, folder, *self.splits(config), self.progress)
        monitored = run.history[config.train.monitor]
        shutil.rmtree(run.checkpoint_folder)
        return float(monitored.min() if self.monitor.endswith("loss") else monitored.max())


class _Trials:
    """Keras Tuner's loop over trials, each of them answered from the records or trained."""

    experiment: Experiment
    records: TrialRecords

    def run_trial(self, trial: Any, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """The best monitored value, NaN for a trial that failed: the search goes on."""
        recorded = self.records.begin(trial.hyperparameters.values)
        if recorded.result is not None:
            return {self.experiment.monitor: recorded.result}
        if recorded.state == FAILED:
            return {self.experiment.monitor: math.nan}
        try:
            result = self._train(recorded)
        except AlloykError as error:
            _logger.warning("trial %s failed: %s", recorded.name, error)
            self.records.end(recorded, None)
            # Keras Tuner takes NaN for a failure, and prints no traceback as for an exception.
            return {self.experiment.monitor: math.nan}
        except Exception as error:  # which Keras Tuner would ignore
            raise errors.FatalError(f"trial {recorded.name}: {error}") from error
        self.records.end(recorded, result)
        return {self.experiment.monitor: result}

    def _train(self, trial: Trial) -> float:
        values = ", ".join(f"{key}={value}" for key, value in trial.values.items())
        folder = self.records.folder(trial)
        resumed = RunFolder(folder).checkpoint_folder.exists()
        _logger.info("trial %s%s: %s", trial.name, " (resumed)" if resumed else "", values)
        return self.experiment.train(trial.values, folder)


class GridTrials(_Trials, keras_tuner.GridSearch):
    """Every combination."""


class RandomTrials(_Trials, keras_tuner.RandomSearch):
    """Combinations drawn at random."""


SEARCHES = {"grid": GridTrials, "random": RandomTrials}


def run_search(
    search: str,
    space: Mapping,
    out: Path | None = None,
    *,
    path: Path | None = None,
    overrides: Mapping | None = None,
    max_trials: int | None = None,
    progress: Progress = NO_PROGRESS,
) -> Path:
    """Search, and write the best configuration.

    An interrupted search is resumed when it is called again with the same `out`: finished trials
    are not repeated. More trials, and for a grid further choices, extend a finished search.

    Args:
        search: Key of `SEARCHES`.
        space: Dotted key → choices or range.
        out: Folder of the search: `best.yaml`, `trials.csv`, a folder for each trial. None
            takes `saved_models/tune-<arch>`, numbered where that holds another search.
        path: YAML file of the experiment around which to search.
        overrides: What the command line adds to it.
        max_trials: Number of trials at most; None: the whole grid, 10 at random.
        progress: Shows the batches of each epoch, see `alloyk.progress`.

    Returns:
        `best.yaml`, which `alloyk train` takes.

    Raises:
        AlloykError: The space is wrong, a combination is no valid configuration, or `out` holds
            another search.
    """
    experiment = Experiment(path, overrides or {}, progress)
    parameters = parameters_of(space)
    if search == "random" and max_trials is None:
        max_trials = RANDOM_TRIALS
    if search == "grid":
        refuse_endless_ranges(parameters)
    experiment.check(parameters)
    description = {
        "search": search,
        "space": dict(space),
        "config": experiment.base.model_dump(mode="json"),
        "data": open_training_data(experiment.base).fingerprint(),
    }
    out = _default_folder(experiment.base.model.arch, description) if out is None else Path(out)
    with locked_folder(out):
        _take_folder(out, description)
        records = TrialRecords(out)
        with _tuner(search, hyperparameters_of(parameters), experiment, max_trials) as tuner:
            tuner.experiment, tuner.records = experiment, records
            tuner.search(verbose=0)
        return _write_results(out, records, experiment, list(space))


def _default_folder(arch: str, description: Mapping) -> Path:
    """The first folder that is free, or holds this very search."""
    number = 1
    while True:
        name = f"tune-{arch}" if number == 1 else f"tune-{arch}-{number}"
        out = Path("saved_models") / name
        if not out.exists():
            return out
        if out.is_dir():
            known = (out / SEARCH_FILE).exists()
            if (known and search_difference(out, description) is None) or is_empty(out):
                return out
        number += 1


def _take_folder(out: Path, description: Mapping) -> None:
    """Keep a folder to one search: raise if it holds anything else."""
    if not (out / SEARCH_FILE).exists() and not is_empty(out):
        raise AlloykError(f"{shown(out)} is not empty and holds no search; choose another --out")
    refuse_another_search(out, description)
    write_description(out, description)


@contextlib.contextmanager
def _tuner(
    search: str, hp: keras_tuner.HyperParameters, experiment: Experiment, max_trials: int | None
) -> Iterator[Any]:
    """Keras Tuner's search. Its own files are not needed: they go with the block."""
    direction = "min" if experiment.monitor.endswith("loss") else "max"
    with (
        tempfile.TemporaryDirectory(prefix="alloyk-tune-") as folder,
        redirect_stdout(io.StringIO()),
    ):
        yield SEARCHES[search](
            hypermodel=None,
            objective=keras_tuner.Objective(experiment.monitor, direction),
            max_trials=max_trials,
            seed=experiment.base.seed + 1,  # 0 would be replaced by a random number
            hyperparameters=hp,
            max_consecutive_failed_trials=None,
            directory=folder,
            project_name="search",
        )


def _write_results(
    out: Path, records: TrialRecords, experiment: Experiment, keys: list[str]
) -> Path:
    """Write `trials.csv` and `best.yaml`; return the latter."""
    finished = records.best_first(experiment.monitor)
    if not finished:
        raise AlloykError(f"every trial of {shown(out)} failed; see the messages above")
    _write_trials(out / TRIALS_FILE, [*finished, *records.failed()], keys, experiment.monitor)
    best = experiment.configuration(finished[0].values)
    with whole_file(out / BEST_FILE) as unfinished:
        header = (
            f"# {experiment.monitor} {finished[0].result:.4f}, best of {len(finished)} trials.\n"
        )
        write_config(best, unfinished, header)
    return out / BEST_FILE


def _write_trials(path: Path, trials: list[Trial], keys: list[str], monitor: str) -> None:
    """One row per trial, the best first; one that failed has no value."""
    with (
        whole_file(path) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", monitor, *keys])
        for trial in trials:
            row = [as_yaml(trial.values[key]) if key in trial.values else "" for key in keys]
            writer.writerow([trial.name, "" if trial.result is None else trial.result, *row])
