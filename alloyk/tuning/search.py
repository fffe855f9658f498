"""Hyperparameter search over any keys of the configuration.

Trials see the training and the validation split only. Keras Tuner chooses the values of a trial
(`alloyk.tuning.suggestions`), or a population does (`alloyk.tuning.population`); what is finished
is kept in records (`alloyk.runs.search_records`). Every worker of a search runs the same loop
(`alloyk.tuning.loop`); a resumed search is one more worker.
"""

import logging
import multiprocessing
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from alloyk.config import write_config
from alloyk.errors import AlloykError, ConfigError
from alloyk.files import whole_file, write_csv
from alloyk.locks import is_empty
from alloyk.messages import counted, few, shown
from alloyk.metrics.certainty import Certainty, metric_of, trial_certainties
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.destination import refuse_in_data
from alloyk.runs.planned import NOT_PLANNED, Planned
from alloyk.runs.search_folder import SearchFolder
from alloyk.runs.search_records import (
    GENERATION,
    PARENT,
    SEARCH_FILE,
    Trial,
    TrialRecords,
    refuse_another_search,
    search_difference,
    write_description,
)
from alloyk.runs.search_space import Parameter, parameters_of
from alloyk.runtime.ray_cluster import refuse_missing_cluster
from alloyk.settings.dialect import as_yaml
from alloyk.tuning.evolution import (
    evolve,
    evolving,
    members_of,
    write_schedules,
)
from alloyk.tuning.experiment import Experiment, checkpoints_in
from alloyk.tuning.loop import search_lock
from alloyk.tuning.ray_workers import pbt_ray
from alloyk.tuning.space import refuse_other_images, refuse_ranges_without_step
from alloyk.tuning.task import Members, Task
from alloyk.tuning.worker import work

SEARCHES = ("grid", "random", "bayesian", "hyperband", "pbt")
_LINE_COLUMNS = {GENERATION: "generation", PARENT: "continues"}

_logger = logging.getLogger(__name__)


class NoResultError(AlloykError):
    """No trial of a search has a result.

    Attributes:
        folder: Folder of the search.
    """

    def __init__(self, message: str, folder: Path) -> None:
        super().__init__(message)
        self.folder = folder


def run_search(
    search: str,
    space: Mapping,
    out: Path | None = None,
    *,
    path: Path | None = None,
    overrides: Mapping | None = None,
    max_trials: int | None = None,
    time_budget_min: float | None = None,
    workers: int = 1,
    population: int | None = None,
    generation_epochs: int | None = None,
    burn_in: int = 0,
    address: str | None = None,
    progress: Progress = NO_PROGRESS,
    planned: Planned = NOT_PLANNED,
    folds: int | None = None,
) -> Path:
    """Search, and write the best configuration.

    An interrupted search is resumed when it is called again with the same `out`: finished trials
    are not repeated. More trials, and for a grid further choices, extend a finished search.

    Args:
        search: One of `SEARCHES`.
        space: Dotted key → choices or range.
        out: Folder of the search: `best.yaml`, `trials.csv`, a folder for each trial. None
            takes `saved_models/tune-<arch>`, numbered where that holds another search.
        path: YAML file of the experiment around which to search.
        overrides: What the command line adds to it.
        max_trials: Number of trials at most; None: the whole grid, see `DEFAULT_TRIALS`.
        time_budget_min: Minutes after which no further epoch starts; the search can be resumed.
        workers: Number of processes that take trials. A call elsewhere with the same `out` joins.
        population: Number of members of Population-Based Training.
        generation_epochs: Epochs after which members copy better ones; None: a tenth of
            `train.epochs`.
        burn_in: Epochs before which no member copies another one.
        address: `HOST:PORT` of a Ray cluster for Population-Based Training, or `local`.
        progress: Shows the batches of each epoch, see `alloyk.progress`.
        planned: Settings made for the data set, from which trials start; recorded.
        folds: Number of folds of the training and validation images; the objective is the mean
            over them. None: the validation split.

    Returns:
        `best.yaml`, which `alloyk train` takes.

    Raises:
        AlloykError: The space is wrong, a combination is no valid configuration, or `out` holds
            another search.
    """
    _refuse_wrong_options(search, workers, time_budget_min, folds)
    deadline = None if time_budget_min is None else time.time() + 60 * time_budget_min
    members, parameters, overrides = None, parameters_of(space), overrides or {}
    refuse_other_images(parameters)
    if search == "pbt":
        pbt_ray()
        if address is not None:
            refuse_missing_cluster(address)
        overrides = evolving(overrides)
    experiment = Experiment(path, overrides, progress, planned, folds)
    if search == "pbt":
        members = members_of(experiment.base, parameters, population, generation_epochs, burn_in)
    if search == "grid":
        refuse_ranges_without_step(parameters)
    experiment.check(parameters)
    description = _described(search, space, experiment, members)
    out = _default_folder(experiment.base.model.arch, description) if out is None else Path(out)
    refuse_in_data(out, experiment.base.data.path)
    _take_folder(out, description)
    planned.write_text(SearchFolder(out).plan_file)
    task = Task(search, parameters, out, path, overrides, max_trials, deadline, members, planned,
                folds)  # fmt: skip
    if members is not None:
        complete = evolve(task, experiment, workers, address)
    else:
        with _further_workers(workers - 1, experiment, task):
            complete = experiment.run_trials(task)
    if search == "hyperband" and max_trials is not None:
        complete = False  # with more trials, those that are there may be continued
    return _finish(out, experiment, parameters, complete)


def _described(
    search: str, space: Mapping, experiment: Experiment, members: Members | None
) -> dict[str, Any]:
    """What `search.json` says of a search."""
    planned, folds = experiment.planned, experiment.folds
    return {
        "search": search,
        "space": dict(space),
        "config": experiment.base.model_dump(mode="json"),
        "data": experiment.fingerprint(),
        "simulated": experiment.dataset.simulated,
        "versions": {name: metadata.version(name) for name in ("keras-tuner", "keras")},
        **({"population": members._asdict()} if members else {}),
        **({"planned": planned._asdict()} if planned.arch else {}),
        **({"folds": folds} if folds else {}),
    }


def _finish(
    out: Path, experiment: Experiment, parameters: tuple[Parameter, ...], complete: bool
) -> Path:
    """Write the results, and remove the checkpoints of a search that is complete."""
    with search_lock(out):
        records = TrialRecords(out)
        if complete and not records.running():
            for trial in records:
                for checkpoint in checkpoints_in(records.folder(trial)):
                    shutil.rmtree(checkpoint, ignore_errors=True)
        return _write_results(out, records, experiment, parameters)


def _refuse_wrong_options(
    search: str, workers: int, time_budget_min: float | None, folds: int | None
) -> None:
    if search not in SEARCHES:
        raise ConfigError(f"search must be one of {', '.join(SEARCHES)}, got {search!r}")
    if workers < 1:
        raise ConfigError(f"workers must be >= 1, got {workers}")
    if time_budget_min is not None and time_budget_min <= 0:
        raise ConfigError(f"time_budget must be > 0 minutes, got {time_budget_min}")
    if folds is not None and folds < 2:
        raise ConfigError(f"folds must be >= 2, got {folds}")


@contextmanager
def _further_workers(count: int, experiment: Experiment, task: Task) -> Iterator[None]:
    """Further processes that take trials of the same search; waits for them at the end."""
    context = multiprocessing.get_context("spawn")
    level = logging.getLogger("alloyk").getEffectiveLevel()
    processes = [
        context.Process(
            target=work, daemon=True,
            args=(number + 2, level, task),
        )
        for number in range(count)
    ]  # fmt: skip
    for process in processes:
        process.start()
    try:
        yield
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.kill()  # without effect on one that has ended


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
    if out.exists() and not (out / SEARCH_FILE).exists() and not is_empty(out):
        raise AlloykError(
            f"--out must be a new or empty folder, got {shown(out)} with other files; choose "
            "another"
        )
    with search_lock(out):
        refuse_another_search(out, description)
        write_description(out, description)


def _write_results(
    out: Path, records: TrialRecords, experiment: Experiment, parameters: tuple[Parameter, ...]
) -> Path:
    """Write `trials.csv` and `best.yaml`; return the latter."""
    finished = records.best_first(experiment.monitor)
    failed = records.failed()
    if not finished and not failed:
        raise NoResultError(
            f"a trial of {shown(out)} must end within the time budget, got none; give the command "
            "again to resume it",
            out,
        )
    search, name = SearchFolder(out), metric_of(experiment.monitor)
    certain = trial_certainties(
        records, finished, experiment.monitor, by_fold=experiment.folds is not None
    )
    evolved = any(GENERATION in trial.values for trial in [*finished, *failed])
    keys = {one.key: one.key for one in parameters} | (_LINE_COLUMNS if evolved else {})
    _write_trials(
        search.trials_file, [*finished, *failed], keys, experiment.monitor, name, certain,
        experiment.folds or 0,
    )  # fmt: skip
    if not finished:
        file = shown(search.trials_file)
        raise NoResultError(f"every trial of {shown(out)} failed; {file} has their errors", out)
    best, *others = finished
    tied = [trial.name for trial in others if trial.name in certain and certain[trial.name].tied]
    over = f", mean of {experiment.folds} folds" if experiment.folds else ""
    trials = counted(len(finished), "trial")
    header = f"# {experiment.monitor} {best.result:.4f}{over}, best of {trials}.\n"
    if tied:
        header += (
            f"# Statistically tied with {counted(len(tied), 'other trial')} on the validation "
            f"images ({name}): {few(tied, 10)}.\n"
        )
    if evolved:
        write_schedules(search, best, records, experiment, parameters)
        header += (
            "# The last values of a schedule; alloyk train --replay "
            f"{search.lineage_file.name} repeats it.\n"
        )
    with whole_file(search.best_file) as unfinished:
        write_config(experiment.configuration(best.values), unfinished, header)
    return search.best_file


def _write_trials(
    path: Path,
    trials: list[Trial],
    keys: Mapping[str, str],
    monitor: str,
    name: str,
    certain: Mapping[str, Certainty],
    folds: int,
) -> None:
    """One row per trial, the best first; one that failed has no value."""
    compared_columns = (name, f"{name}_low", f"{name}_high", "tied_with_best")
    of_folds = [f"{monitor}_fold_{fold}" for fold in range(1, folds + 1)]
    rows: list[Sequence[object]] = [
        ("trial", monitor, *keys.values(), *compared_columns, *of_folds, "epochs", "seconds",
         "error"),
    ]  # fmt: skip
    for trial in trials:
        values = [as_yaml(trial.values[key]) if key in trial.values else None for key in keys]
        one = certain.get(trial.name)
        compared = (
            [None] * len(compared_columns)
            if one is None
            else [one.value, *(one.interval or (None, None)), "yes" if one.tied else "no"]
        )
        own: Sequence[object] = trial.folds or [None] * folds
        rows.append((trial.name, trial.result, *values, *compared, *own, trial.epochs,
                     trial.seconds, trial.error))  # fmt: skip
    write_csv(path, rows)
