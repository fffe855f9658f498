"""Names of a page: `FILE[2]`, `FILE[mean]` for the mean of all pages, `FILE[channels]` for all."""

import re
from pathlib import Path
from typing import Literal

from alloyk.imaging.channels import channel_files
from alloyk.imaging.contents import image_exists

CHANNELS: Literal["channels"] = "channels"
"""Page: everything in a file, each page or sample a channel."""

Page = int | Literal["mean", "channels"]

PageChoice = int | Literal["mean", "each"]
"""Pages to read from a file with several: one, their mean, or each as an image."""

_PAGE = re.compile(r"(.+)\[(\d+|mean|channels)\]", re.DOTALL)


def split_page(path: str | Path) -> tuple[str | Path, Page | None]:
    """Split `FILE[2]` or `FILE[mean]` into file and page, unless a file has that name.

    >>> split_page("stack.tif[2]"), split_page("stack.tif[mean]"), split_page("plate.tif")
    (('stack.tif', 2), ('stack.tif', 'mean'), ('plate.tif', None))
    """
    text = str(path)
    found = _PAGE.fullmatch(text) if text.endswith("]") else None
    if found is None or image_exists(text) or len(channel_files(text)) > 1:
        return path, None
    if found[2] == CHANNELS:
        return found[1], CHANNELS
    return found[1], "mean" if found[2] == "mean" else int(found[2])


def names_channels(path: str | Path) -> bool:
    """Return whether a name stands for an image of several channels.

    >>> [names_channels(name) for name in ("a.tif", "a.tif[2]", "a.tif[channels]", "a.tif|b.tif")]
    [False, False, True, True]
    """
    files = channel_files(path)
    return len(files) > 1 or split_page(files[0])[1] == CHANNELS


def image_file(path: str | Path) -> Path:
    """Return the file that an image is in, without the page; of several channels that of the first.

    >>> image_file("stack.tif[2]").name
    'stack.tif'
    """
    return image_files(path)[0]


def image_files(path: str | Path) -> list[Path]:
    """Return the files that an image is in: one, or one for each channel.

    >>> [file.name for file in image_files("a/x_40kv.tif[2]|x_45kv.tif[2]")]
    ['x_40kv.tif', 'x_45kv.tif']
    """
    return [Path(split_page(file)[0]) for file in channel_files(path)]


def without_page(name: str) -> str:
    """Return a name without its page, without looking at the disk.

    >>> without_page("plate7_0.tif[2]")
    'plate7_0.tif'
    """
    found = _PAGE.fullmatch(name) if name.endswith("]") else None
    return found[1] if found else name


def page_paths(path: str | Path, pages: int, choice: PageChoice) -> list[str]:
    """Return the names of the pages to use of one file; the only page is the file itself.

    >>> page_paths("stack.tif", 2, "each"), page_paths("stack.tif", 2, 1)
    (['stack.tif[0]', 'stack.tif[1]'], ['stack.tif[1]'])
    >>> page_paths("plate.tif", 1, "mean")
    ['plate.tif']
    """
    if pages == 1 and choice in (0, "mean", "each"):
        return [str(path)]
    if choice == "each":
        return [f"{path}[{number}]" for number in range(pages)]
    return [f"{path}[{choice}]"]
