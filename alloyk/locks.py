"""Locks on folders and files: one process writes a run, a search or a cache at a time.

The lock is the operating system's (`flock`), so it is released when its process ends, even if
killed. The lock file names the process, for the error of other processes.
"""

import contextlib
import errno
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from alloyk.errors import AlloykError
from alloyk.messages import shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"
"""Name of the lock inside a locked folder."""

POLL_S = 0.2
SIGNING_S = 1.0
"""Longest wait for the process that has just taken a lock to write its name into it."""
MOST_MISSING = 20
"""How often a folder may be gone before its lock file is opened; other processes remove it."""
# Error codes of file systems without locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)

_logger = logging.getLogger(__name__)


class InUseError(AlloykError):
    """Another process or thread holds the lock."""


class _Held(NamedTuple):
    """A lock that this process holds."""

    process: int
    thread: int
    descriptor: int


_held: dict[Path, _Held] = {}


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[Path]:
    """Hold the lock of a folder, which is created if it does not exist.

    The same thread may lock a folder again inside the block. A folder that was created here and is
    empty after the block is removed.

    Args:
        folder: The folder that is written in the block.

    Raises:
        AlloykError: Another process or thread holds the lock, or the folder cannot be written.
    """
    folder = Path(folder)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AlloykError(f"cannot write the folder {shown(folder)}: {error.strerror}") from error
    try:
        with _locked(folder / LOCK_FILE, folder, wait=False):
            yield folder
    finally:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def locked_path(path: Path, *, wait: bool = False, limit_s: float | None = None) -> Iterator[None]:
    """Hold the lock of a file or folder that the block writes completely or not at all.

    Args:
        path: The file or folder; the lock file is next to it.
        wait: Wait for the process that holds the lock, instead of raising an error.
        limit_s: Longest wait; None waits as long as that process lives.

    Raises:
        AlloykError: Another process or thread holds the lock, or the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AlloykError(f"cannot write {shown(path)}: {error.strerror}") from error
    with _locked(path.parent / f".{path.name}.lock", path, wait=wait, limit_s=limit_s):
        yield


@contextlib.contextmanager
def new_numbered_folder(parent: Path, name: str) -> Iterator[Path]:
    """Create `parent/name`, or `parent/name-2`, `-3`, … if that exists, and yield it.

    Creation is atomic, so that no two processes get the same folder. It is removed if the block
    fails and leaves it empty.

    Raises:
        AlloykError: `parent` cannot be written.
    """
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            break
        except FileExistsError:
            if not parent.is_dir():
                raise AlloykError(f"cannot write {shown(folder)}: {parent} is a file") from None
            number += 1
        except OSError as error:
            raise AlloykError(f"cannot write {shown(folder)}: {error.strerror}") from error
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


def is_empty(folder: Path) -> bool:
    """Whether a folder is empty, apart from a lock file."""
    return all(path.name == LOCK_FILE for path in folder.iterdir())


@contextlib.contextmanager
def _locked(file: Path, what: Path, *, wait: bool, limit_s: float | None = None) -> Iterator[None]:
    key = file.resolve()
    held = _held.get(key)
    me = os.getpid(), threading.get_ident()
    if held is not None and held[:2] == me:
        yield  # already locked by this thread
        return
    descriptor = _acquire(file, what, wait, limit_s)
    _held[key] = _Held(*me, descriptor)
    try:
        _sign(descriptor)
        yield
    finally:
        del _held[key]
        if _is_file_of(descriptor, file):
            with contextlib.suppress(OSError):
                file.unlink()  # before the lock goes: afterwards it may be another process's
        os.close(descriptor)


def _acquire(file: Path, what: Path, wait: bool, limit_s: float | None = None) -> int:
    """Open and lock the file; return its descriptor."""
    logged, start, missing = False, time.monotonic(), 0
    while True:
        try:
            try:
                descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:  # removed as empty by the process that made it
                missing += 1
                if missing > MOST_MISSING:  # no file can be made in it, as in /proc
                    raise
                file.parent.mkdir(parents=True, exist_ok=True)
                continue
        except OSError as error:
            raise AlloykError(f"cannot write {shown(what)}: {error.strerror}") from error
        try:
            if _try_lock(descriptor, what):
                if _is_file_of(descriptor, file):
                    return descriptor
            else:
                holder = _holder(file)
                # Without a name: it is being signed, or was released in this moment.
                limit = limit_s if wait else 0.0 if holder else SIGNING_S
                if limit is not None and time.monotonic() - start >= limit:
                    raise InUseError(_in_use(what, holder))
                if wait and not logged:
                    _logger.info("%s: waiting", _in_use(what, holder).split(";")[0])
                    logged = True
                time.sleep(POLL_S if wait else POLL_S / 10)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _try_lock(descriptor: int, what: Path) -> bool:
    """Lock an open file; False if another one has it. Without locks there is nothing to refuse."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _logger.warning(
            "the file system of %s has no locks: do not let two commands write it at once",
            shown(what),
        )
    return True


def _is_file_of(descriptor: int, file: Path) -> bool:
    """Whether the open file still has its name: it may have been removed while it was locked."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except OSError:
        return False


def _sign(descriptor: int) -> None:
    """Write the holder of the lock into its file."""
    path = Path(sys.argv[0] or "python")
    program = path.parent.name if path.stem == "__main__" else path.stem
    doing = " ".join([program, *sys.argv[1:2]])  # such as "alloyk train"
    since = datetime.now().isoformat(timespec="seconds", sep=" ")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "doing": doing, "since": since}
    with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _holder(file: Path) -> str | None:
    """Who holds a lock, from its file; None if it is not signed."""
    try:
        holder = json.loads(file.read_text(encoding="utf-8"))
        who = f"process {holder['pid']} on {holder['host']} ({holder['doing']}"
        return f"{who}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _in_use(what: Path, holder: str | None) -> str:
    """The error text for a lock that another process holds."""
    return (
        f"{shown(what)} is in use by {holder or 'another process'}; wait until it has ended, end "
        "it, or choose another folder"
    )
