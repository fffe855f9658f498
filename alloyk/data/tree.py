"""Everything below a folder: images, other files, folders and links.

Each folder is listed once and no image is decoded, so a million files take seconds.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from alloyk.errors import DataError
from alloyk.imaging import is_image_file, is_image_name
from alloyk.messages import shown

# Left by operating systems and file servers, some with thumbnails in them; and the simulator's
# flat and dark frames.
_FOREIGN_FOLDERS = ("__MACOSX", "__pycache__", "@eaDir", "lost+found", "_calibration")

# Images at the top of a data set that belong to no class: of the detector, and of the whole set.
_REFERENCES = ("flat", "dark", "flats", "darks", "contact_sheet")


@dataclass
class Tree:
    """Content of a folder; all paths relative to it, with `/`.

    Attributes:
        images: Image files.
        others: Other files.
        folders: Folders, also empty ones.
        links_out: Links that lead out of the folder.
        repeats: Images that links list again → the path of the same file, without links if it has
            one.
    """

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links_out: list[str] = field(default_factory=list)
    repeats: dict[str, str] = field(default_factory=dict)

    @property
    def of_classes(self) -> list[str]:
        """The images without `references` and `repeats`."""
        repeats = self.repeats
        return [path for path in self.images if path not in repeats and not is_reference(path)]

    @property
    def references(self) -> list[str]:
        """The images that belong to no class: flat and dark frames, and contact sheets."""
        return [path for path in self.images if is_reference(path)]


def find_images(root: Path) -> Tree:
    """List everything below a folder, sorted; hidden files and foreign folders are ignored.

    Links are followed; a link in a circle or to nothing is an error.

    Raises:
        DataError: A folder cannot be listed, a link is broken, a name is not valid Unicode.
    """
    tree = Tree()
    top = os.path.realpath(root)
    linked: dict[str, str] = {}  # folders and images reached by links, and where they are
    pending: list[tuple[str, str, tuple[str, ...]]] = [("", top, (top,))]
    while pending:
        prefix, folder, above = pending.pop()
        for entry in entries(root, prefix):
            name = entry.name
            if name.startswith(".") or name in _FOREIGN_FOLDERS:
                continue
            path = prefix + name
            if not _is_folder(entry, root):
                _file_found(tree, entry, path, top, linked)
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
            if real != os.path.join(top, path):
                linked[path] = real
            tree.folders.append(path)
            pending.append((path + "/", real, (*above, real)))
    for names in (tree.images, tree.others, tree.folders, tree.links_out):
        names.sort()
    tree.repeats = repeats_in(tree.images, linked, top)
    return tree


def repeats_in(paths: Iterable[str], linked: Mapping[str, str], top: str) -> dict[str, str]:
    """Return the paths that lead to a file of another path, and that path.

    Args:
        paths: Files, relative to the folder.
        linked: Where files and folders are that are reached by links.
        top: The folder, without links.
    """
    if not linked:
        return {}
    first: dict[str, str] = {}
    through_links = []
    for path in sorted(paths):
        folder, _, name = path.rpartition("/")
        real = linked.get(path) or os.path.join(linked.get(folder, f"{top}/{folder}"), name)
        real = os.path.normpath(real)
        if real == os.path.join(top, path):
            first[real] = path
        else:
            through_links.append((path, real))
    kept = {path: first.setdefault(real, path) for path, real in through_links}
    return {path: one for path, one in kept.items() if one != path}


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


def _file_found(
    tree: Tree, entry: os.DirEntry[str], path: str, top: str, linked: dict[str, str]
) -> None:
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
    if entry.is_symlink():
        linked[path] = os.path.realpath(entry.path)
        if not inside(linked[path], top):
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


def is_reference(path: str) -> bool:
    """Return whether an image belongs to no class: a flat or dark field, a contact sheet."""
    top, below, _ = path.partition("/")
    name = top if below else os.path.splitext(top)[0]
    return name.lower() in _REFERENCES
