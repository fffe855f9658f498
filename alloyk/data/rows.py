"""Files as the rows of a data set: one for each page to use, with the settings in its header."""

from pathlib import Path
from typing import TYPE_CHECKING

from alloyk.data.headers import with_header_settings
from alloyk.data.stacks import with_pages
from alloyk.imaging import FileSettings, PageChoice, RawLayout, describe_files

if TYPE_CHECKING:
    import pandas as pd


def image_rows(
    root: Path,
    files: "pd.DataFrame",
    *,
    page: PageChoice | None = None,
    raw: RawLayout | None = None,
    hdf5_path: str | None = None,
) -> "pd.DataFrame":
    """Make a row for each image of a table of files.

    Args:
        root: The folder that `path` is relative to.
        files: Column `path`.
        page: As in `alloyk.data.load_dataset`.
        raw: As in `alloyk.data.load_dataset`.
        hdf5_path: As in `alloyk.data.load_dataset`.

    Returns:
        As from `with_pages` and `with_header_settings`.
    """
    describe_files(root, FileSettings(raw, hdf5_path))
    return with_header_settings(root, with_pages(root, files, page))
