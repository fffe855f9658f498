"""Count the bit depths of image files from their headers.

The same scene at 8 and at 16 bit differs by a factor of 257 in counts. Depths that are mixed within
a data set may follow the class, and a scale that fits one depth is wrong for the other.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alloyk.errors import AlloykError
from alloyk.imaging import image_file, image_format, open_image_file, read_image
from alloyk.imaging.jpeg import header_of
from alloyk.messages import few, shown

# Enough to find a depth that one image in 300 has, in a second or two.
MAX_FILES = 1000
# Of a PNG file: its signature, then the header chunk with the bit depth.
_PNG_DEPTH = 24


@dataclass(frozen=True, order=True)
class Depth:
    """How a kind of image file keeps its counts.

    Attributes:
        format: Format, such as `png` or `tiff`.
        dtype: NumPy's name of the number type that the reader gives, such as `uint16`.
        bits: Bits of one value in the file.
    """

    format: str
    dtype: str
    bits: int

    @property
    def full_scale(self) -> float:
        """The largest count of the number type; 1 for floating point."""
        dtype = np.dtype(self.dtype)
        return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0

    def __str__(self) -> str:
        kind = " float" if np.dtype(self.dtype).kind == "f" else ""
        return f"{self.bits}-bit{kind} {self.format.upper()}"


def depth_of(path: Path) -> Depth:
    """The depth of one image file; formats other than PNG, JPEG, BMP and TIFF are decoded.

    Raises:
        AlloykError: The file cannot be read.
    """
    kind = image_format(path)
    if kind == "png":
        with open_image_file(image_file(path)) as file:
            bits = file.read(_PNG_DEPTH + 1)[_PNG_DEPTH]
        return Depth(kind, "uint16" if bits == 16 else "uint8", bits)
    if kind == "bmp":
        return Depth(kind, "uint8", 8)
    if kind == "jpeg":
        bits = _jpeg_bits(path)
        return Depth(kind, "uint8" if bits == 8 else "uint16", bits)
    dtype = _tiff_type(path) if kind == "tiff" else None
    dtype = dtype or read_image(path).dtype
    return Depth(kind, dtype.name, 8 * dtype.itemsize)


def depth_census(paths: Sequence[Path]) -> dict[Depth, int]:
    """How many files have which depth, the most frequent first; unreadable files are left out.

    Of more than 1,000 files, 1,000 at equal distances are examined.
    """
    step = max(1, -(-len(paths) // MAX_FILES))
    return dict(Counter(_depths(paths[::step])).most_common())


def depth_notes(paths: Sequence[Path]) -> list[str]:
    """Note that images differ in their largest possible count."""
    census = depth_census(paths)
    if len({depth.full_scale for depth in census}) < 2:
        return []
    examined = f" of {sum(census.values()):,} examined" if len(paths) > MAX_FILES else ""
    depths = few(f"{depth} {count:,}" for depth, count in census.items())
    return [
        f"The images have several depths ({depths}{examined}): "
        "equal counts do not mean equal exposure; save all at one depth."
    ]


def _depths(paths: Iterable[Path]) -> Iterable[Depth]:
    for path in paths:
        try:
            yield depth_of(path)
        except (AlloykError, OSError, IndexError):
            continue  # named where the image is needed


def _jpeg_bits(path: Path) -> int:
    try:
        with open_image_file(image_file(path)) as opened:
            return header_of(opened.read()).frame.depth
    except ValueError as error:
        raise AlloykError(f"cannot read {shown(path)}: {error}") from error


def _tiff_type(path: Path) -> np.dtype[Any] | None:
    import tifffile

    try:
        with open_image_file(image_file(path)) as opened, tifffile.TiffFile(opened) as file:
            found: np.dtype[Any] = file.pages[0].dtype
            # One bit is read as 0 and 255.
            return None if str(path).endswith("[mean]") or found.kind == "b" else found
    except Exception:  # whatever a damaged header makes of it; the reader says it better
        return None
