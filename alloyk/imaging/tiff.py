"""TIFF by tifffile and imagecodecs."""

import logging
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from alloyk.errors import DataError
from alloyk.imaging.limits import (
    CUT_SHORT,
    native,
    oriented,
    oriented_size,
)
from alloyk.imaging.tiff_pages import (
    Frame,
    all_frames,
    chosen,
    decoded_sizes,
    page_numbers,
    planes_of,
)
from alloyk.imaging.tiff_strips import refuse_missing_pixels

# tifffile logs problems before it raises; the user needs only the error.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

# Tags without which pixels are misread (TIFF 6.0): size, bits, compression, colour, strips, samples
# per pixel, planes, predictor, colour map, tiles, extra samples, sample format.
_ESSENTIAL = {
    256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338,
    339,
}  # fmt: skip

# Make, Model, DateTime, ExposureTime, the Exif directory.
_EXPOSURE = (271, 272, 306, 33434, 34665)

_MAX_CHANNELS = 4  # RGB and alpha, or CMYK

_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2


def read(file: BinaryIO, page: int | None) -> np.ndarray:
    """Return the pixels of one page as `(height, width, 1 or 3)`, at their stored depth."""
    with tifffile.TiffFile(file) as tiff:
        return _pixels(file, tiff, chosen(tiff, page))


def read_all(file: BinaryIO) -> Iterator[np.ndarray]:
    """Yield the pixels of each page, as `read` does."""
    with tifffile.TiffFile(file) as tiff:
        for frame in all_frames(tiff):
            yield _pixels(file, tiff, frame)


def _pixels(file: BinaryIO, tiff: tifffile.TiffFile, frame: Frame) -> np.ndarray:
    sheet = frame.page
    _refuse_damaged_tags(tiff, sheet)
    _refuse_missing_decoder(sheet)
    refuse_missing_pixels(file, sheet)
    _refuse_many_channels(sheet)
    samples = _samples(file, frame)
    return oriented(native(_gray_or_rgb(samples, sheet)), _orientation(sheet))


def read_samples(file: BinaryIO) -> np.ndarray:
    """Return the samples of the only page as they are stored, `(height, width, samples)`."""
    with tifffile.TiffFile(file) as tiff:
        frame = chosen(tiff, 0)
        sheet = frame.page
        _refuse_damaged_tags(tiff, sheet)
        _refuse_missing_decoder(sheet)
        refuse_missing_pixels(file, sheet)
        photometric = getattr(sheet.photometric, "name", str(sheet.photometric))
        if photometric not in ("MINISBLACK", "RGB"):
            raise DataError(
                f"its channels must be stored with black as zero, got {photometric}; convert it"
            )
        return oriented(native(_samples(file, frame)), _orientation(sheet))


def size(file: BinaryIO, page: int | None) -> tuple[int, int]:
    """Return `(height, width)` of one page from the header."""
    with tifffile.TiffFile(file) as tiff:
        sheet = chosen(tiff, page).page
        return oriented_size(sheet.imagelength, sheet.imagewidth, _orientation(sheet))


def decoded_pixels(file: BinaryIO, page: int | None) -> int:
    """Return how many pixels are decoded to read one page: every plane, and whole tiles."""
    with tifffile.TiffFile(file) as tiff:
        return max(height * width for height, width in decoded_sizes(chosen(tiff, page).page))


def pages(file: BinaryIO) -> int:
    """Return the number of images in the file; without thumbnails and masks."""
    with tifffile.TiffFile(file) as tiff:
        numbers = page_numbers(tiff)
        return len(numbers) if len(numbers) > 1 else planes_of(tiff, tiff.pages[numbers[0]])


def tags_of_pages(file: BinaryIO) -> list[dict[str, Any]]:
    """Return the tags about the exposure of each page, by tifffile's names."""
    with tifffile.TiffFile(file) as tiff:
        sheets = [tiff.pages[number] for number in page_numbers(tiff)]
        return [
            {tag.name: tag.value for tag in map(sheet.tags.get, _EXPOSURE) if tag is not None}
            for sheet in sheets
        ]


def _orientation(sheet: tifffile.TiffPage) -> int:
    tag = sheet.tags.get("Orientation")
    return 1 if tag is None else int(tag.value)


def _refuse_damaged_tags(tiff: tifffile.TiffFile, sheet: tifffile.TiffPage) -> None:
    """Raise if tifffile could not read an essential tag of the page.

    tifffile replaces such a tag by its default; a file truncated within the values of a tag would
    be read with another colour, depth or byte order.
    """
    layout = tiff.tiff
    tiff.filehandle.seek(sheet.offset)
    (count,) = struct.unpack(layout.tagnoformat, tiff.filehandle.read(layout.tagnosize))
    entries = tiff.filehandle.read(count * layout.tagsize)
    if len(entries) < count * layout.tagsize:
        raise ValueError(CUT_SHORT)
    for start in range(0, len(entries), layout.tagsize):
        (code,) = struct.unpack_from(layout.byteorder + "H", entries, start)
        if code in _ESSENTIAL and code not in sheet.tags:
            name = tifffile.TIFF.TAGS.get(code, str(code))
            raise ValueError(f"{CUT_SHORT} or damaged: its tag {name} cannot be read")


def _refuse_missing_decoder(sheet: tifffile.TiffPage) -> None:
    compression = getattr(sheet.compression, "name", sheet.compression)
    try:
        tifffile.TIFF.DECOMPRESSORS[sheet.compression]
        if sheet.predictor != 1:
            tifffile.TIFF.UNPREDICTORS[sheet.predictor]
    except KeyError:
        raise DataError(
            f"its compression ({compression}, predictor {int(sheet.predictor)}) has no decoder "
            "here; save it uncompressed or with LZW or deflate"
        ) from None


def _samples(file: BinaryIO, frame: Frame) -> np.ndarray:
    """Return the stored numbers `(height, width, samples)`, of the type and shape in the tags."""
    sheet = frame.page
    if frame.planes > 1 and sheet.imagedepth == 1:
        array = _plane_behind_page(file, frame)
    else:
        try:
            array = sheet.asarray(maxworkers=1)
        except NotImplementedError as error:
            raise DataError(
                f"this kind of TIFF is not supported ({error}); save it as gray or RGB"
            ) from error
        if _are_swapped(sheet):
            array = array.byteswap()
    if array.shape != sheet.shape or array.dtype != sheet.dtype:
        raise ValueError(
            f"it decodes to {array.dtype} {array.shape}, but its tags give {sheet.dtype} "
            f"{sheet.shape}"
        )
    axes = sheet.axes
    if "Z" in axes:
        array = np.take(array, frame.plane, axes.index("Z"))
        axes = axes.replace("Z", "")
    if axes.startswith("S"):  # colours stored as planes
        return np.moveaxis(array, 0, -1)
    return array if axes.endswith("S") else array[..., None]


def _are_swapped(sheet: tifffile.TiffPage) -> bool:
    """Return whether imagecodecs swapped the bytes of samples, as it does those of 24 bit."""
    if sheet.bitspersample != 24 or sheet.dtype.kind != "u":
        return False
    return int(imagecodecs.packints_decode(b"\0\0\1", ">u4", 24)[0]) != 1


def _plane_behind_page(file: BinaryIO, frame: Frame) -> np.ndarray:
    sheet = frame.page
    if not sheet.is_contiguous:
        raise DataError(
            f"it is a compressed stack of {frame.planes} images in one page; save each as a page"
        )
    dtype = np.dtype(sheet.parent.byteorder + sheet.dtype.char)
    length = sheet.size * dtype.itemsize
    file.seek(sheet.dataoffsets[0] + frame.plane * length)
    data = file.read(length)
    if len(data) < length:
        raise ValueError(CUT_SHORT)
    return native(np.frombuffer(data, dtype)).reshape(sheet.shape)


def _refuse_many_channels(sheet: tifffile.TiffPage) -> None:
    """Raise before decoding if a page has more channels than any image that is read."""
    if sheet.samplesperpixel > _MAX_CHANNELS:
        one = np.zeros((1, 1, sheet.samplesperpixel), sheet.dtype)
        if getattr(sheet.photometric, "name", "") != "PALETTE":
            _gray_or_rgb(one, sheet)
        raise _unknown_colours(one, sheet)


def _gray_or_rgb(samples: np.ndarray, sheet: tifffile.TiffPage) -> np.ndarray:
    """Convert stored samples to gray or RGB, with more being brighter."""
    photometric = getattr(sheet.photometric, "name", str(sheet.photometric))
    if photometric == "PALETTE":
        return _looked_up(samples, sheet)
    if photometric == "RGB" or (photometric == "YCBCR" and _is_jpeg(sheet)):
        return _without_alpha(samples, 3, sheet)
    if photometric == "MINISBLACK":
        return _spread(_without_alpha(samples, 1, sheet), sheet.bitspersample)
    if photometric == "MINISWHITE":
        gray = _spread(_without_alpha(samples, 1, sheet), sheet.bitspersample)
        return _inverted(gray, sheet.bitspersample)
    if photometric == "SEPARATED" and samples.shape[-1] == 4 and samples.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(samples), "CMYK").convert("RGB"))
    raise _unknown_colours(samples, sheet)


def _unknown_colours(samples: np.ndarray, sheet: tifffile.TiffPage) -> DataError:
    photometric = getattr(sheet.photometric, "name", str(sheet.photometric))
    return DataError(
        f"its colours must be gray, RGB, palette or 8-bit CMYK, got {photometric} with "
        f"{samples.shape[-1]} samples of {samples.dtype}; convert it to gray or RGB"
    )


def _is_jpeg(sheet: tifffile.TiffPage) -> bool:
    return getattr(sheet.compression, "name", "") in ("JPEG", "ALT_JPEG", "JPEG_LOSSY")


def _without_alpha(samples: np.ndarray, colours: int, sheet: tifffile.TiffPage) -> np.ndarray:
    """Drop alpha as marked by ExtraSamples; raise if other channels are undescribed."""
    extra = samples.shape[-1] - colours
    kinds = [int(kind) for kind in sheet.extrasamples or ()]
    alpha = (_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA)
    is_alpha = len(kinds) == 1 and kinds[0] in alpha
    # Colour with padding is still colour (Pillow's RGBX); gray with extra channels is ambiguous.
    if extra == 0 or (extra == 1 and (is_alpha or colours == 3)):
        return samples[..., :colours]
    kind = "gray" if colours == 1 else "RGB"
    raise DataError(
        f"it must be one gray image or RGB, got {samples.shape[-1]} channels marked as {kind} "
        "(several energies or detectors?); save each channel as a separate image"
    )


def _looked_up(samples: np.ndarray, sheet: tifffile.TiffPage) -> np.ndarray:
    colours = np.asarray(sheet.colormap)  # (3, entries) of 16 bit
    if colours.max(initial=0) >= 256:  # some writers store 8 bit
        colours = colours >> 8
    index = samples[..., 0].astype(np.intp)
    if index.max(initial=0) >= colours.shape[1]:
        raise ValueError(f"its pixels exceed the {colours.shape[1]} colours of its palette")
    return np.moveaxis(colours[:, index], 0, -1).astype(np.uint8)


def _spread(array: np.ndarray, bits: int) -> np.ndarray:
    """Spread samples of 1, 2 or 4 bits over 0 … 255, as PNG readers do."""
    if bits not in (1, 2, 4):
        return array
    return array.astype(np.uint8) * np.uint8(255 // (2**bits - 1))


def _inverted(array: np.ndarray, bits: int) -> np.ndarray:
    """Invert white-is-zero within the range of the bits; for floats, change the sign."""
    if array.dtype.kind == "f":
        return -array
    if array.dtype.kind == "i":
        return ~array  # the range −2^(b−1) … 2^(b−1) − 1 maps onto itself
    return np.asarray(array.dtype.type(255 if bits in (1, 2, 4) else 2**bits - 1) - array)
