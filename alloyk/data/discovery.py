"""Find the images in a folder, and read classes and splits from the folder names.

Each folder is listed once and no image is decoded, so a million files take seconds.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from alloyk.data.names import SPLITS, refuse_unclear_splits, split_called, splits_among
from alloyk.errors import DataError
from alloyk.files import few
from alloyk.imaging import is_image_file, is_image_name, shown
from alloyk.imaging.advice import how_to_convert

if TYPE_CHECKING:
    import pandas as pd

# Left by operating systems and file servers, some with thumbnails in them; and the simulator's
# flat and dark frames.
_FOREIGN_FOLDERS = ("__MACOSX", "__pycache__", "@eaDir", "lost+found", "_calibration")

# Images at the top of a data set that belong to no class: of the detector, and of the whole set.
_REFERENCES = ("flat", "dark", "flats", "darks", "contact_sheet")

_WANTED = "as DATA/<class>/… or DATA/{train,val,test}/<class>/…"


@dataclass
class Tree:
    """Content of a folder; all paths relative to it, with `/`."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links_out: list[str] = field(default_factory=list)


def existing_folder(path: str | Path) -> Path:
    """Return the path of an existing folder, or raise."""
    folder = Path(path)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DataError(
            f"the data set must be a folder or a manifest.csv, but {shown(folder)} {what}; "
            "check the path"
        )
    return folder


def find_images(root: Path) -> Tree:
    """List everything below a folder, sorted; hidden files and foreign folders are ignored.

    Links are followed; a link in a circle or to nothing is an error.

    Raises:
        DataError: A folder cannot be listed, a link is broken, a name is not valid Unicode.
    """
    tree = Tree()
    top = os.path.realpath(root)
    pending: list[tuple[str, str, tuple[str, ...]]] = [("", top, (top,))]
    while pending:
        prefix, folder, above = pending.pop()
        for entry in entries(root, prefix):
            name = entry.name
            if name.startswith(".") or name in _FOREIGN_FOLDERS:
                continue
            path = prefix + name
            if not _is_folder(entry, root):
                _file_found(tree, entry, path, top)
                continue
            real = os.path.join(folder, name)
            if entry.is_symlink():
                real = os.path.realpath(entry.path)
                if real in above:
                    raise DataError(
                        f"the link {shown(root / path)} leads in a circle (to {shown(real)}); "
                        "remove it"
                    )
                if not inside(real, top):
                    tree.links_out.append(path)
            tree.folders.append(path)
            pending.append((path + "/", real, (*above, real)))
    for names in (tree.images, tree.others, tree.folders, tree.links_out):
        names.sort()
    return tree


def entries(root: Path, prefix: str) -> list[os.DirEntry[str]]:
    """List one folder, given as a prefix (`""` or `a/b/`) below the root."""
    folder = os.path.join(root, prefix)
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(
            f"cannot list the folder {shown(folder)}: {error.strerror}; "
            "check it and its permissions"
        ) from error


def _is_folder(entry: os.DirEntry[str], root: Path) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a link to itself
        raise DataError(
            f"cannot follow {shown(entry.path)}: {error.strerror}; remove the link"
        ) from error


def _file_found(tree: Tree, entry: os.DirEntry[str], path: str, top: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"the file name {path!r} is not valid UTF-8, so no table can hold it; rename it"
        ) from None
    if not is_image_name(entry.name) and not _is_unnamed_image(entry):
        tree.others.append(path)
        return
    if not entry.is_file():
        what = "is a link that leads nowhere" if entry.is_symlink() else "is not a regular file"
        raise DataError(f"{shown(entry.path)} {what}; remove it")
    if entry.is_symlink() and not inside(os.path.realpath(entry.path), top):
        tree.links_out.append(path)
    tree.images.append(path)


def _is_unnamed_image(entry: os.DirEntry[str]) -> bool:
    """Return the images among files without a suffix, such as `IM0001`, by their content."""
    try:
        return entry.is_file() and is_image_file(entry.path)
    except OSError:
        return False


def inside(path: str, top: str) -> bool:
    """Return whether a resolved path is a folder or below it."""
    return path == top or path.startswith(os.path.join(top, ""))


def list_folders(root: Path, tree: Tree) -> "pd.DataFrame":
    """Make the table of a data set whose folders are its classes, or its splits and classes.

    Folders called `Training`, `TEST`, `dev` and the like are splits as well.

    Returns:
        Columns `path`, `label`, and `split` where the top folders are splits.

    Raises:
        DataError: Nothing there, an image in the wrong place, an empty class, mixed layouts.
    """
    import pandas as pd

    splits = split_folders(root, tree)
    depth = 2 if splits else 1
    parts = [path.split("/", depth) for path in tree.images]
    strays = [
        path
        for path, part in zip(tree.images, parts, strict=True)
        if len(part) <= depth and not ("/" not in path and is_reference(path))
    ]
    rows = [part for part in parts if len(part) > depth]
    if not rows:
        _refuse_nothing(root, tree, strays)
    if strays:
        raise DataError(
            f"every image in {shown(root)} must be in a class folder, got {len(strays)} outside "
            f"({few(strays)}); move each into its class, {_WANTED}"
        )
    if not splits:
        _refuse_inner_splits(root, rows)
    _refuse_empty(root, tree, rows, depth)
    columns = {"path": ["/".join(part) for part in rows], "label": [p[depth - 1] for p in rows]}
    if splits:
        columns["split"] = [splits[part[0]] for part in rows]
    return pd.DataFrame(columns, dtype=object)


def split_folders(root: Path, tree: Tree) -> Mapping[str, str]:
    """The top folders that are splits: name → split; empty where the top folders are classes.

    Raises:
        DataError: Splits lie beside other folders or exist twice, or under names that leave it open
            which split is meant.
    """
    tops = [folder for folder in tree.folders if "/" not in folder and not is_reference(folder)]
    filled = {path.split("/", 1)[0] for path in tree.images if "/" in path}
    named = [top for top in tops if split_called(top)]
    others = sorted(filled.difference(named) - {top for top in filled if is_reference(top)})
    refuse_unclear_splits(shown(root), [*named, *others])
    if others and not any(split_called(top) == "train" for top in named):
        # `valid` next to `invalid` is a class, unless it has subfolders.
        deep = {path.split("/", 1)[0] for path in tree.images if path.count("/") > 1}
        named = [top for top in named if top in SPLITS or top in deep]
    if named and others:
        raise DataError(
            f"the folders of {shown(root)} must be splits ({', '.join(SPLITS)}) or classes, got "
            f"{few(others)} beside {', '.join(named)}; rename or remove the others"
        )
    return splits_among(named)


def common_folder(paths: Sequence[str]) -> tuple[str, list[str]]:
    """The innermost folder that holds all files, `""` for none, and the folders in it.

    >>> common_folder(["wrapper/train/a/0.png", "wrapper/test/a/0.png"])
    ('wrapper', ['test', 'train'])
    """
    folders = [path.split("/")[:-1] for path in paths]
    common: list[str] = []
    for level in zip(*folders, strict=False):
        if len(set(level)) > 1:
            break
        common.append(level[0])
    inner = {folder[len(common)] for folder in folders if len(folder) > len(common)}
    return "/".join(common), sorted(inner)


def _refuse_inner_splits(root: Path, rows: list[list[str]]) -> None:
    """Refuse classes that hold the splits, and a folder around the splits."""
    paths = ["/".join(part) for part in rows]
    wrapper, inner = common_folder(paths)
    outer = wrapper.split("/")
    level = next((k for k, name in enumerate(outer) if split_called(name) == "train"), 0)
    if level:  # DATA/wrapper/train alone
        wrapper, inner = "/".join(outer[:level]), outer[level : level + 1]
    if wrapper and splits_in(inner) and (len(splits_in(inner)) > 1 or "train" in splits_in(inner)):
        raise DataError(
            f"{shown(root)} must hold the split folders itself, got {few(inner)} inside "
            f"{shown(wrapper)}; name {shown(root / wrapper)} as the data set"
        )
    tops = sorted({part[0] for part in rows})
    below = {top: {p[1].split("/")[0] for p in rows if p[0] == top and "/" in p[1]} for top in tops}
    nested = [top for top in tops if len(splits_in(below[top])) > 1]
    if not nested and not all(splits_in(folders) for folders in below.values()):
        return
    nested = nested or tops
    first = next(path for path in paths if path.startswith(f"{nested[0]}/") and path.count("/") > 1)
    if len(nested) == len(tops):
        raise DataError(
            f"{shown(root)} has its splits inside its classes ({first}); swap the two levels, "
            f"{_WANTED}, or name one of the folders as the data set"
        )
    raise DataError(
        f"{shown(root)} has splits inside {few(nested)} ({first}), beside "
        f"{few(top for top in tops if top not in nested)}; name {shown(root / nested[0])} as the "
        "data set"
    )


def inner_class_notes(paths: Iterable[str]) -> list[str]:
    """Say when two or three classes hold the same folders: they may be splits of another name.

    >>> inner_class_notes(["tr/a/0.png", "tr/b/0.png", "te/a/0.png", "te/b/0.png"])[0][:60]
    'te, tr were taken as classes, but each holds the folders a, '
    """
    below: dict[str, set[str]] = {}
    for path in paths:
        top, *inner = path.split("/")[:-1]
        below.setdefault(top, set()).update(inner[:1])
    first = next(iter(below.values()), set())
    alike = all(folders == first for folders in below.values())
    if not alike or len(first) < 2 or not 2 <= len(below) <= len(SPLITS):
        return []
    return [
        f"{few(sorted(below))} were taken as classes, but each holds the folders "
        f"{few(sorted(first))}; if these are the classes, rename {few(sorted(below))} to "
        f"{', '.join(SPLITS)}."
    ]


def splits_in(folders: Iterable[str]) -> set[str]:
    """The splits given by folder names."""
    return {split for folder in folders if (split := split_called(folder))}


def _refuse_empty(root: Path, tree: Tree, rows: list[list[str]], depth: int) -> None:
    """Refuse a class or a split without any image."""
    filled = {"/".join(part[:level]) for part in rows for level in range(1, depth + 1)}
    empty = [
        folder
        for folder in tree.folders
        if folder.count("/") < depth
        and folder not in filled
        and (depth == 1 or split_called(folder.split("/", 1)[0]))
    ]
    if empty:
        raise DataError(
            f"no image in {few(shown(root / folder) for folder in empty)}; "
            "add images, or remove the empty class folder"
        )


def is_reference(path: str) -> bool:
    """Return whether an image belongs to no class: a flat or dark field, a contact sheet."""
    top, below, _ = path.partition("/")
    name = top if below else os.path.splitext(top)[0]
    return name.lower() in _REFERENCES


def _refuse_nothing(root: Path, tree: Tree, strays: list[str]) -> None:
    if strays and not any("/" in path for path in strays):
        raise DataError(
            f"{shown(root)} has {len(strays)} images but no class folders; sort them by class, "
            f"{_WANTED}, or give the label of each in a manifest.csv"
        )
    if strays:
        raise DataError(
            f"{shown(root)} has splits but no class folders in them; arrange the images {_WANTED}"
        )
    others = f" (it has other files: {few(tree.others)})" if tree.others else ""
    advice = next((found for name in tree.others if (found := how_to_convert(b"", name))), None)
    if advice:
        raise DataError(f"no image in {shown(root)}{others}; {advice}")
    raise DataError(
        f"no image in {shown(root)}{others}; arrange the images {_WANTED}, in a format that "
        "docs/images.md lists"
    )
