"""Files with several pages as rows of a data set: one page, their mean, or each page an image."""

from collections import Counter
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import TYPE_CHECKING

from alloyk.data.names import PLATE
from alloyk.errors import AlloykError
from alloyk.imaging import PageChoice, page_count, page_paths, split_page

if TYPE_CHECKING:
    import pandas as pd


def with_pages(root: Path, table: "pd.DataFrame", choice: PageChoice | None) -> "pd.DataFrame":
    """Replace each file by the pages to use: `FILE[0]`, `FILE[1]`, … or `FILE[mean]`.

    All pages of one file show one plate: if `plate_id` is empty, it becomes the file.

    Args:
        root: The folder that `path` is relative to.
        table: Column `path`. Rows that name a page keep it.
        choice: What to take of a file with several pages; None leaves the rows as they are.

    Returns:
        The table, a row for each image.
    """
    if choice is None and not table["path"].str.endswith("]").any():
        return table
    parts = [split_page(root / path) for path in table["path"]]

    def taken(path: str, page: object) -> list[str]:
        if choice is None or page is not None:
            return [path]
        try:
            return page_paths(path, page_count(root / path), choice)
        except AlloykError:
            return [path]  # reading it gives the reason

    with ThreadPool() as pool:
        named = pool.starmap(taken, zip(table["path"], (page for _, page in parts), strict=True))
    files = [str(file) for (file, _), names in zip(parts, named, strict=True) for _ in names]
    given = [path for path, names in zip(table["path"], named, strict=True) for _ in names]
    table = table.loc[table.index.repeat([len(names) for names in named])].reset_index(drop=True)
    table["path"] = [name for names in named for name in names]
    return _one_plate_each(table, files, given)


def _one_plate_each(table: "pd.DataFrame", files: list[str], given: list[str]) -> "pd.DataFrame":
    """Set the plate of files with several pages if it is not given."""
    images = Counter(files)
    several = [images[file] > 1 for file in files]
    if not any(several):
        return table
    names = [split_page(path)[0] for path in given]
    if PLATE not in table.columns:
        table[PLATE] = [str(name) for name in names]
        return table
    table[PLATE] = [
        str(name) if one_of_several and not str(plate).strip() else plate
        for plate, name, one_of_several in zip(table[PLATE], names, several, strict=True)
    ]
    return table
