"""The workers of Population-Based Training, which Ray starts, here or on the machines of a cluster.

Ray runs the workers and nothing else. Which member trains with which values is decided from the
records of the search (`alloyk.tuning.population`), not by Ray Tune's scheduler: that one acts on
results in the order in which they happen to arrive, and keeps its state in files of its own, so
that a killed search could not be resumed exactly.

Light to import: Keras and Ray load only where they are used.
"""

import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from alloyk.errors import AlloykError
from alloyk.runs.search_records import SEARCH_FILE
from alloyk.runtime.kernels import VARIABLE, describe_kernels
from alloyk.runtime.ray_cluster import (
    POLL_S,
    START_LIMIT_S,
    installed_versions,
    other_version,
    ray_cluster,
    require_ray,
    why,
)
from alloyk.tuning.task import Task
from alloyk.tuning.worker import take_trials

PACKAGES = ("keras", "numpy", "tensorflow")

_logger = logging.getLogger(__name__)


class Setup(NamedTuple):
    """What a worker needs besides its task.

    Attributes:
        kernels: TensorFlow's CPU kernels of the process that started the search: all members have
            the same.
        folder: Working folder, for relative paths.
        versions: Package → version; every worker must have the same.
    """

    kernels: str
    folder: str
    versions: Mapping[str, str]


def current_setup() -> Setup:
    """What the workers of this process's search need."""
    return Setup(describe_kernels()["kernels"], os.getcwd(), installed_versions(PACKAGES))


def pbt_ray() -> Any:
    """Import Ray for a search.

    Raises:
        ConfigError: It is not installed.
    """
    return require_ray("--search pbt", "pbt")


class Worker:
    """Takes trials in a process of Ray."""

    def start(self) -> str:
        """The machine's name, once the process is there."""
        return socket.gethostname()

    def work(self, task: Task, setup: Setup) -> str | None:
        """Take trials until none is left; return what kept it from that."""
        host = socket.gethostname()
        try:
            os.chdir(setup.folder)
        except OSError:
            return f"{host} must see the folder {setup.folder}, but it is not there"
        if not (task.out / SEARCH_FILE).is_file():
            return f"{host} must see the folder of the search, but {task.out} is not there"
        problem = other_version(setup.versions)
        if problem is not None:
            return problem
        os.environ[VARIABLE] = "1" if setup.kernels == "oneDNN" else "0"
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # several may share a GPU
        try:
            take_trials(task)
        except AlloykError as error:
            return f"{host}: {error}"
        return None


def run_on_ray(
    task: Task,
    setup: Setup,
    workers: int,
    address: str | None,
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Let workers take the trials of a search; returns when they have ended.

    Args:
        task: The search.
        setup: What they need.
        workers: Their number.
        address: `HOST:PORT` of a cluster, which has been checked; None or `local` starts Ray here
            and ends it again.
        watch: Called about once a second.

    Raises:
        AlloykError: There is no such cluster, or no worker started, or each one has ended early.
    """
    ray = pbt_ray()
    with ray_cluster(ray, address, workers):
        actors = _started(ray, workers)
        pending = [actor.work.remote(task, setup) for actor in actors]
        problems = []
        while pending:
            done, pending = ray.wait(pending, timeout=POLL_S)
            watch()
            for one in done:
                problem = _answer(ray, one)
                if problem is not None:
                    problems.append(problem)
                    _logger.warning("a worker ended early: %s", problem)
    if len(problems) == len(actors):
        raise AlloykError(f"a worker must stay until the search ends, got: {problems[0]}")


def _answer(ray: Any, reference: Any) -> str | None:
    """What a worker has returned, or why it could not."""
    try:
        answer: str | None = ray.get(reference)
        return answer
    except ray.exceptions.RayError as error:
        return why(ray, error)


def _started(ray: Any, workers: int) -> list[Any]:
    """The workers that have started in time."""
    gpus = ray.cluster_resources().get("GPU", 0)
    share = min(1.0, gpus / workers) if gpus else 0
    remote = ray.remote(num_cpus=1, num_gpus=share, max_restarts=0)(Worker)
    actors = {}
    for _ in range(workers):
        actor = remote.remote()
        actors[actor.start.remote()] = actor
    done, missing = ray.wait(list(actors), num_returns=workers, timeout=START_LIMIT_S)
    problems = [f"no free processor within {START_LIMIT_S:g} s"] * len(missing)
    for one in missing:
        ray.kill(actors[one])
    for one in done:
        try:
            ray.get(one)
        except ray.exceptions.RayError as error:
            problems.append(why(ray, error))
            del actors[one]
    started = [actors[one] for one in done if one in actors]
    if not started:
        raise AlloykError(f"at least one worker must start, got none: {problems[-1]}")
    if problems:
        _logger.warning("%d of %d workers have started: %s", len(started), workers, problems[-1])
    return started
