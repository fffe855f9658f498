"""Hyperparameter search with Keras Tuner over any keys of the configuration.

A search space maps dotted keys to their values: a list of choices, or a range::

    optimizer.learning_rate: {min: 1e-4, max: 1e-2, log: true}
    model.dropout: [0.1, 0.3, 0.5]
    train.batch_size: {min: 16, max: 64, step: 16}

Trials see the training and the validation split only.
"""

import csv
import json
import math
import shutil
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

import click
import keras
import keras_tuner
import yaml
from keras_tuner import errors

from alloyk.config import (
    Config,
    overlay,
    parse_overrides,
    parse_yaml,
    read_yaml,
    resolve_config,
    write_config,
)
from alloyk.errors import AlloykError
from alloyk.files import whole_file
from alloyk.preprocessing.for_dataset import preprocessing_for
from alloyk.runs.folder import RunFolder
from alloyk.training import set_up_keras, train_network
from alloyk.training.build import load_split, open_training_data

RANGE_KEYS = {"min", "max", "step", "log"}
# Keys that change which images a trial is judged by: its value would compare with no other's.
FIXED_KEYS = frozenset(
    f"data.{name}"
    for name in (
        "path", "simulate", "ratios", "group_by", "split_seed", "fold", "leave_out", "on_bad_image",
    )
)  # fmt: skip


def read_space(path: Path) -> dict:
    """The search space of a YAML file, flat or nested like a configuration.

    Raises:
        AlloykError: The file holds no search space.
    """
    space: dict = {}

    def flatten(prefix, content):
        for key, value in content.items():
            name = f"{prefix}{key}"
            if isinstance(value, Mapping) and not {"min", "max"} <= set(value):
                flatten(f"{name}.", value)
            else:
                space[name] = value

    flatten("", read_yaml(path))
    if not space:
        raise AlloykError(
            f"{path} names no key to search over: write for example model.dropout: [0.1, 0.3]"
        )
    return space


def space_from(sweeps) -> dict:
    """The search space of ``KEY=A,B,C`` strings, values read as YAML.

    >>> space_from(["model.dropout=0.1,0.3", "preprocess.image_size=[32,48],[64,64]"])
    {'model.dropout': [0.1, 0.3], 'preprocess.image_size': [[32, 48], [64, 64]]}
    """
    space = {}
    for sweep in sweeps:
        key, equals, text = sweep.partition("=")
        try:
            choices = parse_yaml(f"[{text}]")
        except yaml.YAMLError:
            choices = []
        if not equals or not key or not choices:
            raise AlloykError(
                f"--over wants KEY=A,B,…, found {sweep!r}: write for example model.dropout=0.1,0.3"
            )
        space[key] = choices
    return space


def hyperparameters_of(space: Mapping) -> keras_tuner.HyperParameters:
    """Keras Tuner's description of a search space.

    Choices travel as JSON text, so that a list or a missing value can be one.

    Raises:
        AlloykError: A key has no choices, a range is not one, or a key changes the images that
            trials are compared on.
    """
    hp = keras_tuner.HyperParameters()
    for key, values in space.items():
        if ".".join(key.split(".")[:2]) in FIXED_KEYS:
            raise AlloykError(
                f"search space, {key}: trials can be compared on the same images only; give it by "
                "--set, and search once for each value"
            )
        if isinstance(values, Mapping):
            _add_range(hp, key, values)
        elif isinstance(values, list) and values:
            hp.Choice(key, [json.dumps(value) for value in values])
        else:
            raise AlloykError(
                f"search space, {key}: wanted a list of choices or {{min: …, max: …}}, found "
                f"{values!r}"
            )
    return hp


def _add_range(hp, key, values):
    unknown = set(values) - RANGE_KEYS
    try:
        low, high = float(values["min"]), float(values["max"])
        step = values.get("step")
        step = None if step is None else float(step)
    except (KeyError, TypeError, ValueError):
        low, high, step = 1.0, 0.0, None
    log = bool(values.get("log"))
    if unknown or low >= high or (log and (low <= 0 or step is not None)) or (step or 1) <= 0:
        raise AlloykError(
            f"search space, {key}: wanted {{min: A, max: B}} with A < B, and step or log (from a "
            f"positive A) if you like; found {dict(values)}"
        )
    whole = all(isinstance(values[name], int) for name in ("min", "max", "step") if name in values)
    sampling = "log" if log else "linear"
    if whole:
        hp.Int(key, int(low), int(high), step=int(step) if step else None, sampling=sampling)
    else:
        hp.Float(key, low, high, step=step, sampling=sampling)


def overrides_of(values: Mapping) -> dict:
    """The nested overrides that a trial's values stand for."""
    return parse_overrides(f"{key}={_as_yaml(value)}" for key, value in values.items())


def _as_yaml(value):
    return value if isinstance(value, str) else json.dumps(value)


class _Trials:
    """Keras Tuner's loop over trials, each of them a training of ours."""

    def prepare(self, path, overrides, folder: Path):
        self.path, self.overrides, self.folder = path, overrides, folder
        self.base = resolve_config(path, overrides)
        self._data: dict = {}

    def configuration(self, values: Mapping) -> Config:
        return resolve_config(self.path, overlay(self.overrides, overrides_of(values)))

    def check(self, space: Mapping) -> None:
        """Refuse keys, values and data that no trial could use, before the first one."""
        first = self.oracle.get_space().values
        self.splits(self.configuration(first))
        for key, values in space.items():
            ends = isinstance(values, Mapping)
            for value in (values["min"], values["max"]) if ends else values:
                self.configuration({**first, key: json.dumps(value)})

    def run_trial(self, trial, *_args, **_kwargs):
        """The best monitored value; a trial that diverges is named, and the search goes on."""
        try:
            return self._train(trial)
        except AlloykError as error:
            click.echo(f"trial {trial.trial_id} failed: {error}", err=True)
            # Keras Tuner takes it for a failure, and prints no traceback as for an exception.
            return {self.base.train.monitor: math.nan}
        except Exception as error:  # which Keras Tuner would pass over in silence
            raise errors.FatalError(f"trial {trial.trial_id}: {error}") from error

    def _train(self, trial):
        config = self.configuration(trial.hyperparameters.values)
        folder = self.folder / f"trial_{trial.trial_id}"
        shutil.rmtree(folder, ignore_errors=True)
        RunFolder(folder).checkpoint_folder.mkdir(parents=True)
        shown = ", ".join(f"{k}={v}" for k, v in trial.hyperparameters.values.items())
        click.echo(f"trial {trial.trial_id}: {shown}", err=True)
        set_up_keras(config)
        train, val, num_classes = self.splits(config)
        train_network(config, folder, train, val, num_classes)
        shutil.rmtree(RunFolder(folder).checkpoint_folder)
        history = RunFolder(folder).history
        keras.backend.clear_session()
        monitored = history[config.train.monitor]
        best = monitored.min() if config.train.monitor.endswith("loss") else monitored.max()
        return {config.train.monitor: float(best)}

    def splits(self, config):
        """The data of a trial; read once for all trials that prepare it alike."""
        key = repr((config.data, config.preprocess, config.model.tasks))
        if key not in self._data:
            self._data.clear()
            dataset = open_training_data(config)
            preprocessing = preprocessing_for(config, dataset)
            splits = [load_split(config, dataset, name, preprocessing) for name in ("train", "val")]
            self._data[key] = (*splits, len(dataset.classes))
        return self._data[key]


class GridTrials(_Trials, keras_tuner.GridSearch):
    """Every combination."""


class RandomTrials(_Trials, keras_tuner.RandomSearch):
    """Combinations drawn at random."""


SEARCHES = {"grid": GridTrials, "random": RandomTrials}


def run_search(
    search: str, space: Mapping, out: Path, *, path=None, overrides=None, max_trials=None
) -> Path:
    """Search, and write the best configuration.

    A search that was cut off goes on when it is called again with the same `out`: finished trials
    are not repeated.

    Args:
        search: Key of `SEARCHES`.
        space: Dotted key → choices or range.
        out: Folder of the search: ``best.yaml``, ``trials.csv``, a folder for each trial.
        path: YAML file of the experiment around which to search.
        overrides: What the command line adds to it.
        max_trials: Number of trials at most; None: the whole grid, 10 at random.

    Returns:
        ``best.yaml``, which `alloyk train` takes.

    Raises:
        AlloykError: The space is wrong, or a combination is no valid configuration.
    """
    overrides = overrides or {}
    base = resolve_config(path, overrides)
    hp = hyperparameters_of(space)
    direction = "min" if base.train.monitor.endswith("loss") else "max"
    if search == "random" and max_trials is None:
        max_trials = 10
    if search == "grid":
        _refuse_endless_ranges(hp)
    out = Path(out)
    _refuse_another_search(out, {"search": search, "space": dict(space)})
    with redirect_stdout(sys.stderr):  # where Keras Tuner says that it goes on
        tuner = SEARCHES[search](
            hypermodel=None,
            objective=keras_tuner.Objective(base.train.monitor, direction),
            max_trials=max_trials,
            seed=base.seed,
            hyperparameters=hp,
            max_consecutive_failed_trials=None,
            directory=str(out.parent),
            project_name=out.name,
        )
    tuner.prepare(path, overrides, out)
    tuner.check(space)
    tuner.search(verbose=0)
    trials = tuner.oracle.get_best_trials(len(tuner.oracle.trials))
    if not trials:
        raise AlloykError(f"no trial of {out} came to an end: see the messages above")
    failed = [trial for trial in tuner.oracle.trials.values() if trial not in trials]
    _write_trials(out / "trials.csv", [*trials, *failed], list(space), base.train.monitor)
    best = tuner.configuration(trials[0].hyperparameters.values)
    with whole_file(out / "best.yaml") as unfinished:
        header = f"# {base.train.monitor} {trials[0].score:.4f}, best of {len(trials)} trials.\n"
        write_config(best, unfinished, header)
    return out / "best.yaml"


def _refuse_endless_ranges(hp) -> None:
    """A grid over real numbers needs to be told which: Keras Tuner would choose ten of them."""
    for one in hp.space:
        if isinstance(one, keras_tuner.engine.hyperparameters.Float) and one.step is None:
            raise AlloykError(
                f"search space, {one.name}: a grid wants a list of values, or a step beside min "
                "and max; a range alone suits --search random"
            )


def _refuse_another_search(out: Path, described: dict) -> None:
    """Keep a folder to one search: Keras Tuner would mix the trials of two."""
    file = out / "search.json"
    text = json.dumps(described, indent=1)
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise AlloykError(f"{out} holds another search: choose another --out")
    if not file.exists() and out.exists() and any(out.iterdir()):
        raise AlloykError(f"{out} is not empty and holds no search: choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise AlloykError(f"cannot write {out}: {error.strerror}") from error


def _write_trials(path: Path, trials, keys, monitor) -> None:
    """One row per trial, the best first; one that failed has no value."""
    with whole_file(path) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", monitor, *keys])
        for trial in trials:
            values = trial.hyperparameters.values
            failed = trial.score is None or math.isnan(trial.score)
            row = [_as_yaml(values[key]) for key in keys]
            writer.writerow([trial.trial_id, "" if failed else trial.score, *row])
