"""TIFF by tifffile; by Pillow's libtiff where tifffile alone lacks the compression."""

import io
import logging
import math
from typing import BinaryIO

import numpy as np
import tifffile
from PIL import Image

from alloyk.errors import AlloykError
from alloyk.imaging.limits import (
    CUT_SHORT,
    native,
    oriented,
    oriented_size,
    refuse_bad_page,
    refuse_bad_size,
)
from alloyk.imaging.pillow import pillow_array

# tifffile logs what it finds wrong and then raises; the raised error alone is for the user.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_PLAIN = ("MINISWHITE", "MINISBLACK", "RGB", "PALETTE")


def read(file: BinaryIO, page: int | None) -> np.ndarray:
    """Return the pixels of one page as `(height, width, 1 or 3)`, as deep as stored."""
    with tifffile.TiffFile(file) as tiff:
        index, sheet = _chosen(tiff, page)
        _refuse_missing_pixels(file, sheet)
        photometric = getattr(sheet.photometric, "name", sheet.photometric)
        if photometric not in _PLAIN or not _decodable(sheet):
            return _read_by_pillow(file, index, sheet)
        array = sheet.asarray()
        if sheet.axes.startswith("S"):  # colours stored as planes
            array = np.moveaxis(array, 0, -1)
        elif not sheet.axes.endswith("S"):
            array = array[..., None]
        if photometric == "PALETTE":
            array = (np.moveaxis(sheet.colormap[:, array[..., 0]], 0, -1) >> 8).astype(np.uint8)
        else:
            array = _spread(_without_alpha(array), sheet.bitspersample)
        if photometric == "MINISWHITE":
            array = _inverted(array, sheet.bitspersample)
        return oriented(native(array), _orientation(sheet))


def size(file: BinaryIO, page: int | None) -> tuple[int, int]:
    """Return `(height, width)` of one page from the header."""
    with tifffile.TiffFile(file) as tiff:
        _, sheet = _chosen(tiff, page)
        return oriented_size(sheet.imagelength, sheet.imagewidth, _orientation(sheet))


def _chosen(tiff: tifffile.TiffFile, page: int | None) -> tuple[int, tifffile.TiffPage]:
    """Return the number and the header of the page to read; thumbnails are not pages."""
    numbers = [0]
    if len(tiff.pages) > 1:
        numbers = [i for i, sheet in enumerate(tiff.pages) if not sheet.is_reduced] or [0]
    refuse_bad_page(page, len(numbers))
    index = numbers[page or 0]
    sheet = tiff.pages[index]
    # ImageJ writes large stacks as one page with bare pixels behind it; some 3D writers use depth.
    stack = (tiff.imagej_metadata or {}).get("images", 1) if tiff.is_imagej else 1
    stack = max(stack if len(numbers) == 1 else 1, sheet.imagedepth)
    if stack > 1:
        raise AlloykError(f"one image is wanted, but it is a stack of {stack}; save each as a file")
    refuse_bad_size(sheet.imagelength, sheet.imagewidth)
    if sheet.dtype is None or sheet.dtype.kind not in "uifb":
        raise AlloykError(f"its samples ({sheet.dtype}) are not real numbers; convert it")
    return index, sheet


def _orientation(sheet: tifffile.TiffPage) -> int:
    tag = sheet.tags.get("Orientation")
    return 1 if tag is None else int(tag.value)


def _decodable(sheet: tifffile.TiffPage) -> bool:
    """Tell whether tifffile has the codec; without imagecodecs it has the plain ones."""
    try:
        tifffile.TIFF.DECOMPRESSORS[sheet.compression]
        if sheet.predictor != 1:
            tifffile.TIFF.UNPREDICTORS[sheet.predictor]
    except KeyError:
        return False
    return True


def _refuse_missing_pixels(file: BinaryIO, sheet: tifffile.TiffPage) -> None:
    """Refuse strips that are absent or behind the end: tifffile fills some of them with zeros."""
    end = file.seek(0, io.SEEK_END)
    strips = list(zip(sheet.dataoffsets, sheet.databytecounts, strict=True))
    wanted = math.prod(sheet.chunked)
    if not strips or len(strips) < wanted:
        raise ValueError(f"it has {len(strips)} strips of pixels, its header asks for {wanted}")
    if any(at <= 0 or count <= 0 or at + count > end for at, count in strips):
        raise ValueError(CUT_SHORT)


def _read_by_pillow(file: BinaryIO, index: int, sheet: tifffile.TiffPage) -> np.ndarray:
    file.seek(0)
    image = Image.open(file)
    image.seek(index)
    array = pillow_array(image)  # Pillow has applied the orientation
    if array.dtype.itemsize < sheet.dtype.itemsize:
        compression = getattr(sheet.compression, "name", sheet.compression)
        raise AlloykError(
            f"{sheet.dtype} samples in {compression} compression need the package imagecodecs; "
            "install it, or save the image uncompressed"
        )
    is_white_zero = getattr(sheet.photometric, "name", "") == "MINISWHITE"
    if is_white_zero and array.dtype != np.uint8:  # 8 bit Pillow turns itself
        array = _inverted(array, sheet.bitspersample)
    return array


def _without_alpha(array: np.ndarray) -> np.ndarray:
    samples = array.shape[-1]
    if samples > 4:
        raise AlloykError(f"gray or colour is wanted, but it has {samples} channels; convert it")
    return array[..., : {1: 1, 2: 1, 3: 3, 4: 3}[samples]]


def _spread(array: np.ndarray, bits: int) -> np.ndarray:
    """Spread samples of fewer than 8 bits over 0 … 255, as PNG readers do."""
    if bits not in (1, 2, 4):
        return array
    return array.astype(np.uint8) * np.uint8(255 // (2**bits - 1))


def _inverted(array: np.ndarray, bits: int) -> np.ndarray:
    if array.dtype.kind != "u":
        return array
    return array.dtype.type(2 ** max(bits, 8) - 1) - array
