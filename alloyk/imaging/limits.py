"""Checks and conversions for all formats: limits, orientation, byte order."""

import numpy as np
from PIL import Image

from alloyk.errors import DataError
from alloyk.messages import counted

CUT_SHORT = "the file is cut short"

# Operations for the orientations of EXIF and TIFF: transpose, reverse rows, reverse columns.
_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def refuse_bad_size(height: int, width: int) -> None:
    """Raise if an image has no pixels, or more than Pillow's limit."""
    if height < 1 or width < 1:
        raise DataError(f"it has no pixels (height {height}, width {width}); remove it")
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and height * width > 2 * limit:
        raise DataError(
            f"its header gives {height} × {width} pixels, more than the limit of {2 * limit} "
            "that guards against decompression bombs; cut it into smaller images"
        )


def refuse_bad_page(page: int | None, pages: int) -> None:
    """Raise if there are several pages and none is chosen, or if the page does not exist."""
    if page is None and pages > 1:
        raise DataError(
            f"it must have one page, got {pages}; choose with --page (data.page), or name one as "
            "FILE[0], their mean as FILE[mean]"
        )
    if page is not None and not 0 <= page < pages:
        if pages == 1:
            raise DataError(f"the page must be 0, the only one, got {page}; omit it")
        raise DataError(f"the page must be 0 to {pages - 1}, got {page}; choose another")


def unusable_values(image: np.ndarray) -> str:
    """Return what is wrong with the values of an image, which must fit into float32; or `""`."""
    if image.dtype.kind != "f" or not image.size:
        return ""
    bad = image.size - int(np.isfinite(image).sum())
    if bad:
        return f"{counted(bad, 'value', 'are')} NaN or infinite; repair or remove it"
    limit = np.finfo(np.float32).max
    if image.dtype.itemsize > 4 and max(image.max(), -image.min()) > limit:
        large = int((np.abs(image) > limit).sum())
        beyond = counted(large, "value", "are")
        return f"{beyond} beyond ±{limit:.2g}, the range of float32; rescale it"
    return ""


def oriented(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an array `(height, width, …)` according to its EXIF or TIFF orientation (1 … 8)."""
    if orientation not in _TURNS:
        return image
    transpose, rows, columns = _TURNS[orientation]
    if transpose:
        image = image.swapaxes(0, 1)
    return np.ascontiguousarray(image[:: -1 if rows else 1, :: -1 if columns else 1])


def oriented_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Return `(height, width)` after `oriented`."""
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


def native(image: np.ndarray) -> np.ndarray:
    """Return the same values in the machine's byte order."""
    return image.astype(image.dtype.newbyteorder("="), copy=False)
