"""Find out which images a data set has: from its folders, or from its manifest.csv.

Nothing is opened here; a folder is listed once, so that a million rows take seconds.
"""

import os
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from alloyk.errors import AlloykError
from alloyk.imaging import is_image_name, shown
from alloyk.splitting import SPLITS

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "manifest.csv"

# Read as text always: a designation such as 1050 or 0123 is a name, and so is "NA".
_TEXT_COLUMNS = ("path", "label", "split", "plate_id", "alloy")

# Left by operating systems and file servers; some of them hold thumbnails.
_FOREIGN_FOLDERS = ("__MACOSX", "__pycache__", "@eaDir", "lost+found")

# Reference images of the detector, which belong to no class.
_REFERENCE_STEMS = ("flat", "dark")

_WANTED = "wanted DATA/<class>/… or DATA/{train,val,test}/<class>/…"


@dataclass
class Tree:
    """What lies below a folder; every path relative to it, with `/`."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links_out: list[str] = field(default_factory=list)


def few(names: Iterable[str], limit: int = 3) -> str:
    """Name the first few of many for a one-line message.

    >>> few(["a.png", "b.png", "c.png", "d.png"])
    'a.png, b.png, c.png and 1 more'
    """
    names = list(names)
    text = ", ".join(shown(name) for name in names[:limit])
    return text + (f" and {len(names) - limit} more" if len(names) > limit else "")


def existing_folder(path: str | Path) -> Path:
    """Return the path of a folder that is there, or say that it is not."""
    folder = Path(path)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise AlloykError(
            f"a data set folder or a manifest.csv is wanted, but {shown(folder)} {what}; "
            "check the path"
        )
    return folder


def find_images(root: Path) -> Tree:
    """List everything below a folder, sorted; hidden files and foreign folders are passed over.

    Links are followed; one that leads in a circle or nowhere is an error.

    Raises:
        AlloykError: A folder cannot be listed, a link is broken, a name is not valid Unicode.
    """
    tree = Tree()
    top = os.path.realpath(root)
    pending = [("", top, (top,))]
    while pending:
        prefix, folder, above = pending.pop()
        for entry in _entries(root, prefix):
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
                    raise AlloykError(
                        f"the link {shown(root / path)} leads in a circle (to {shown(real)}); "
                        "remove it"
                    )
                if not _inside(real, top):
                    tree.links_out.append(path)
            tree.folders.append(path)
            pending.append((path + "/", real, (*above, real)))
    for names in (tree.images, tree.others, tree.folders, tree.links_out):
        names.sort()
    return tree


def _entries(root: Path, prefix: str) -> list[os.DirEntry]:
    folder = os.path.join(root, prefix)
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise AlloykError(
            f"cannot list the folder {shown(folder)}: {error.strerror}; "
            "check it and its permissions"
        ) from error


def _is_folder(entry: os.DirEntry, root: Path) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a link to itself
        raise AlloykError(
            f"cannot follow {shown(entry.path)}: {error.strerror}; remove the link"
        ) from error


def _file_found(tree: Tree, entry: os.DirEntry, path: str, top: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise AlloykError(
            f"the file name {path!r} is not valid UTF-8, so no table can hold it; rename it"
        ) from None
    if not is_image_name(entry.name) and not _is_unnamed_dicom(entry):
        tree.others.append(path)
        return
    if entry.is_symlink():
        if not os.path.exists(entry.path):
            raise AlloykError(f"the link {shown(entry.path)} leads nowhere; remove it")
        if not _inside(os.path.realpath(entry.path), top):
            tree.links_out.append(path)
    tree.images.append(path)


def _is_unnamed_dicom(entry: os.DirEntry) -> bool:
    """Tell DICOM files by content: instruments name them `IM0001` or `1.2.840.113619.2`."""
    suffix = os.path.splitext(entry.name)[1]
    if suffix and not suffix[1:].isdigit():
        return False
    try:
        if not entry.is_file():
            return False
        with open(entry.path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _inside(path: str, top: str) -> bool:
    return path == top or path.startswith(os.path.join(top, ""))


def list_folders(root: Path, tree: Tree) -> "pd.DataFrame":
    """Make the table of a data set whose folders are its classes, or its splits and classes.

    Returns:
        Columns `path`, `label`, and `split` where the top folders are splits.

    Raises:
        AlloykError: Nothing there, an image in the wrong place, an empty class, mixed layouts.
    """
    import pandas as pd

    tops = [folder for folder in tree.folders if "/" not in folder]
    splits = [top for top in tops if top in SPLITS]
    depth = 2 if splits else 1
    parts = [path.split("/", depth) for path in tree.images]
    strays = [
        path
        for path, part in zip(tree.images, parts, strict=True)
        if len(part) <= depth and not (len(part) == 1 and _is_reference(path))
    ]
    if len(strays) == len(tree.images) or not tree.images:
        _refuse_nothing(root, tree, strays)
    if strays:
        raise AlloykError(
            f"{len(strays)} images in {shown(root)} lie outside every class folder "
            f"({few(strays)}); move each into its class, {_WANTED}"
        )
    rows = [part for part in parts if len(part) > depth]
    paths = ["/".join(part) for part in rows]
    if splits:
        odd = sorted({part[0] for part in rows} - set(SPLITS))
        if odd:
            raise AlloykError(
                f"{shown(root)} has the folders {few(odd)} beside {', '.join(splits)}; "
                f"splits are called {', '.join(SPLITS)}: rename or remove the others"
            )
    elif all("/" in part[1] and part[1].split("/", 1)[0] in SPLITS for part in rows):
        raise AlloykError(
            f"{shown(root)} has its splits inside its classes ({paths[0]}); "
            "wanted DATA/{train,val,test}/<class>/…: swap the two levels"
        )
    filled = {"/".join(part[:level]) for part in rows for level in range(1, depth + 1)}
    empty = [f for f in tree.folders if f.count("/") < depth and f not in filled]
    if empty:
        raise AlloykError(
            f"no image in {few(shown(root / folder) for folder in empty)}; "
            "add images, or remove the empty class folder"
        )
    columns = {"path": paths, "label": [part[depth - 1] for part in rows]}
    if splits:
        columns["split"] = [part[0] for part in rows]
    return pd.DataFrame(columns, dtype=object)


def _is_reference(path: str) -> bool:
    return os.path.splitext(path)[0].lower() in _REFERENCE_STEMS


def _refuse_nothing(root: Path, tree: Tree, strays: list[str]) -> None:
    if strays and not any("/" in path for path in strays):
        raise AlloykError(
            f"{shown(root)} has {len(strays)} images but no class folders; {_WANTED}: sort them by "
            "class, or name each one's label in a manifest.csv"
        )
    if strays:
        raise AlloykError(f"{shown(root)} has splits but no class folders in them; {_WANTED}")
    others = f" (it has other files: {few(tree.others)})" if tree.others else ""
    raise AlloykError(
        f"no image in {shown(root)}{others}; {_WANTED}, as PNG, JPEG, BMP, TIFF or DICOM"
    )


def read_manifest(file: Path, *, labelled: bool = True) -> "pd.DataFrame":
    """Read a manifest: one row per image, `path` relative to the manifest's folder.

    Args:
        file: The CSV file.
        labelled: Whether the column `label` is required.

    Returns:
        Every column of the file; `path`, `label`, `split`, `plate_id` and `alloy` as text.

    Raises:
        AlloykError: Not a table, columns missing, cells empty, paths twice or outside the folder.
    """
    table = _read_csv(file)
    wanted = ["path", "label"] if labelled else ["path"]
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise AlloykError(
            f"{shown(file)} needs the columns {' and '.join(wanted)}, separated by commas; "
            f"it lacks {' and '.join(missing)} (found: {few(map(repr, table.columns), 8)})"
        )
    if not len(table):
        raise AlloykError(f"{shown(file)} names no image; add a row for each")
    for name in wanted:
        empty = table.index[table[name] == ""]
        if len(empty):
            raise AlloykError(
                f"{shown(file)} has {len(empty)} rows without a {name} "
                f"(first: line {empty[0] + 2}); fill them in"
            )
    table["path"] = _checked_paths(file, table["path"])
    if "split" in table.columns and (table["split"] == "").all():
        table = table.drop(columns="split")
    if "split" in table.columns:
        unknown = sorted(set(table["split"]) - set(SPLITS))
        if unknown:
            raise AlloykError(
                f"{shown(file)} has splits called {few(map(repr, unknown))}; "
                f"wanted {', '.join(SPLITS)}"
            )
    return table


def _read_csv(file: Path) -> "pd.DataFrame":
    import csv

    import pandas as pd

    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            header = next(csv.reader(lines), [])
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise AlloykError(f"{shown(file)} has columns twice: {few(map(repr, twice))}")
        text = [name for name in header if name in _TEXT_COLUMNS]
        table = pd.read_csv(
            file,
            encoding="utf-8-sig",
            dtype=dict.fromkeys(text, object),
            keep_default_na=False,
            na_values={name: ["", "nan", "NaN"] for name in header if name not in text},
            index_col=False,
            low_memory=False,
        )
    except FileNotFoundError:
        raise AlloykError(f"no manifest at {shown(file)}: check the path") from None
    except (OSError, ValueError, csv.Error, OverflowError) as error:
        # pandas' ParserError and EmptyDataError and Python's UnicodeDecodeError are ValueErrors.
        why = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise AlloykError(
            f"cannot read {shown(file)} as a table: {why}; wanted a CSV file in UTF-8 with a "
            "line path,label first"
        ) from error
    return table.reset_index(drop=True)


def _checked_paths(file: Path, paths: "pd.Series") -> "pd.Series":
    import pandas as pd

    outside, result = [], []
    for path in paths:
        if path.startswith(("/", "./")) or "//" in path or "/." in path or ".." in path:
            plain = posixpath.normpath(path)
            if plain.startswith("/") or plain.split("/", 1)[0] == "..":
                outside.append(path)
            path = plain
        result.append(path)
    if outside:
        raise AlloykError(
            f"{shown(file)} names {len(outside)} paths outside its folder ({few(outside)}); "
            "wanted paths relative to the manifest's own folder"
        )
    result = pd.Series(result, index=paths.index, dtype=object)
    twice = result[result.duplicated()]
    if len(twice):
        raise AlloykError(
            f"{shown(file)} names {twice.nunique()} images more than once ({few(twice.unique())}); "
            "keep one row of each"
        )
    return result


def compare_with_disk(root: Path, table: "pd.DataFrame") -> tuple[list[str], list[str], list[str]]:
    """Look for a manifest's files by listing their folders, each once.

    Returns:
        Paths that are missing, images beside the listed ones that no row names, and paths that
        lead out of the folder through a link.
    """
    names: dict[str, set[str]] = {}
    for path in table["path"]:
        folder, _, name = path.rpartition("/")
        names.setdefault(folder, set()).add(name)
    missing, unlisted, links_out = [], [], []
    top = os.path.realpath(root)
    for folder, listed in sorted(names.items()):
        prefix = folder + "/" if folder else ""
        if not os.path.isdir(os.path.join(root, folder)):
            missing += [prefix + name for name in sorted(listed)]
            continue
        if not _inside(os.path.realpath(os.path.join(root, folder)), top):
            links_out.append(folder)
        there = set()
        for entry in _entries(root, prefix):
            if entry.name in listed:
                if entry.is_symlink():
                    if not os.path.exists(entry.path):
                        continue
                    if not _inside(os.path.realpath(entry.path), top):
                        links_out.append(prefix + entry.name)
                there.add(entry.name)
            elif not entry.name.startswith(".") and is_image_name(entry.name):
                unlisted.append(prefix + entry.name)
        missing += [prefix + name for name in sorted(listed - there)]
    return missing, sorted(unlisted), links_out
