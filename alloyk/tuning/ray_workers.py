"""The workers of Population-Based Training, which Ray starts, here or on the machines of a cluster.

Ray runs the workers and nothing else. Which member trains with which values is decided from the
records of the search (`alloyk.tuning.population`), not by Ray Tune's scheduler: that one acts on
results in the order in which they happen to arrive, and keeps its state in files of its own, so
that a killed search could not go on as if nothing had happened.

Light to import: Keras and Ray load only where they are used.
"""

import io
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import metadata
from typing import Any, NamedTuple

from alloyk.errors import AlloykError, ConfigError
from alloyk.runs.search_records import SEARCH_FILE
from alloyk.runtime.kernels import VARIABLE, describe_kernels
from alloyk.runtime.native_output import held_output
from alloyk.tuning.task import Task
from alloyk.tuning.worker import take_trials

POLL_S = 1.0
CONNECT_LIMIT_S = 60.0
"""Longest wait for an answer of a cluster."""
START_LIMIT_S = 180.0
"""Longest wait for a worker to start."""
OBJECT_STORE_BYTES = 80 * 2**20
"""Ray's smallest store; the workers exchange files."""
PACKAGES = ("keras", "numpy", "tensorflow")

_logger = logging.getLogger(__name__)


class Setup(NamedTuple):
    """What a worker needs besides its task.

    Attributes:
        arch: Architecture.
        image_size: `(height, width)` of the network's images.
        kernels: TensorFlow's CPU kernels of the process that started the search: all members have
            the same.
        folder: Working folder, for relative paths.
        versions: Package → version; every worker must have the same.
    """

    arch: str
    image_size: tuple[int, int]
    kernels: str
    folder: str
    versions: Mapping[str, str]


def setup_for(arch: str, image_size: tuple[int, int]) -> Setup:
    """What the workers of this process's search need."""
    return Setup(arch, image_size, describe_kernels()["kernels"], os.getcwd(), installed_versions())


def installed_versions() -> dict[str, str]:
    """Versions that decide whether two machines train alike."""
    from alloyk import __version__

    return {"alloyk": __version__, **{name: metadata.version(name) for name in PACKAGES}}


def require_ray() -> Any:
    """Import Ray, which neither reports its use nor logs.

    Raises:
        ConfigError: It is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_worker_niceness", "0")  # as the processes of other searches
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            '--search pbt needs Ray, which is not installed; run `pip install "alloyk[pbt]"`'
        ) from error
    return ray


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
        for name, version in installed_versions().items():
            if version != setup.versions[name]:
                return f"{host} must have {name} {setup.versions[name]}, got {version}"
        os.environ[VARIABLE] = "1" if setup.kernels == "oneDNN" else "0"
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # several may share a GPU
        try:
            take_trials(task, setup.arch, setup.image_size)
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
        address: `HOST:PORT` of a cluster, which has been checked; None starts Ray here and ends
            it again.
        watch: Called about once a second.

    Raises:
        AlloykError: There is no such cluster, or no worker started, or each one has ended early.
    """
    with _ray(address, workers) as ray:
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
                    _logger.warning("a worker has ended early: %s", problem)
    if len(problems) == len(actors):
        raise AlloykError(f"a worker must stay until the search ends, got: {problems[0]}")


def _answer(ray: Any, reference: Any) -> str | None:
    """What a worker has returned, or why it could not."""
    try:
        answer: str | None = ray.get(reference)
        return answer
    except ray.exceptions.RayError as error:
        return _reason(ray, error)


def _reason(ray: Any, error: Exception) -> str:
    if "No module named 'alloyk" in str(error):
        return "alloyk must be installed on each machine of the cluster"
    if isinstance(error, ray.exceptions.RayActorError):
        return "its process was ended from outside, or its machine has failed"
    return str(error).strip().splitlines()[-1]


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
            problems.append(_reason(ray, error))
            del actors[one]
    started = [actors[one] for one in done if one in actors]
    if not started:
        raise AlloykError(f"one worker or more must start, got none: {problems[-1]}")
    if problems:
        _logger.warning("%d of %d workers have started: %s", len(started), workers, problems[-1])
    return started


@contextmanager
def _ray(address: str | None, workers: int) -> Iterator[Any]:
    """Ray, connected; what was started here is ended behind the block."""
    ray = require_ray()
    if ray.is_initialized():  # by the caller of `alloyk.tune`
        yield ray
        return
    folder = None
    options: dict[str, Any] = {
        "log_to_driver": False, "configure_logging": False, "logging_level": logging.CRITICAL,
    }  # fmt: skip
    if address is not None:
        options |= {"address": address}
    else:
        folder = tempfile.mkdtemp(prefix="alloyk-ray-")
        options |= {
            "address": "local", "num_cpus": workers, "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES, "_temp_dir": folder,
        }  # fmt: skip
    try:
        with _own_signals():
            problem = _connected(ray, options)
        if problem is not None:
            raise AlloykError(f"Ray must start, got: {problem}")
        yield ray
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _connected(ray: Any, options: Mapping[str, Any]) -> str | None:
    """Connect; return why that failed."""
    silence = io.StringIO()  # of sys.stdout and sys.stderr that are no descriptor, as in a notebook
    with held_output(), redirect_stdout(silence), redirect_stderr(silence):
        try:
            ray.init(**options)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            return " ".join(str(error).split())[:300]
    return None


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what the command does when it is ended; Ray sets a handler of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def refuse_missing_cluster(address: str) -> None:
    """Raise if no cluster answers.

    Ray itself waits for minutes for one that is not there. So another process asks first, which can
    be ended.

    Raises:
        AlloykError: There is none, or the address has another form.
    """
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal()) or "/" in host:
        raise ConfigError(
            f"address must be HOST:PORT of a Ray cluster, got {address!r}; `ray start --head` "
            "prints it"
        )
    problem = None
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE, address], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=CONNECT_LIMIT_S,
        )  # fmt: skip
        if probe.returncode != 0:
            problem = (probe.stderr.strip().splitlines() or ["no answer"])[-1]
    except subprocess.TimeoutExpired:
        problem = f"no answer of Ray within {CONNECT_LIMIT_S:g} s"
    except (OSError, OverflowError) as error:
        problem = str(getattr(error, "strerror", None) or error)
    if problem is not None:
        raise AlloykError(
            f"address must be that of a running Ray cluster, got {address}: {problem}; start one "
            "by `ray start --head`"
        )


_PROBE = """
import logging, sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False,
         logging_level=logging.CRITICAL)
ray.shutdown()
"""
