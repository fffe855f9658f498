"""Move many files so that a kill at any moment neither loses nor duplicates one.

The whole plan is on disk, synced, before the first file moves. Each file is then at its old place
or at its new one (or, between two disks, at both and equal), so running the whole
plan again ends in the same state, however often it was interrupted.
"""

import errno
import filecmp
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from alloyk.errors import DataError
from alloyk.files import sync_folder
from alloyk.messages import shown

# Folder in the target while a move is unfinished, with the plan and the copy under way.
JOURNAL = ".alloyk-split"
# In the source folder meanwhile: names the target.
POINTER = ".alloyk-split-to"


def write_journal(target: Path, plan: dict[str, Any]) -> None:
    """Write a plan, anything that JSON can hold, into a folder in one step."""
    draft = target / f"{JOURNAL}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    write_synced(draft / "plan.json", json.dumps(plan))
    sync_folder(draft)
    os.rename(draft, target / JOURNAL)
    sync_folder(target)


def read_journal(target: Path) -> dict[str, Any] | None:
    """Return the unfinished plan in a folder, or None."""
    file = target / JOURNAL / "plan.json"
    if not file.is_file():
        return None
    try:
        plan: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return plan
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read the plan of an unfinished move, {shown(file)}: {error}; "
            f"no image is lost: each is in {shown(target)} or at its original path"
        ) from error


def remove_journal(target: Path) -> None:
    """Remove the plan in one step, once everything has moved."""
    remove_leftovers(target)
    os.rename(target / JOURNAL, target / f"{JOURNAL}.finished")
    sync_folder(target)
    remove_leftovers(target)


def remove_leftovers(target: Path) -> None:
    """Remove what is left of a finished journal."""
    shutil.rmtree(target / f"{JOURNAL}.finished", ignore_errors=True)


def refuse_unfinished(folder: Path) -> None:
    """Refuse a folder in which an `alloyk split --mode move` is unfinished."""
    for name in (JOURNAL, POINTER):
        if (folder / name).exists():
            raise DataError(
                f"{shown(folder)} has an unfinished move: `alloyk split --mode move` was "
                "interrupted; run the same command again to finish it"
            )


def move_files(
    source: Path,
    target: Path,
    pairs: list[tuple[str, str]],
    tick: Callable[[int], object] = lambda _: None,
) -> None:
    """Move files from one folder to another; what has been moved before is left alone.

    Args:
        source: Folder that the first path of each pair is relative to.
        target: Folder that the second is relative to; it holds the journal.
        pairs: Old and new path of each file.
        tick: Called with 1 after each file.

    Raises:
        DataError: A file cannot be moved, is gone from both places, or differs between them.
    """
    folders = sorted({os.path.dirname(new) for _, new in pairs})
    for folder in folders:
        os.makedirs(target / folder, exist_ok=True)
    for old, new in pairs:
        try:
            _move(source / old, target / new, target / JOURNAL / "scratch")
        except OSError as error:
            raise DataError(
                f"cannot move {shown(source / old)} to {shown(target / new)}: {error.strerror}; "
                "nothing is lost; fix the cause and run the same command again"
            ) from error
        tick(1)
    for folder in folders:
        sync_folder(target / folder)


def _move(old: Path, new: Path, scratch: Path) -> None:
    here, there = os.path.lexists(old), os.path.lexists(new)
    if there and here:
        if os.path.samefile(old, new) and os.stat(old).st_nlink < 2:
            raise DataError(
                f"{shown(old)} and {shown(new)} are the same file; pass a folder "
                "that no link leads to"
            )
        if not filecmp.cmp(old, new, shallow=False):
            raise DataError(
                f"both {shown(old)} and {shown(new)} exist, and they differ; "
                "keep one of them, then run the same command again"
            )
        os.unlink(old)
    elif here:
        _rename_or_copy(old, new, scratch)
    elif not there:
        raise DataError(
            f"{shown(old)} is missing, and is not at {shown(new)} either; put it back, then run "
            "the same command again"
        )


def _rename_or_copy(old: Path, new: Path, scratch: Path) -> None:
    try:
        os.rename(old, new)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    # To another disk: the copy is renamed once it is complete and synced.
    shutil.copy2(old, scratch)
    with open(scratch, "rb") as file:
        os.fsync(file.fileno())
    os.rename(scratch, new)
    sync_folder(new.parent)
    os.unlink(old)


def write_synced(file: Path, text: str | Iterable[str]) -> None:
    """Write a text or its parts to a file, atomically and synced."""
    draft = file.with_name(f".{file.name}.draft")
    with open(draft, "w", encoding="utf-8", newline="") as stream:
        stream.writelines([text] if isinstance(text, str) else text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(draft, file)
    sync_folder(file.parent)
