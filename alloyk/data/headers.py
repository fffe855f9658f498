"""Settings of the exposures, from the headers of the images, as columns of a data set."""

from multiprocessing.pool import ThreadPool
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from alloyk.imaging import Page, channel_files, split_page, without_page
from alloyk.imaging.header import SETTINGS, page_settings

if TYPE_CHECKING:
    import pandas as pd

# These have no header with settings, so they are not opened.
_WITHOUT = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".raw", ".npy", ".npz"}
)

SAMPLE = 32
"""Maximum number of files, evenly spaced, to open first; the others follow only if one of these
has a setting."""


def with_header_settings(root: Path, table: "pd.DataFrame") -> "pd.DataFrame":
    """Add the exposure settings of the headers; existing columns are not changed.

    Args:
        root: The folder that `path` is relative to.
        table: Column `path`, which may name pages.

    Returns:
        The table, with a column for each of `alloyk.imaging.header.SETTINGS` that a header gives;
        cells are text, empty where a header does not give it.
    """
    paths = table["path"]
    files: dict[str | Path, list[tuple[str, Page | None]]] = {}  # the images in each file
    for path in paths:
        if PurePosixPath(without_page(path)).suffix.lower() not in _WITHOUT:
            file, page = split_page(channel_files(root / path)[0])
            files.setdefault(file, []).append((path, page))
    if not files:
        return table
    found: dict[str, dict[str, str]] = {}

    def look(file: str | Path) -> None:
        images = files[file]
        settings = page_settings(file, [page for _, page in images])
        found.update(zip((path for path, _ in images), settings, strict=True))

    readable = list(files)
    sample = readable[:: -(-len(readable) // SAMPLE)]
    with ThreadPool() as pool:
        pool.map(look, sample)
        if any(found.values()):
            pool.map(look, sorted(set(readable) - set(sample), key=str))
    named = {name for settings in found.values() for name in settings}
    new = [name for name in SETTINGS if name in named and name not in table.columns]
    columns = {name: [found.get(path, {}).get(name, "") for path in paths] for name in new}
    return table.assign(**columns)
