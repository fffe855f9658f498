"""Read a manifest.csv, and compare it with the files on disk."""

import csv
import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

from alloyk.data.discovery import entries, find_images, inside, is_reference
from alloyk.data.splits import SPLITS
from alloyk.errors import AlloykError
from alloyk.files import few
from alloyk.imaging import shown

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "manifest.csv"

# Read as text always: a designation such as 1050 or 0123 is a name, and so is "NA".
_TEXT_COLUMNS = ("path", "label", "split", "plate_id", "alloy")


def read_manifest(file: Path, *, labelled: bool = True) -> "pd.DataFrame":
    """Read a manifest: one row per image, `path` relative to the manifest's folder.

    Args:
        file: The CSV file.
        labelled: Whether the column `label` is required; where it is there, no cell may be empty.

    Returns:
        Every column of the file; `path`, `label`, `split`, `plate_id` and `alloy` as text.

    Raises:
        AlloykError: Not a table, columns missing, cells empty, paths twice or outside the folder.
    """
    table = _read_csv(file)
    wanted = ["path", "label"] if labelled or "label" in table.columns else ["path"]
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
    for name in ("split", "plate_id"):
        if name in table.columns and (table[name] == "").all():
            table = table.drop(columns=name)
    if "split" in table.columns:
        unknown = sorted(set(table["split"]) - set(SPLITS))
        if unknown:
            raise AlloykError(
                f"{shown(file)} has splits called {few(map(repr, unknown))}; "
                f"wanted {', '.join(SPLITS)}"
            )
    return table


def _read_csv(file: Path) -> "pd.DataFrame":
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


def check_manifest_files(
    file: Path, table: "pd.DataFrame", *, whole_folder: bool
) -> tuple[str, ...]:
    """Compare a manifest with the disk, listing each folder once.

    Args:
        file: The manifest.
        table: Its rows.
        whole_folder: Whether it should name every image of its folder; reference images
            (`flat.*`, `dark.*`, and what lies in folders of these names) belong to no class.

    Returns:
        The paths that leave the folder by a link.

    Raises:
        AlloykError: Files are missing, or images are not named.
    """
    root, listed = file.parent, set(table["path"])
    if whole_folder:
        tree = find_images(root)
        there = {*tree.images, *tree.others}
        links_out = tree.links_out
    else:
        there, links_out = _files_beside(root, listed)
    missing = sorted(path for path in listed - there if not os.path.isfile(root / path))
    if missing:
        raise AlloykError(
            f"{shown(file)} names {len(listed)} images, but {len(missing)} of them are not there "
            f"({few(missing)}); restore them, or take their rows out"
        )
    unlisted = [path for path in tree.images if path not in listed] if whole_folder else []
    unlisted = [path for path in unlisted if not is_reference(path)]
    if unlisted:
        raise AlloykError(
            f"{len(unlisted)} images in {shown(root)} are not in its {file.name} "
            f"({few(unlisted)}); add rows for them, or name {file.name} itself as the data set"
        )
    return tuple(links_out)


def _files_beside(root: Path, listed: set[str]) -> tuple[set[str], list[str]]:
    """Return what lies in the folders of the listed files, and which of it is a link to outside."""
    there, links_out, top = set(), [], os.path.realpath(root)
    for folder in sorted({path.rpartition("/")[0] for path in listed}):
        if not os.path.isdir(os.path.join(root, folder)):
            continue
        prefix = folder + "/" if folder else ""
        if not inside(os.path.realpath(os.path.join(root, folder)), top):
            links_out.append(folder)
        for entry in entries(root, prefix):
            path = prefix + entry.name
            if path not in listed or not entry.is_file():
                continue
            if entry.is_symlink() and not inside(os.path.realpath(entry.path), top):
                links_out.append(path)
            there.add(path)
    return there, links_out
