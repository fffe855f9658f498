"""Files: sizes and digests, and written whole or not at all."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alloyk.csv_lines import csv_line
from alloyk.errors import AlloykError
from alloyk.locks import is_empty, locked_folder, locked_path
from alloyk.messages import shown
from alloyk.runtime.leftovers import temporary_file, temporary_folder


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal digits.

    Raises:
        AlloykError: The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AlloykError(f"cannot read {shown(path)}: {error.strerror}") from error


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file in errors of writing in the block, such as a full disk.

    Raises:
        AlloykError: An `OSError` was raised.
    """
    try:
        yield
    except OSError as error:
        raise AlloykError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that gets the final name only when the block succeeds.

    What killed processes have left of the same file is removed first.

    Raises:
        AlloykError: The file cannot be written.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix is one that image writers need.
        with temporary_file(path.parent, f".{path.stem}", path.suffix) as unfinished:
            yield unfinished
            umask = os.umask(0)
            os.umask(umask)
            unfinished.chmod(0o666 & ~umask)  # mkstemp gives 0600
            os.replace(unfinished, path)


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write the rows, the header among them, as one file, whole or not at all.

    Raises:
        AlloykError: The file cannot be written.
    """
    with (
        whole_file(path) as unfinished,
        # A file name on Linux may be any bytes; they come back as they were.
        unfinished.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        file.writelines(csv_line(row) for row in rows)


@contextmanager
def files_together(folder: Path, stale: Iterable[str] = ()) -> Iterator[Path]:
    """A temporary folder whose files go into `folder` together, only when the block succeeds.

    `folder` is locked meanwhile.

    Args:
        folder: Where the files go, below the same names; its other files stay.
        stale: Patterns of files that an earlier state of `folder` may have: those that the block
            did not write are removed.

    Raises:
        AlloykError: A file cannot be written, or another process writes `folder`.
    """
    with locked_folder(folder), _temporary_folder(folder, folder) as unfinished:
        yield unfinished
        names = [path.relative_to(unfinished) for path in unfinished.rglob("*") if path.is_file()]
        for pattern in stale:
            for path in folder.glob(pattern):
                if path.relative_to(folder) not in names:
                    path.unlink()
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(unfinished / name, folder / name)


@contextmanager
def unfinished_path(out: Path) -> Iterator[Path]:
    """A path for a new file or folder that becomes `out` only when the block succeeds.

    A link to a folder stays one: the folder that it leads to is written.

    Raises:
        AlloykError: The file or folder cannot be written, another process writes it, or has made
            it meanwhile.
    """
    out = Path(os.path.realpath(out))
    with locked_path(out), _temporary_folder(out, out.parent) as folder:
        yield folder / out.name
        if os.path.lexists(out) and not (out.is_dir() and is_empty(out)):
            raise AlloykError(f"{shown(out)} was made meanwhile; choose another name, or delete it")
        os.rename(folder / out.name, out)


@contextmanager
def _temporary_folder(out: Path, beside: Path) -> Iterator[Path]:
    """A hidden folder in `beside`, for what becomes `out`; removed after the block."""
    with writing(out):
        beside.mkdir(parents=True, exist_ok=True)
        with temporary_folder(beside, f".{out.name}") as folder:
            yield folder
