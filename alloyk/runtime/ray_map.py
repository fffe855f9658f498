"""Apply one function to many shards of a list, in processes of a Ray cluster.

Plain actors rather than Ray Data, which cannot resume by shard, and keeps the order of rows only
by holding back what is ready. Here a shard is one call, completed entirely or not at all, and only
Ray Core is needed.

Light to import: a Ray process loads this module before its environment variables are set.
"""

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from alloyk.errors import AlloykError, ConfigError
from alloyk.runtime import kernels
from alloyk.runtime.ray_cluster import (
    POLL_S,
    START_LIMIT_S,
    installed_versions,
    other_version,
    why,
)

MAX_TRIES = 3
"""After this many failed tries of one shard, the command fails."""
PROCESSORS = 4
"""CPUs of one process: decoding and a model use several threads."""
ENVIRONMENT = ("OMP_NUM_THREADS", kernels.VARIABLE, kernels.OURS)
"""Variables that change how a process computes; Ray or its machine may set other values."""

Work = Callable[[int, Any], Any]
"""Takes the number and the content of a shard."""

_logger = logging.getLogger(__name__)


class Place(NamedTuple):
    """What a process must find on its machine.

    Attributes:
        folder: Working folder, for relative paths; None if there is none to resolve.
        folders: Folders that it must see.
        versions: Package → version.
    """

    folder: str | None
    folders: tuple[str, ...]
    versions: Mapping[str, str]

    @classmethod
    def of(cls, paths: Sequence[str], packages: Iterable[str]) -> "Place":
        """The requirements of processes that read these files with these packages.

        They must see the folders of about a thousand of the files, as far as these exist here.
        """
        relative = any(not os.path.isabs(path) for path in paths)
        some = paths[:: max(1, len(paths) // 1000)]
        folders = sorted({os.path.dirname(path) or "." for path in some})
        seen = tuple(folder for folder in folders if os.path.isdir(folder))
        return cls(os.getcwd() if relative else None, seen, installed_versions(packages))

    def missing(self) -> str | None:
        """Go to the working folder; return what is missing on this machine."""
        host = socket.gethostname()
        problem = other_version(self.versions)
        if problem is not None:
            return problem
        if self.folder is not None:
            try:
                os.chdir(self.folder)
            except OSError:
                return f"{host} must see the folder {self.folder}, but it is not there"
        for folder in self.folders:
            if not os.path.isdir(folder):
                return f"{host} must see the folder {folder}, but it is not there"
        return None


class Shard(NamedTuple):
    """A part of the work.

    Attributes:
        number: Its place in the whole.
        content: What the function takes.
        name: Its name in error messages.
    """

    number: int
    content: Any
    name: str


class _Process:
    """Runs in a process of Ray."""

    def __init__(self, environment: Mapping[str, str | None]) -> None:
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # several may share a GPU
        self._work: Work = _not_started

    def start(self, place: Place, make: Callable[[], Work]) -> str | None:
        """Make the function; return why this machine cannot, or None if it can."""
        problem = place.missing()
        if problem is not None:
            return problem
        try:
            self._work = make()
        except AlloykError as error:
            return f"{socket.gethostname()}: {error}"
        return None

    def work(self, number: int, content: Any) -> Any:
        """Return what the function gives for one shard."""
        return self._work(number, content)


def _not_started(number: int, content: Any) -> Any:
    raise RuntimeError("the process must be started first")


def map_shards(
    ray: Any,
    shards: Iterable[Shard],
    make: Callable[[], Work],
    place: Place,
    workers: int | None = None,
) -> Generator[tuple[int, Any], None, None]:
    """Apply a function to shards; yield the number and result of each as it becomes ready.

    A shard is tried again in another process if its process dies or the function raises anything
    but `AlloykError`, up to `MAX_TRIES` tries in all.

    Args:
        ray: The module, connected to a cluster.
        shards: The work; taken as processes become free.
        make: Makes the function of a shard's number and content, once in each process. It is
            pickled.
        place: What each process must find.
        workers: Number of processes; by default one per GPU, or, if the cluster has none, one per
            `PROCESSORS` CPUs.

    Raises:
        AlloykError: No process could start, a shard failed too often, or the function raised this
            error.
        ConfigError: There are fewer processors than `workers`.
    """
    crew = _WorkerPool(ray, make, place, workers)
    try:
        yield from crew.results(iter(shards))
    finally:
        crew.end()


class _WorkerPool:
    """The processes, and what each of them does."""

    def __init__(self, ray: Any, make: Any, place: Place, workers: int | None) -> None:
        self._ray, self._make, self._place = ray, ray.put(make), ray.put(place)
        workers, resources = _shares(ray, workers)
        self._remote = ray.remote(max_restarts=0, scheduling_strategy="SPREAD", **resources)(
            _Process
        )
        self._environment = {name: os.environ.get(name) for name in ENVIRONMENT}
        self._starting: dict[Any, Any] = {}
        self._working: dict[Any, tuple[Any, Shard]] = {}
        self._free: list[Any] = []
        self._waiting: deque[Shard] = deque()  # shards to try again, and the next new one
        self._tries: dict[int, int] = {}
        self._problem = (
            f"no answer within {START_LIMIT_S:g} s; check that the cluster has free CPUs"
        )
        self._idle_since = time.monotonic()
        for _ in range(workers):
            self._start()

    def results(self, shards: Iterator[Shard]) -> Iterator[tuple[int, Any]]:
        self._waiting.extend(islice(shards, 1))
        while self._waiting or self._working:
            while self._free and self._waiting:
                shard = self._waiting.popleft()
                if not self._waiting:
                    self._waiting.extend(islice(shards, 1))
                process = self._free.pop()
                self._working[process.work.remote(shard.number, shard.content)] = (process, shard)
            self._require_worker()
            done, _ = self._ray.wait([*self._starting, *self._working], timeout=POLL_S)
            for one in done:
                if one in self._starting:
                    self._started(one)
                else:
                    yield from self._answer(one)

    def end(self) -> None:
        """End all processes, also on a cluster that keeps running."""
        working = (process for process, _ in self._working.values())
        for process in (*self._free, *self._starting.values(), *working):
            self._ray.kill(process)

    def _start(self) -> None:
        process = self._remote.remote(self._environment)
        self._starting[process.start.remote(self._place, self._make)] = process

    def _started(self, reference: Any) -> None:
        process = self._starting.pop(reference)
        try:
            problem = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            problem = why(self._ray, error)
        if problem is None:
            self._free.append(process)
            return
        self._ray.kill(process)
        self._problem = problem
        _logger.warning("a worker failed to start: %s", problem)

    def _answer(self, reference: Any) -> Iterator[tuple[int, Any]]:
        """The result of a shard; nothing if it has to be done again."""
        process, shard = self._working.pop(reference)
        self._idle_since = time.monotonic()
        try:
            result = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, AlloykError):
                self._free.append(process)
                raise cause from None
            self._ray.kill(process)
            self._retry(shard, why(self._ray, error))
            return
        self._free.append(process)
        yield shard.number, result

    def _retry(self, shard: Shard, problem: str) -> None:
        tries = self._tries[shard.number] = self._tries.get(shard.number, 0) + 1
        if tries == MAX_TRIES:
            raise AlloykError(
                f"{shard.name} must succeed within {MAX_TRIES} tries, got from the last one: "
                f"{problem}; check these files, or give the workers more memory"
            )
        _logger.warning("a worker ended early: %s; retrying %s", problem, shard.name)
        self._waiting.appendleft(shard)
        self._start()

    def _require_worker(self) -> None:
        """Raise if no process is working and none is about to."""
        if self._working:
            return
        late = time.monotonic() - self._idle_since > START_LIMIT_S
        if late or not (self._starting or self._free):
            raise AlloykError(f"at least one worker must start, got none: {self._problem}")


def _shares(ray: Any, workers: int | None) -> tuple[int, dict[str, float]]:
    """The number of processes, and what each of them takes from the cluster."""
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    gpus = ray.cluster_resources().get("GPU", 0)
    if workers is None:
        workers = int(gpus) or max(1, sum(node // PROCESSORS for node in nodes))
    for processors in range(PROCESSORS, 0, -1):
        if sum(node // processors for node in nodes) >= workers:
            share = min(1.0, gpus / workers) if gpus else 0
            return workers, {"num_cpus": processors, "num_gpus": share}
    raise ConfigError(
        f"workers must be at most {sum(nodes)}, the number of processors of the cluster, got "
        f"{workers}"
    )
