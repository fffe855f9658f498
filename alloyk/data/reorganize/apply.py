"""Apply a split plan: by copy, into shards, by move, hard link, or a manifest alone."""

import errno
import json
import os
import shutil
from pathlib import Path

from alloyk.data import journal
from alloyk.data.dataset import RECORD
from alloyk.data.manifest import MANIFEST
from alloyk.data.names import SPLITS
from alloyk.data.reorganize.plan import SplitPlan, plan_to_json
from alloyk.data.text_table import lines_of_table
from alloyk.errors import DataError
from alloyk.files import unfinished_path
from alloyk.imaging.raw import SIDECAR, SIDECAR_FOLDERS, sidecar_layout
from alloyk.imaging.store_writing import write_store
from alloyk.messages import shown
from alloyk.progress import NO_PROGRESS, Advance, Progress

_RECIPE = "simulation.yaml"


def place(plan: SplitPlan, progress: Progress = NO_PROGRESS) -> None:
    """Apply a plan; the target gets its final name only when it is complete.

    A move is the exception, as it must not need the space twice: it keeps a journal in the target
    until it is done, and running the same plan again after an interruption finishes it.

    Args:
        plan: From `plan_split`.
        progress: Progress display, see `alloyk.progress`.
    """
    if plan.finished:
        journal.remove_leftovers(plan.target)
        return
    with progress.task(plan.mode, len(plan.table)) as advance:
        if plan.mode == "manifest":
            _write_manifest(plan)
            advance(len(plan.table))
        elif plan.mode == "move":
            _place_by_moving(plan, advance)
        else:
            _place_by_copying(plan, advance)


def _write_manifest(plan: SplitPlan) -> None:
    file = plan.target / (plan.manifest or MANIFEST)
    try:
        journal.write_synced(file, lines_of_table(plan.table))
    except OSError as error:
        raise DataError(
            f"cannot write {shown(file)}: {error.strerror}; fix it and run the same command again"
        ) from error


def _place_by_copying(plan: SplitPlan, advance: Advance) -> None:
    target = plan.target
    with unfinished_path(target) as draft:
        try:
            draft.mkdir()
            if plan.shards is None:
                _put_files(plan, draft, advance)
            else:
                names = plan.table["path"].tolist()
                write_store(draft, names, plan.source, plan.old_paths, plan.shards, advance)
            _write_extras(plan, draft)
        except OSError as error:
            what = error.filename2 or error.filename or target
            raise DataError(
                f"cannot {plan.mode} to {shown(target)}: {shown(what)}: {error.strerror}; nothing "
                "was left there; fix it and run the same command again"
            ) from error


def _put_files(plan: SplitPlan, draft: Path, advance: Advance) -> None:
    for folder in sorted({os.path.dirname(path) for path in plan.table["path"]}):
        os.makedirs(draft / folder, exist_ok=True)
    put = shutil.copy2 if plan.mode == "copy" else _link
    for old, new in zip(plan.old_paths, plan.table["path"], strict=True):
        put(plan.source / old, draft / new)
        advance(1)


def _link(old: Path, new: Path) -> None:
    try:
        os.link(os.path.realpath(old), new)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.ENOTSUP):
            raise DataError(
                f"cannot make hard links from {shown(old)} to {shown(new.parent)}: they are on "
                "different disks, or the disk has no links; use --mode copy"
            ) from error
        raise


def _write_extras(plan: SplitPlan, folder: Path) -> None:
    """Write the manifest, the recipe and the record of the split."""
    if plan.manifest:
        journal.write_synced(folder / plan.manifest, lines_of_table(plan.table))
    _write_raw_layouts(plan, folder)
    recipe = plan.source / _RECIPE
    if recipe.is_file() and not (folder / _RECIPE).exists():
        shutil.copy2(recipe, folder / _RECIPE)
    counts = plan.table["split"].value_counts()
    images = {name: int(counts.get(name, 0)) for name in SPLITS}
    journal.write_synced(folder / RECORD, json.dumps({**plan.record, "images": images}, indent=1))


def _write_raw_layouts(plan: SplitPlan, folder: Path) -> None:
    """Describe raw files in their new places as sidecars have done in the old ones."""
    pairs = zip(plan.old_paths, plan.table["path"], strict=True)
    raw = {new: sidecar_layout(plan.source / old) for old, new in pairs if _is_raw(old)}
    layouts = {new: layout.to_yaml() for new, layout in raw.items() if layout is not None}
    # One sidecar for all would describe raw files that have none as well.
    common = len(layouts) == len(raw) and len(set(layouts.values())) == 1
    if common and all(path.count("/") < SIDECAR_FOLDERS for path in layouts):
        journal.write_synced(folder / SIDECAR, next(iter(layouts.values())))
        return
    for path, text in layouts.items():
        sidecar = folder / f"{path}.yaml"
        sidecar.parent.mkdir(parents=True, exist_ok=True)
        journal.write_synced(sidecar, text)


def _is_raw(path: str) -> bool:
    return path.lower().endswith(".raw")


def _place_by_moving(plan: SplitPlan, advance: Advance) -> None:
    source, target = plan.source, plan.target
    in_place = os.path.realpath(source) == os.path.realpath(target)
    try:
        if not plan.resumed:
            target.mkdir(parents=True, exist_ok=True)
            journal.write_journal(target, plan_to_json(plan))
        if not in_place:
            journal.write_synced(source / journal.POINTER, os.path.realpath(target))
        pairs = list(zip(plan.old_paths, plan.table["path"], strict=True))
        journal.move_files(source, target, pairs, advance)
        _remove_empty_folders(source, plan.old_paths)
        _write_extras(plan, target)
        if not in_place:
            (source / journal.POINTER).unlink(missing_ok=True)
        journal.remove_journal(target)
    except OSError as error:
        raise DataError(
            f"cannot move to {shown(target)}: {shown(error.filename or target)}: {error.strerror}; "
            "nothing is lost; fix it and run the same command again"
        ) from error


def _remove_empty_folders(root: Path, old_paths: list[str]) -> None:
    """Remove the folders that the move emptied, the innermost first."""
    folders = set()
    for path in old_paths:
        while path := path.rpartition("/")[0]:
            folders.add(path)
    for folder in sorted(folders, key=lambda path: -path.count("/")):
        try:
            os.rmdir(root / folder)
        except OSError:
            continue  # it has other files, or has gone already
