"""Temporary files and folders that killed processes have left behind.

A process holds a lock (`flock`) on what it has made, until it has finished; the system releases
the lock when the process ends, even if killed. So what nobody holds was left behind.
"""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def temporary_file(folder: Path, name: str, suffix: str = "") -> Iterator[Path]:
    """An empty file `NAME-PROCESS-…SUFFIX`; removed after the block, unless it was renamed.

    Those that killed processes have left are removed first.
    """
    _remove_left(folder, name, suffix)

    def make() -> str:
        handle, path = tempfile.mkstemp(prefix=_prefix(name), suffix=suffix, dir=folder)
        os.close(handle)
        return path

    with _made(make) as path:
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder(folder: Path, name: str) -> Iterator[Path]:
    """An empty folder `NAME-PROCESS-…`; removed after the block.

    Those that killed processes have left are removed first.
    """
    _remove_left(folder, name)
    with _made(lambda: tempfile.mkdtemp(prefix=_prefix(name), dir=folder)) as path:
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _made(make: Callable[[], str]) -> Iterator[Path]:
    """What `make` makes, held until the end of the block; again if another process removes it."""
    while True:
        path = Path(make())
        with _held(path) as ours:
            if ours:
                yield path
                return


def _prefix(name: str) -> str:
    return f"{name}-{os.getpid()}-"


def _remove_left(folder: Path, name: str, suffix: str = "") -> None:
    """Remove what killed processes have left under a name.

    Both must hold: the process that the name tells is not there, and nobody holds the lock. The
    process alone could be that of another machine or container; the lock alone is lost when a
    library replaces the file.
    """
    if fcntl is None:
        return
    made = re.compile(rf"{re.escape(name)}-(\d+)-[a-z0-9_]{{8}}{re.escape(suffix)}")
    try:
        names = os.listdir(folder)
    except OSError:  # may be written but not listed
        return
    for one in names:
        match, path = made.fullmatch(one), os.path.join(folder, one)
        if match is None or _is_alive(int(match[1])):
            continue
        with contextlib.suppress(OSError), _opened(path) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Hold the lock of a file or folder made a moment ago.

    False if another process has taken it for a leftover meanwhile.
    """
    if fcntl is None:
        yield True
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks, where nothing is ever removed either
            pass
        yield os.path.exists(path)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True
