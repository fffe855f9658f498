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
        choice: Pages to read from files with several; None leaves the rows as they are.

    Returns:
        The table, a row for each image.
    """
    if choice is None and not table["path"].str.endswith("]").any():
        return table
    split = [split_page(root / path) for path in table["path"]]

    def pages_of(path: str, page: object) -> list[str]:
        if choice is None or page is not None:
            return [path]
        try:
            return page_paths(path, page_count(root / path), choice)
        except AlloykError:
            return [path]  # reading it gives the reason

    with ThreadPool() as pool:
        pages = pool.starmap(pages_of, zip(table["path"], (page for _, page in split), strict=True))
    counts = [len(names) for names in pages]
    files = [
        str(file) for (file, _), count in zip(split, counts, strict=True) for _ in range(count)
    ]
    given = [path for path, count in zip(table["path"], counts, strict=True) for _ in range(count)]
    table = table.loc[table.index.repeat(counts)].reset_index(drop=True)
    table["path"] = [name for names in pages for name in names]
    return _with_plates(table, files, given)


def _with_plates(table: "pd.DataFrame", files: list[str], paths: list[str]) -> "pd.DataFrame":
    """Fill in missing plates of images whose file has several: the file.

    Args:
        table: A row for each image.
        files: File of each image.
        paths: Path of each image as given, before its pages were chosen.
    """
    images = Counter(files)
    several = [images[file] > 1 for file in files]
    if not any(several):
        return table
    plates = [str(split_page(path)[0]) for path in paths]
    if PLATE not in table.columns:
        table[PLATE] = plates
        return table
    table[PLATE] = [
        plate if one_of_several and not str(known).strip() else known
        for known, plate, one_of_several in zip(table[PLATE], plates, several, strict=True)
    ]
    return table
