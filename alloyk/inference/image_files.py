"""Image files that files, folders, patterns and manifests name."""

import glob
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from alloyk.errors import DataError
from alloyk.imaging import (
    ChannelChoice,
    channel_files,
    image_exists,
    is_image_file,
    several,
    split_page,
)
from alloyk.imaging.store import has_store, store_around, stored
from alloyk.messages import shown

STANDARD_INPUT = "-"

_logger = logging.getLogger(__name__)


def find_images(
    arguments: Iterable[str],
    ignored: Callable[[list[str]], object] = lambda names: None,
    channels: ChannelChoice | None = None,
) -> list[str]:
    """Return the image files that files, folders and patterns name, in their order.

    With `channels`, a manifest, or a folder with one, gives its samples. Any other folder gives
    every image below it, sorted; a pattern (`*`, `?`, `[…]`, `**` for any depth) those that match,
    sorted; a manifest its column `path`. `-`, for standard input, stays, and so do a page of a
    file (`FILE[2]`) and files as channels (`FILE|FILE`).

    Args:
        arguments: Files, folders, patterns, manifests and `-`.
        ignored: Called with the files of a folder, or those that a pattern matches, that are not
            images.
        channels: Which images are the channels of one sample of the model.

    Raises:
        AlloykError: One of them names no image.
    """
    found = []
    for argument in arguments:
        others: list[str] = []
        if several(channels) and has_samples(argument):
            some = _samples(argument, channels)
        elif (names := _in_shards(argument)) is not None:
            some = names
        elif os.path.isdir(argument):
            from alloyk.data import tree as data_tree

            tree = data_tree.find_images(Path(argument))
            some = [os.path.join(argument, name) for name in tree.images]
            others = [os.path.join(argument, name) for name in tree.others]
        elif has_samples(argument):
            some = _in_manifest(Path(argument))
        elif argument == STANDARD_INPUT or all(map(_is_there, channel_files(argument))):
            some = [argument]
        elif glob.has_magic(argument):
            matches = [p for p in sorted(glob.glob(argument, recursive=True)) if os.path.isfile(p)]
            some = [path for path in matches if is_image_file(path)]
            others = [path for path in matches if path not in set(some)]
        else:
            raise DataError(f"no image at {shown(argument)}: check the path")
        if not some:
            raise DataError(
                f"no image in {shown(argument)}; needs PNG, JPEG, BMP, TIFF or other images"
                + (_BRACKETS if "[" in argument and not os.path.isdir(argument) else "")
            )
        if others:
            ignored(others)
        found += some
    return found


_BRACKETS = (
    "; FILE[0] needs an existing FILE, and in a pattern [ab] is one of the characters a and b: "
    "write [[] for a bracket in a name"
)


def _is_there(name: str) -> bool:
    """Whether there is a file of this name, or one that it names a page of."""
    file, page = split_page(name)
    return image_exists(file) and (page is None or not os.path.isdir(file))


def has_samples(argument: str) -> bool:
    """Whether a file is a manifest, or a folder has one."""
    if os.path.isdir(argument):
        from alloyk.data.manifest import manifest_in

        return manifest_in(Path(argument)) is not None
    return argument.lower().endswith(".csv") and os.path.isfile(argument)


def _in_shards(argument: str) -> list[str] | None:
    """The images of a data set in shards, or of a folder in it; None for anything else."""
    if os.path.lexists(argument) and not has_store(argument):
        return None
    found = store_around(argument)
    if found is None or stored(argument):
        return None
    from alloyk.data.manifest import manifest_in

    store, prefix = found
    manifest = manifest_in(store.root)
    names = _in_manifest(manifest) if manifest else []
    top = os.path.join(store.root, prefix)
    return [os.path.join(argument, name[len(top) :]) for name in names if name.startswith(top)]


def _samples(data: str, channels: ChannelChoice | None) -> list[str]:
    """The samples of several channels that a manifest names; it needs no labels."""
    from alloyk.data.dataset import read_table

    root, table, _, _ = read_table(Path(data), labelled=False, channels=channels)
    return [os.path.join(root, path) for path in table["path"]]


def _in_manifest(file: Path) -> list[str]:
    from alloyk.data.manifest import read_manifest

    table, notes = read_manifest(file, labelled=False)
    for note in notes:
        _logger.warning("%s", note)
    return [os.path.join(file.parent, path) for path in table["path"]]
