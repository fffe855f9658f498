"""Read classes and splits from the names of folders."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alloyk.data.names import SPLITS, refuse_unclear_splits, split_called, splits_among
from alloyk.data.tree import Tree, is_reference
from alloyk.errors import DataError
from alloyk.imaging.advice import how_to_convert
from alloyk.messages import counted, few, shown

if TYPE_CHECKING:
    import pandas as pd

_WANTED = "as DATA/<class>/… or DATA/{train,val,test}/<class>/…"


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


def list_folders(root: Path, tree: Tree) -> "pd.DataFrame":
    """Make the table of a data set whose folders are its classes, or its splits and classes.

    Folders called `Training`, `TEST`, `dev` and the like are splits as well.

    Returns:
        Columns `path`, `label`, and `split` where the top folders are splits.

    Raises:
        DataError: Nothing there, an image in the wrong place or in two, an empty class, mixed
            layouts.
    """
    import pandas as pd

    splits = split_folders(root, tree)
    depth = 2 if splits else 1
    refuse_repeats(root, tree, depth)
    parts = [path.split("/", depth) for path in tree.of_classes]
    strays = ["/".join(part) for part in parts if len(part) <= depth]
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


def refuse_repeats(root: Path, tree: Tree, depth: int) -> None:
    """Refuse links that give an image a second class or split, as named by the top folders."""
    twice = [
        (path, kept)
        for path, kept in tree.repeats.items()
        if not is_reference(path) and path.split("/")[:depth] != kept.split("/")[:depth]
    ]
    if twice:
        raise DataError(
            f"every image in {shown(root)} must have one class and one split, but links give "
            f"{counted(len(twice))} a second one (first: {twice[0][0]} is {twice[0][1]}); remove "
            "the links"
        )


def split_folders(root: Path, tree: Tree) -> Mapping[str, str]:
    """The top folders that are splits: name → split; empty where the top folders are classes.

    Raises:
        DataError: Splits lie beside other folders or exist twice, or under names that leave it open
            which split is meant.
    """
    tops = [top for top in tree.folders if "/" not in top and not is_reference(f"{top}/")]
    images = tree.of_classes
    filled = {path.split("/", 1)[0] for path in images if "/" in path}
    named = [top for top in tops if split_called(top)]
    others = sorted(filled.difference(named))
    refuse_unclear_splits(shown(root), [*named, *others])
    if others and not any(split_called(top) == "train" for top in named):
        # `valid` next to `invalid` is a class, unless it has subfolders.
        deep = {path.split("/", 1)[0] for path in images if path.count("/") > 1}
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


def only_class_hint(root: Path, paths: Sequence[str], given_by: str) -> str:
    """Advice where one class is left: look inside it, or at folders called `flat` or `dark`."""
    references = sorted(path.name for path in root.iterdir() if is_reference(f"{path.name}/"))
    if references and given_by == "folders":
        return f" (beside {few(references)}, which is for flat and dark frames; rename a class)"
    wrapper, inner = common_folder(paths)
    if not wrapper or len(inner) < 2:
        return ""
    return (
        f" (with the folders {few(inner)} inside; if these are the classes, name "
        f"{shown(root / wrapper)} as the data set)"
    )


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
        and not is_reference(f"{folder}/")
        and (depth == 1 or split_called(folder.split("/", 1)[0]))
    ]
    if empty:
        raise DataError(
            f"no image in {few(shown(root / folder) for folder in empty)}; "
            "add images, or remove the empty class folder"
        )


def _refuse_nothing(root: Path, tree: Tree, strays: list[str]) -> None:
    if strays and not any("/" in path for path in strays):
        raise DataError(
            f"{shown(root)} has {counted(len(strays))} but no class folders; sort them by class, "
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
