"""Find out which images lie in a folder, and what their folders say about them.

Nothing is opened here; a folder is listed once, so that a million files take seconds.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from alloyk.data.splits import SPLITS
from alloyk.errors import AlloykError
from alloyk.files import few
from alloyk.imaging import is_image_file, is_image_name, shown

if TYPE_CHECKING:
    import pandas as pd

# Left by operating systems and file servers, some with thumbnails in them; and the simulator's
# flat and dark frames.
_FOREIGN_FOLDERS = ("__MACOSX", "__pycache__", "@eaDir", "lost+found", "_calibration")

# Images at the top of a data set that belong to no class: of the detector, and of the whole set.
_REFERENCES = ("flat", "dark", "flats", "darks", "contact_sheet")

_WANTED = "wanted DATA/<class>/… or DATA/{train,val,test}/<class>/…"


@dataclass
class Tree:
    """What lies below a folder; every path relative to it, with `/`."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links_out: list[str] = field(default_factory=list)


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
                    raise AlloykError(
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


def entries(root: Path, prefix: str) -> list[os.DirEntry]:
    """List one folder, given as a prefix (`""` or `a/b/`) below the root."""
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
    if not is_image_name(entry.name) and not _is_unnamed_image(entry):
        tree.others.append(path)
        return
    if not entry.is_file():
        what = "is a link that leads nowhere" if entry.is_symlink() else "is not a regular file"
        raise AlloykError(f"{shown(entry.path)} {what}; remove it")
    if entry.is_symlink() and not inside(os.path.realpath(entry.path), top):
        tree.links_out.append(path)
    tree.images.append(path)


def _is_unnamed_image(entry: os.DirEntry) -> bool:
    """Tell files without a suffix by their content: instruments name them `IM0001`."""
    try:
        return entry.is_file() and is_image_file(entry.path)
    except OSError:
        return False


def inside(path: str, top: str) -> bool:
    """Tell whether a resolved path is a folder or lies below it."""
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
        if len(part) <= depth and not ("/" not in path and is_reference(path))
    ]
    rows = [part for part in parts if len(part) > depth]
    if not rows:
        _refuse_nothing(root, tree, strays)
    if strays:
        raise AlloykError(
            f"{len(strays)} images in {shown(root)} lie outside every class folder "
            f"({few(strays)}); move each into its class, {_WANTED}"
        )
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
    empty = [
        folder
        for folder in tree.folders
        if folder.count("/") < depth
        and folder not in filled
        and (not splits or folder.split("/", 1)[0] in SPLITS)
    ]
    if empty:
        raise AlloykError(
            f"no image in {few(shown(root / folder) for folder in empty)}; "
            "add images, or remove the empty class folder"
        )
    columns = {"path": paths, "label": [part[depth - 1] for part in rows]}
    if splits:
        columns["split"] = [part[0] for part in rows]
    return pd.DataFrame(columns, dtype=object)


def is_reference(path: str) -> bool:
    """Tell whether an image belongs to no class: a flat or dark field, a contact sheet."""
    top, below, _ = path.partition("/")
    name = top if below else os.path.splitext(top)[0]
    return name.lower() in _REFERENCES


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
