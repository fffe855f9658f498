"""Make runs: train, cross-validate, vote."""

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.api.settings import Settings, check_choice, configuration_overrides, path_if
from alloyk.errors import ModelError, OptionError
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runtime.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from alloyk.api.run import Run
    from alloyk.config import Config
    from alloyk.runs.lineage import Lineage

logger = logging.getLogger(__name__)

RUNS = Path("saved_models")
"""Folder of the runs that are given no folder."""


def train(
    config: str | Path | None = None,
    *,
    arch: str | None = None,
    data: str | Path | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    replay: str | Path | None = None,
    quantize_from: str | Path | None = None,
    time_budget: float | None = None,
    set: Settings = (),
    progress: Progress = NO_PROGRESS,
) -> "Run":
    """Train a classifier and evaluate it on the test split, as `alloyk train` does.

    With `data` and no `config`, settings that are not given are chosen for the data set, as by
    `configure`.

    Args:
        config: YAML file of the experiment; by default one made for `data`, or the built-in one.
        arch: Architecture, such as `resnet18`.
        data: Data set: a folder or a `manifest.csv`; by default the embedded, simulated one.
        run: Folder of the run; by default `saved_models/<arch>`, numbered.
        resume: Resume the interrupted run in `run`; nothing else may be given then.
        replay: `lineage.json` of a search by Population-Based Training, whose schedule of settings
            is repeated; only `run` and `data` may be given then.
        quantize_from: A finished run to fine-tune with fake quantisation, so that its int8 export
            loses less; only `run`, `data` (where the run's data set is now) and `set` may be given
            then. The default epochs and learning rate: see `alloyk.api.fine_tuning`.
        time_budget: Minutes that the command may take, start and evaluation included.
        set: Further settings, for example `{"train.epochs": 20}`.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        The finished run. With several workers (`train.strategy`) it is that of the first one, and
        its folder may be on another machine.

    Raises:
        ConfigError: A setting is wrong, or options contradict each other.
        AlloykError: The data cannot be used, the folder holds something else, training diverged.

    Example:
        >>> import alloyk
        >>> run = alloyk.train(data="sorted/", arch="resnet18")  # doctest: +SKIP
        >>> run.metrics["accuracy"], run.predictions.table, run.report()  # doctest: +SKIP
    """
    from alloyk.api.configuration import planned_for, planned_in_time
    from alloyk.api.fine_tuning import fine_tuning_config
    from alloyk.api.run import Run
    from alloyk.config import resolve_config
    from alloyk.locks import new_numbered_folder

    started = time.monotonic()
    lineage, plan = None, None
    if resume:
        given = (config, arch, data, set, replay, quantize_from)
        if any(given) or time_budget is not None or not run:
            raise OptionError("`resume` takes `run` and nothing else; the run has its settings")
        resolved, lineage = _resumed(run)
    elif quantize_from:
        if config or arch or replay or time_budget is not None:
            raise OptionError(
                "`quantize_from` takes `run`, `data` and `set` only; the run has the other settings"
            )
        resolved = fine_tuning_config(quantize_from, configuration_overrides(set, data=data))
    elif replay:
        if config or arch or set or time_budget is not None:
            raise OptionError("`replay` takes `run` and `data` only; the lineage has the settings")
        resolved, lineage = _scheduled(Path(replay), data)
    else:
        overrides = configuration_overrides(set, arch, data, time_budget)
        plan = planned_for(config, overrides, progress)
        if plan:
            plan = planned_in_time(plan, overrides, started)
        resolved = plan.config if plan else resolve_config(path_if(config), overrides)
    load_tensorflow()
    if not run and not _chooses_folder(resolved):
        run = RUNS
    name = f"{Path(quantize_from).absolute().name}-int8" if quantize_from else resolved.model.arch
    with nullcontext(Path(run)) if run else new_numbered_folder(RUNS, name) as folder:
        return Run(
            _run_training(
                resolved, folder, resume=resume, progress=progress,
                plan=plan.to_yaml() if plan else "", lineage=lineage, started=started,
            )
        )  # fmt: skip


def _resumed(run: str | Path) -> "tuple[Config, Lineage | None]":
    """The configuration of an interrupted run, and the schedule it repeats, if any."""
    from alloyk.config import resolve_config
    from alloyk.runs.folder import RunFolder

    folder = RunFolder(run)
    if not folder.config_file.is_file():
        raise ModelError(
            f"an interrupted run is needed to resume, but {folder.config_file} was not found; give "
            "the folder of one as --run"
        )
    if folder.lineage_file.is_file():
        return _scheduled(folder.lineage_file, None)
    return resolve_config(folder.config_file), None


def _scheduled(file: Path, data: str | Path | None) -> "tuple[Config, Lineage]":
    """The schedule of settings in a `lineage.json`, and the settings that it ends with."""
    from alloyk.config import resolve_config
    from alloyk.runs.lineage import Lineage

    lineage = Lineage.read(file).on(path_if(data))
    return resolve_config(None, lineage.settings()[-1]), lineage


def _chooses_folder(config: "Config") -> bool:
    """Whether this process names the folder of a new run; of several workers, the first does."""
    from alloyk.training.strategy import cluster_of

    cluster = cluster_of(config.train)
    return cluster is None or cluster.is_chief


def _run_training(config: "Config", folder: Path, **options: Any) -> Path:
    """Train in a folder; where the training is interrupted, say whether it can be resumed."""
    from alloyk.locks import is_empty
    from alloyk.training.run import run_training

    try:
        return run_training(config, folder, **options)
    except KeyboardInterrupt:
        if folder.is_dir() and not is_empty(folder):
            logger.info("\nto resume: alloyk train --run %s --resume", folder)
        else:
            logger.info("\nthere is no checkpoint yet; nothing is kept")
        raise


def cross_validate(
    config: str | Path | None = None,
    *,
    folds: int | None = None,
    leave_out: str | None = None,
    arch: str | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    set: Settings = (),
    progress: Progress = NO_PROGRESS,
) -> "Run":
    """Train and test on grouped, stratified folds, as `alloyk cross-validate` does.

    With `data` and no `config`, settings that are not given are chosen once for all folds, as by
    `configure`, from the training images of the first.

    Args:
        config: YAML file of the experiment; by default one made for `data`, or the built-in one.
        folds: Number of folds; by default 5.
        leave_out: Column of the manifest of which each value is left out in turn, instead of
            folds.
        arch: Architecture, such as `resnet18`.
        data: Data set: a folder or a `manifest.csv`.
        out: Folder; finished folds in it are not repeated. By default `saved_models/<arch>-folds`,
            or `<arch>-without-<column>`.
        set: Further settings, for example `{"train.epochs": 20}`.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        A run whose predictions hold every image once.

    Raises:
        ConfigError: A setting is wrong, or options contradict each other.
        AlloykError: The data cannot be divided like that, or the folder holds something else.

    Example:
        >>> import alloyk
        >>> alloyk.cross_validate(data="radiographs", folds=5).metrics  # doctest: +SKIP
    """
    from alloyk.api.configuration import planned_once
    from alloyk.api.run import Run
    from alloyk.config import resolve_config
    from alloyk.data.held_out import held_out_parts
    from alloyk.runs.folder import RunFolder

    if leave_out and folds is not None:
        raise OptionError("`folds` and `leave_out` are two ways to hold images out; give one")
    overrides = configuration_overrides(set, arch, data)
    file = path_if(config)
    parts = held_out_parts(resolve_config(file, overrides).data_settings(), folds or 5, leave_out)
    planned = planned_once(
        config, overrides, progress, held_out=next(iter(parts.values())),
        recorded=RunFolder(out).planned if out else None,
    )  # fmt: skip
    resolved = resolve_config(file, overrides, planned.for_arch())
    name = f"without-{leave_out}" if leave_out else "folds"
    folder = Path(out) if out else RUNS / f"{resolved.model.arch}-{name}"

    load_tensorflow()
    from alloyk.training import cross_validation

    try:
        cross_validation.cross_validate(
            resolved, folder, folds=folds or 5, leave_out=leave_out, progress=progress,
            planned=planned,
        )  # fmt: skip
    except KeyboardInterrupt:
        if folder.exists():
            logger.info("\nto resume it, give the same command again")
        raise
    return Run(folder)


def ensemble(
    runs: Sequence[str | Path],
    *,
    vote: str,
    out: str | Path,
    weights: str = "equal",
) -> "Run":
    """Combine runs into a voted classifier and evaluate it, as `alloyk ensemble` does.

    Args:
        runs: Run folders, two or more, evaluated on the same test images.
        vote: `soft`, the mean of the probabilities, or `hard`, the count of predicted classes.
        out: Folder of the new run, absent or empty.
        weights: `equal`, or `validation` for those with the best result on the validation images.

    Returns:
        The voted run; one of a hard vote has no model.

    Raises:
        AlloykError: The runs do not fit together, a member has no model, or the folder is not
            empty.

    Example:
        >>> import alloyk
        >>> alloyk.ensemble(["cnn", "resnet18"], vote="soft", out="soft")  # doctest: +SKIP
    """
    from alloyk.api.run import Run

    if vote == "soft":
        load_tensorflow()
    from alloyk.voting.combine import VOTES, WEIGHTS, ensemble_runs

    check_choice("vote", vote, VOTES)
    check_choice("weights", weights, WEIGHTS)
    paths = [Path(run) for run in runs]
    return Run(ensemble_runs(paths, vote, Path(out), weighting=weights))
