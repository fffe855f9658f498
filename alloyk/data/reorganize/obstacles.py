"""What keeps images from being put into new folders: refused, with advice."""

import os
from pathlib import Path

from alloyk.data import journal
from alloyk.data.tree import find_images, inside
from alloyk.errors import DataError
from alloyk.imaging import split_page
from alloyk.imaging.opening import files_beside
from alloyk.messages import counted, few, shown


def refuse_places(root: Path, target: Path, mode: str, paths: list[str]) -> None:
    """Refuse a target that cannot take the files, and files that cannot go there."""
    _refuse_target(root, target, mode)
    _refuse_pages(root, paths)
    if mode == "move":
        _refuse_links(root, paths)


def _refuse_target(root: Path, target: Path, mode: str) -> None:
    here, there = os.path.realpath(root), os.path.realpath(target)
    if here == there:
        if mode != "move":
            raise DataError(
                f"{shown(target)} is the source itself, which can be split in place only by "
                f"--mode move or --mode manifest; found {mode}"
            )
        return
    if inside(there, here):
        raise DataError(
            f"{shown(target)} lies inside {shown(root)}, whose classes are its folders; name a "
            "folder beside it, or the source itself to split it in place"
        )
    if target.exists() and not target.is_dir():
        raise DataError(f"OUT must be a new folder, got the file {shown(target)}; name another")
    # A move that was killed before its journal was whole may have left a draft of it.
    passed = (f"{journal.JOURNAL}.draft",) if mode == "move" else ()
    if target.is_dir() and set(os.listdir(target)).difference(passed):
        raise DataError(
            f"OUT must be a new or empty folder, but {shown(target)} is not empty; name another, "
            "or empty it"
        )


def _refuse_pages(root: Path, paths: list[str]) -> None:
    pages = [path for path in paths if split_page(root / path)[1] is not None]
    if pages:
        raise DataError(
            f"{counted(len(pages), 'row', 'name')} a page of a file ({few(pages)}), and only whole "
            "files can go into folders; use --mode manifest"
        )


def refuse_parts(root: Path, paths: list[str], *, in_shards: bool) -> None:
    """Refuse HDF5 files whose images are in other files, which they find from their own place.

    Args:
        root: The folder that the paths are relative to.
        paths: The files.
        in_shards: Whether they go into shards, from where no other file is found.
    """
    parts = {}
    for path in paths:
        others = [
            name for name in files_beside(root / path) if in_shards or not os.path.isabs(name)
        ]
        if others:
            parts[path] = others
    if parts:
        first, others = next(iter(parts.items()))
        raise DataError(
            f"images of {counted(len(parts), 'HDF5 file')} ({few(parts)}) are in other files "
            f"({first} takes them from {few(others)}), which would not be found from a new place; "
            "use --mode manifest, or save the images into one file"
        )


def _refuse_links(root: Path, paths: list[str]) -> None:
    top = os.path.realpath(root)
    folders = {path.rpartition("/")[0] for path in paths}
    links = sorted(
        f for f in folders if os.path.realpath(root / f) != os.path.normpath(f"{top}/{f}")
    )
    links += [path for path in paths if os.path.islink(root / path)]
    moved = set(paths)
    links += [path for path, kept in find_images(root).repeats.items() if kept in moved]
    if links:
        raise DataError(
            f"{shown(root)} has {counted(len(links), 'link')} ({few(links)}), and moving a link "
            "breaks it; use --mode copy or --mode link"
        )
