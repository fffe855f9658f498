"""Decode uploaded image files: within limits, in memory, safe formats only."""

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging import (
    Page,
    PageChoice,
    decoded_pixels,
    image_format,
    image_size,
    page_count,
    read_image,
)
from alloyk.messages import shown

FORMATS = frozenset({"png", "jpeg", "bmp", "tiff", "dicom", "npy"})
"""Accepted formats. HDF5 may refer to other files of the server; raw files need a sidecar."""

NAME_LENGTH = 200
# The mean of all pages may read this many times the limit of pixels in total.
_PAGES_FACTOR = 16


class Upload:
    """An image file that is not decoded yet.

    Args:
        data: The whole file.
        name: Its name in error messages.
        pixels: Maximum number of pixels; the header is checked before decoding.
        page: Page of a file with several, or `mean`.

    Attributes:
        size: `(height, width)`.
        pixels: Number of pixels that are in memory at once while it is decoded.

    Raises:
        DataError: Its header cannot be read, or it is of another format, or has too many pixels.
    """

    def __init__(
        self, data: bytes, name: str, *, pixels: int, page: PageChoice | None = None
    ) -> None:
        kind = image_format(data, name=name)
        if kind not in FORMATS:
            raise DataError(
                f"{shown(name)} must be a PNG, JPEG, BMP, TIFF, DICOM or .npy file, got "
                f"{kind.upper()}; convert it"
            )
        chosen: Page | None = None if page == "each" else page
        count = 1
        if chosen is None or chosen == "mean":
            count = page_count(data, name=name)
            chosen = 0 if count == 1 else chosen
        if chosen is None:
            raise DataError(
                f"{shown(name)} must have one page, got {count}; choose one with the parameter page"
            )
        self.size = image_size(data, page=chosen, name=name)
        self.pixels = decoded_pixels(data, page=chosen, name=name)
        refuse_many_pixels(name, self.size, self.pixels, pixels, pages=count)
        self._data, self._name, self._page = data, name, chosen

    def decoded(self) -> np.ndarray:
        """Return the pixels, `(height, width, 1 or 3)`.

        Raises:
            DataError: It cannot be decoded.
        """
        return read_image(self._data, page=self._page, name=self._name)


def refuse_many_pixels(
    name: str, size: tuple[int, int], decoded: int, limit: int, *, pages: int = 1
) -> None:
    """Raise DataError if an image has more pixels than the limit.

    Args:
        name: Its name in the error message.
        size: `(height, width)` of a page.
        decoded: Pixels that are in memory at once while it is decoded.
        limit: Maximum of `decoded`.
        pages: Pages that are read.
    """
    height, width = size
    if decoded > limit or height * width * pages > _PAGES_FACTOR * limit:
        together = f" and {decoded} together" if decoded > height * width else ""
        raise DataError(
            f"{shown(name)} must have at most {limit} pixels, got {height}x{width}"
            f"{f' on {pages} pages' if pages > 1 else ''}{together}; crop it, or raise "
            "--max-pixels"
        )


def safe_name(name: str | None) -> str:
    """Return a printable name for an upload; it is never used as a path.

    >>> safe_name("a.png"), safe_name("../" * 100)[:12], safe_name("")
    ('a.png', '../../../../', 'upload')
    """
    text = "".join(c for c in name or "" if c.isprintable())[:NAME_LENGTH]
    return text or "upload"
