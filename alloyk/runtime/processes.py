"""Work on a long list in several processes, where threads would wait for Python's lock."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import Any, TypeVar

from alloyk.errors import AlloykError
from alloyk.runtime.cores import available_cores

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")

START_SECONDS = 2.0
"""How long a process takes to start, roughly."""

PARENT_SECONDS = 1.0
"""How often a process looks whether its parent is still there."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_work: Callable[[Any], Any] | None = None
"""In a process: the function of `in_processes`."""


def processes_for(seconds: float) -> int:
    """Number of processes for work that takes one core this long, at most one per core.

    Each works for at least twice the time that it takes to start.
    """
    return max(min(available_cores(), int(seconds / (2 * START_SECONDS))), 1)


def in_processes(
    make: Callable[[], Callable[[Chunk], Result]], chunks: Iterable[Chunk], count: int
) -> Iterator[Result]:
    """Yield the result of each chunk in order; few chunks are taken from the list ahead.

    The processes are new ones, not copies of this one, which may run TensorFlow. A script need not
    guard its main part.

    Args:
        make: Makes the function of a chunk, once in each process. It is pickled, as are chunks and
            results.
        chunks: The work.
        count: Number of processes; with 1 the work is done in this one.

    Raises:
        AlloykError: A process was ended from outside. Errors of the function are raised as they
            are.
    """
    if count == 1:
        yield from map(make(), chunks)
        return
    from loky import ProcessPoolExecutor
    from loky.process_executor import BrokenProcessPool

    pool = ProcessPoolExecutor(
        count, initializer=_start, initargs=(make, os.getpid()), env=ONE_THREAD
    )
    try:
        yield from in_order(pool, _do, chunks, ahead=2 * count)
    except BrokenProcessPool as error:
        raise AlloykError(
            f"all {count} processes must run to the end, but one was ended, perhaps for lack of "
            "memory; free some and try again"
        ) from error
    finally:
        pool.shutdown(kill_workers=True)


def in_order(
    pool: Executor, work: Callable[[Chunk], Result], chunks: Iterable[Chunk], *, ahead: int
) -> Iterator[Result]:
    """Yield the result of each chunk in order; at most `ahead` more are under way or ready."""
    chunks = iter(chunks)
    pending: deque[Future[Result]] = deque()
    try:
        pending.extend(pool.submit(work, chunk) for chunk in islice(chunks, ahead))
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(work, chunk) for chunk in islice(chunks, 1))
    except BaseException:
        for future in pending:
            future.cancel()
        raise


def _start(make: Callable[[], Callable[[Any], Any]], parent: int) -> None:
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its processes itself
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _work = make()


def _end_with(parent: int) -> None:
    """End this process soon after its parent, which may have been killed."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def _do(chunk: Any) -> Any:
    assert _work is not None
    return _work(chunk)
