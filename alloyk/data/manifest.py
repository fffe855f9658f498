"""Read a manifest.csv, and compare it with the files on disk."""

import os
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from alloyk.data.names import KNOWN_COLUMNS, PLATE, SPLITS, folded, known_names, split_called
from alloyk.data.text_table import read_text_table
from alloyk.data.tree import entries, find_images, inside, repeats_in
from alloyk.errors import DataError
from alloyk.imaging import split_page, without_page
from alloyk.imaging.store import ImageStore, store_around
from alloyk.messages import counted, few, shown
from alloyk.targets.cells import is_missing

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "manifest.csv"

# A column with more values does not name splits; looking at a million cells would take long.
MAX_SPELLINGS = 10

# An absolute Windows path.
_DRIVE = re.compile(r"[A-Za-z]:/")


def manifest_in(folder: Path) -> Path | None:
    """The `manifest.csv` of a folder, in upper or lower case, or None.

    Raises:
        DataError: There are several.
    """
    exact = folder / MANIFEST
    if exact.is_file():
        return exact
    try:
        found = sorted(name for name in os.listdir(folder) if name.lower() == MANIFEST)
    except OSError:
        return None
    found = [name for name in found if (folder / name).is_file()]
    if len(found) > 1:
        raise DataError(
            f"{shown(folder)} must have one {MANIFEST}, got {few(found)}; remove the others"
        )
    return folder / found[0] if found else None


def dataset_name(data: Path) -> str:
    """Name a data set: by its folder, by the folder of its manifest.csv, or by a file's stem.

    >>> dataset_name(Path("plates/2025/manifest.csv"))
    '2025'
    """
    data = Path(os.path.abspath(data))
    if data.name.casefold() == MANIFEST:
        data = data.parent
    return data.stem if data.is_file() else data.name


def read_manifest(file: Path, *, labelled: bool = True) -> "tuple[pd.DataFrame, list[str]]":
    """Read a manifest: one row per image, `path` relative to the manifest's folder.

    Case, spaces, hyphens and underscores in the names of known columns do not matter.

    Args:
        file: The CSV file.
        labelled: Whether the column `label` is required; where it is there, no cell may be empty.

    Returns:
        The table, with cells as text, and one sentence for each name or value that was
        interpreted.

    Raises:
        DataError: Not a table, columns missing, cells empty, paths twice or outside the folder.
    """
    table, notes = _with_known_names(file, _read_columns(file))
    required = ["path", "label"] if labelled or "label" in table.columns else ["path"]
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise DataError(
            f"{shown(file)} must have the columns {' and '.join(required)}, separated by commas, "
            f"got {few(map(repr, table.columns), 8)}; add {' and '.join(missing)}"
        )
    if not len(table):
        raise DataError(f"{shown(file)} names no image; add a row for each")
    for name in required:
        empty = table.index[table[name].str.strip() == ""]
        if len(empty):
            raise DataError(
                f"{shown(file)} must have a {name} in every row, got none in "
                f"{len(empty)} (the first is image {empty[0] + 1}); fill them in"
            )
    table["path"], slashes = _with_slashes(file, table["path"])
    table["path"] = _checked_paths(file, table["path"])
    for name in ("split", PLATE):
        if name in table.columns and (table[name].str.strip() == "").all():
            table = table.drop(columns=name)
    if PLATE in table.columns:
        table[PLATE] = table[PLATE].str.strip()
    if "label" in table.columns:
        _refuse_padded_duplicates(file, table["label"])
    if "split" in table.columns:
        table["split"], spellings = _checked_splits(file, table["split"])
        notes += spellings
    return table, [*notes, *slashes, *_doubtful_notes(file, table)]


def _doubtful_notes(file: Path, table: "pd.DataFrame") -> list[str]:
    """Describe columns and cells that are probably meant as splits or as unknown plates."""
    notes = []
    if "split" not in table.columns:
        notes = [
            f"The column {name!r} of {shown(file)} names splits and is not used; rename it to "
            "split to keep them."
            for name in table.columns
            if name not in KNOWN_COLUMNS and _names_splits(table[name])
        ]
    if PLATE in table.columns:
        words = [cell for cell in table[PLATE] if cell.strip() and is_missing(cell)]
        if words:
            notes.append(
                f"{PLATE} is {words[0]!r} in {counted(len(words), 'row')} of {shown(file)}, "
                "which is taken for the name of one plate; leave the cell empty where the plate is "
                "not known."
            )
    return notes


def _names_splits(column: "pd.Series") -> bool:
    """Whether every cell names a split, and at least two are named."""
    cells = set(column)
    if len(cells) > MAX_SPELLINGS:
        return False
    named = {split_called(cell) for cell in cells}
    return None not in named and len(named) > 1


def _read_columns(file: Path) -> "pd.DataFrame":
    return read_text_table(file, lambda header: any(folded(name) == "path" for name in header))


def _with_known_names(file: Path, table: "pd.DataFrame") -> "tuple[pd.DataFrame, list[str]]":
    """Rename known columns; if a header was padded with spaces, strip its cells too."""
    renamed = known_names(shown(file), list(table.columns))
    blank = [new for old, new in renamed.items() if old != old.strip()]
    table = table.rename(columns=renamed)
    for name in blank:
        table[name] = table[name].str.strip()
    if not renamed:
        return table, []
    named = [f"{old!r} as {new}" for old, new in renamed.items()]
    return table, [f"Read the column {few(named, len(named))} in {shown(file)}."]


def _with_slashes(file: Path, paths: "pd.Series") -> "tuple[pd.Series, list[str]]":
    r"""Turn `train\a.png` into `train/a.png`, unless a file has that very name."""
    root = file.parent
    windows = [path for path in paths if "\\" in path and not os.path.lexists(root / path)]
    if not windows:
        return paths, []
    turned = {path: path.replace("\\", "/") for path in windows}
    note = f"Read the backslashes in {counted(len(windows), 'path')} of {shown(file)} as slashes."
    return paths.map(lambda path: turned.get(path, path)), [note]


def _refuse_padded_duplicates(file: Path, labels: "pd.Series") -> None:
    """Refuse labels that differ by surrounding blanks alone."""
    spellings: dict[str, list[str]] = {}
    for label in sorted(set(labels)):
        spellings.setdefault(label.strip(), []).append(label)
    twice = [names for names in spellings.values() if len(names) > 1]
    if twice:
        raise DataError(
            f"{shown(file)} must spell each label the same way, got "
            f"{' and '.join(map(repr, twice[0]))}; remove the spaces"
        )


def _checked_splits(file: Path, splits: "pd.Series") -> "tuple[pd.Series, list[str]]":
    """The split of every row as train, val or test, and a note where it is spelt otherwise."""
    names = {name: split_called(name) for name in sorted(set(splits))}
    unknown = [name for name, split in names.items() if split is None]
    if unknown:
        raise DataError(
            f"the split of every row of {shown(file)} must be {', '.join(SPLITS)}, got "
            f"{few(map(repr, unknown))}; correct them, or empty the whole column"
        )
    other = [f"{name!r} as {split}" for name, split in names.items() if name.strip() != split]
    notes = [f"Read the splits {few(other, 6)} in {shown(file)}."] if other else []
    return splits.map(names), notes


def _checked_paths(file: Path, paths: "pd.Series") -> "pd.Series":
    import pandas as pd

    outside: list[str] = []
    plain_paths: list[str] = []
    for path in paths:
        if path.startswith(("/", "./")) or "//" in path or "/." in path or ".." in path:
            plain = posixpath.normpath(path)
            if plain.startswith("/") or plain.split("/", 1)[0] == "..":
                outside.append(path)
            path = plain
        elif _DRIVE.match(path):
            outside.append(path)
        plain_paths.append(path)
    if outside:
        raise DataError(
            f"the paths of {shown(file)} must be in its folder, got {len(outside)} outside "
            f"({few(outside)}); write them relative to that folder"
        )
    result = pd.Series(plain_paths, index=paths.index, dtype=object)
    twice = result[result.duplicated()]
    if len(twice):
        raise DataError(
            f"{shown(file)} must name an image once, got {twice.nunique()} more than once "
            f"({few(twice.unique())}); keep one row of each"
        )
    return result


def check_manifest_files(
    file: Path, table: "pd.DataFrame", *, whole_folder: bool
) -> tuple[str, ...]:
    """Compare a manifest with the disk, listing each folder once.

    Args:
        file: The manifest.
        table: Its rows.
        whole_folder: Whether it should name every image of its folder; reference images
            (`flat.*`, `dark.*`, and the content of folders with these names) belong to no class.

    Returns:
        The listed paths that lead outside the folder through a link.

    Raises:
        DataError: Files are missing, or images are not named.
    """
    root = file.parent
    found = store_around(root)
    if found and (not found[1] or found[1] + table["path"].iloc[0] in found[0]):
        _check_against_store(file, table, *found, whole_folder=whole_folder)
        return ()
    listed = {_file_of(root, path) for path in table["path"]}
    if whole_folder:
        tree = find_images(root)
        there = {*tree.images, *tree.others}
        links_out, repeats = tree.links_out, tree.repeats
    else:
        there, links_out, repeats = _files_beside(root, listed)
    missing = sorted(path for path in listed - there if not os.path.isfile(root / path))
    if missing:
        names = (name if name == name.strip() else repr(name) for name in missing)
        raise DataError(
            f"every image named in {shown(file)} must be there, got none for {len(missing)} of "
            f"{len(listed)} ({few(names)}); restore them, or remove their rows"
        )
    _refuse_repeats(file, listed, repeats)
    unlisted = [path for path in tree.of_classes if path not in listed] if whole_folder else []
    if unlisted:
        raise DataError(
            f"every image in {shown(root)} must be in its {file.name}, got {len(unlisted)} without "
            f"a row ({few(unlisted)}); add rows, or pass {file.name} itself as the data set"
        )
    return tuple(links_out)


def _check_against_store(
    file: Path, table: "pd.DataFrame", store: ImageStore, prefix: str, *, whole_folder: bool
) -> None:
    """Compare a manifest with the images in shards."""
    paths = table["path"]
    if paths.str.endswith("]").any():
        paths = paths.map(lambda path: _file_of(file.parent, path)).drop_duplicates()
    names = (prefix + paths if prefix else paths).tolist()
    missing = store.missing(names)
    missing = [name for name in missing if not os.path.isfile(store.root / name)]
    if missing:
        raise DataError(
            f"every image named in {shown(file)} must be in {shown(store.folder)}, got none for "
            f"{len(missing)} of {len(names)} ({few(missing)}); restore {file.name}, or remove "
            "their rows"
        )
    if whole_folder and not prefix and len(names) < len(store):
        raise DataError(
            f"{shown(store.folder)} has {counted(len(store))}, but {shown(file)} names only "
            f"{len(names)}; restore {file.name}, or pass it as the data set"
        )


def _file_of(root: Path, path: str) -> str:
    """The file of a row, which may name a page of it."""
    named = path.endswith("]") and split_page(root / path)[1] is not None
    return without_page(path) if named else path


def _refuse_repeats(file: Path, listed: set[str], repeats: Mapping[str, str]) -> None:
    """Refuse rows that name one file by several paths."""
    rows: dict[str, list[str]] = {}
    for path in sorted(listed.intersection([*repeats, *repeats.values()])):
        rows.setdefault(repeats.get(path, path), []).append(path)
    twice = [paths for paths in rows.values() if len(paths) > 1]
    if twice:
        raise DataError(
            f"{shown(file)} must name an image once, but links give {counted(len(twice))} several "
            f"rows (first: {few(twice[0])}); keep one row of each"
        )


def _files_beside(root: Path, listed: set[str]) -> tuple[set[str], list[str], dict[str, str]]:
    """Return what exists of the listed files.

    Returns:
        The files; those that link outside `root`, or their folders; `Tree.repeats` among the
        files.
    """
    there, links_out, top = set(), [], os.path.realpath(root)
    linked: dict[str, str] = {}
    for folder in sorted({path.rpartition("/")[0] for path in listed}):
        if not os.path.isdir(os.path.join(root, folder)):
            continue
        prefix = folder + "/" if folder else ""
        real = os.path.realpath(os.path.join(root, folder))
        if real != os.path.normpath(os.path.join(top, folder)):
            linked[folder] = real
        if not inside(real, top):
            links_out.append(folder)
        for entry in entries(root, prefix):
            path = prefix + entry.name
            if path not in listed or not entry.is_file():
                continue
            if entry.is_symlink():
                linked[path] = os.path.realpath(entry.path)
                if not inside(linked[path], top):
                    links_out.append(path)
            there.add(path)
    return there, links_out, repeats_in(there, linked, top)
