"""Population-Based Training of a network: its settings, its workers, the schedule it has found."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alloyk.config import Config, overlay
from alloyk.errors import ConfigError
from alloyk.plots import save_figure
from alloyk.plots.schedules import plot_schedules_of
from alloyk.runs.lineage import Lineage, Part, is_changeable
from alloyk.runs.search_folder import SearchFolder
from alloyk.runs.search_records import (
    FAILED,
    FINISHED,
    UNTIL,
    Trial,
    TrialRecords,
    falls,
)
from alloyk.runs.search_space import Parameter
from alloyk.tuning.experiment import Experiment
from alloyk.tuning.population import (
    DEFAULT_GENERATIONS,
    DEFAULT_SIZE,
    refuse_fixed_keys,
    refuse_wrong_members,
)
from alloyk.tuning.ray_workers import current_setup, run_on_ray
from alloyk.tuning.task import Members, Task

# Members are trained to the end and must repeat bit for bit.
SETTINGS = {"train": {"patience": None, "deterministic": True}}

_logger = logging.getLogger(__name__)


def evolving(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides of an experiment with what members need."""
    return overlay(overrides, SETTINGS)


def members_of(
    config: Config,
    parameters: Sequence[Parameter],
    size: int | None,
    generation_epochs: int | None,
    burn_in: int,
) -> Members:
    """The members of a search, with defaults.

    Raises:
        ConfigError: There cannot be such members, or a key cannot change during a training run.
    """
    if config.train.time_budget_minutes is not None:
        raise ConfigError(
            "train.time_budget_minutes must be null with --search pbt, whose members train "
            f"train.epochs, got {config.train.time_budget_minutes}; use --time-budget"
        )
    epochs = config.train.epochs
    members = Members(
        DEFAULT_SIZE if size is None else size,
        max(epochs // DEFAULT_GENERATIONS, 1) if generation_epochs is None else generation_epochs,
        burn_in,
    )
    refuse_wrong_members(members, epochs)
    refuse_fixed_keys(parameters)
    return members


def evolve(task: Task, experiment: Experiment, workers: int, address: str | None) -> bool:
    """Train the members; return whether every generation is complete."""
    population = experiment.population(task)

    def is_complete() -> bool:
        records = TrialRecords(task.out)
        return not records.running() and population.next(records) is None

    if not is_complete():
        report = _Report(task, experiment.monitor)
        run_on_ray(task, current_setup(), workers, address, report)
        report()
    return is_complete()


class _Report:
    """Logs what the workers have done since the last call."""

    def __init__(self, task: Task, monitor: str) -> None:
        assert task.members is not None
        self.records, self.monitor, self.size = TrialRecords(task.out), monitor, task.members.size
        self.told = {trial.name for trial in self.records if trial.state == FAILED}
        self.generations = len(list(self._complete()))

    def _complete(self) -> Iterator[list[Trial]]:
        trials = sorted(self.records, key=lambda trial: trial.name)
        for start in range(0, len(trials) - self.size + 1, self.size):
            own = trials[start : start + self.size]
            if all(trial.state in (FINISHED, FAILED) for trial in own):
                yield own

    def __call__(self) -> None:
        self.records.refresh()
        for trial in self.records.failed():
            if trial.name not in self.told:
                _logger.warning("trial %s failed: %s", trial.name, trial.error)
                self.told.add(trial.name)
        complete = list(self._complete())
        for own in complete[self.generations :]:
            results = [trial.result for trial in own if trial.result is not None]
            if results:
                best = min(results) if falls(self.monitor) else max(results)
                _logger.info("epoch %d: best %s of %d members %.4f",
                             own[0].values[UNTIL], self.monitor, len(results), best)  # fmt: skip
        self.generations = max(self.generations, len(complete))


def lineage_of(best: Trial, records: TrialRecords, experiment: Experiment) -> Lineage:
    """The schedule of a trial, with what is needed to repeat it."""
    line = records.line(best)
    configs = [experiment.configuration(one.values).model_dump(mode="json") for one in line]
    # A conditional key that a trial lacks has its configured value there, not the one before.
    keys = list(dict.fromkeys(key for one in line for key in one.values))
    parts = tuple(
        Part(one.values[UNTIL], _changing(keys, config), one.name)
        for one, config in zip(line, configs, strict=True)
    )
    assert best.weights is not None
    assert best.result is not None
    return Lineage(
        configs[0], parts, experiment.fingerprint(), best.weights, experiment.monitor, best.result
    )


def _changing(keys: Sequence[str], config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of those keys of a configuration that can change, as plain values."""
    found = {}
    for key in (one for one in keys if one == "seed" or is_changeable(one)):
        value: Any = config
        for part in key.split("."):
            value = value[part]
        found[key] = value
    return found


def write_schedules(
    search: SearchFolder,
    best: Trial,
    records: TrialRecords,
    experiment: Experiment,
    parameters: Sequence[Parameter],
) -> None:
    """Write `lineage.json` and a figure of every member's values."""
    lineage_of(best, records, experiment).write(search.lineage_file)
    axes = plot_schedules_of(best, records, parameters)
    if axes is not None:
        save_figure(axes, search.schedules_file)
