"""Check that all strips or tiles of a TIFF page are in the file, and find their lengths."""

import bisect
import io
import math
from typing import BinaryIO

import tifffile

from alloyk.errors import DataError
from alloyk.imaging.limits import CUT_SHORT

_UNCOMPRESSED = 1
_BILEVEL = (2, 3, 4)  # compressions of facsimile
_JPEG_NAMES = ("JPEG", "ALT_JPEG", "JPEG_LOSSY", "OJPEG")


def refuse_missing_pixels(file: BinaryIO, sheet: tifffile.TiffPage) -> None:
    """Raise if strips are missing or end beyond the file; correct wrong lengths.

    tifffile fills empty strips with zeros. A length of 0, or one beyond the end of the file, is
    harmless if the pixels exist: without compression their length is known, and a decoder finds the
    end itself.
    """
    end = file.seek(0, io.SEEK_END)
    offsets, counts = list(sheet.dataoffsets), list(sheet.databytecounts)
    needed = math.prod(sheet.chunked)
    if len(offsets) < needed or not offsets:
        raise ValueError(
            f"it has {len(offsets)} strips of pixels, but its header requires {needed}"
        )
    counts += [0] * (len(offsets) - len(counts))
    if any(not offset and not count for offset, count in zip(offsets, counts, strict=False)):
        raise DataError(
            "parts of its pixels were never written (a sparse TIFF, such as GDAL's); save it with "
            "all its pixels, for example with gdal_translate"
        )
    if any(not 0 < offset < end for offset in offsets):
        raise ValueError(CUT_SHORT)
    if sheet.compression == _UNCOMPRESSED:
        sheet.databytecounts = _known_lengths(sheet, offsets, counts, end)
    else:
        sheet.databytecounts = _found_lengths(sheet, offsets, counts, end)
    _refuse_lost_bits(file, sheet)
    if getattr(sheet.compression, "name", "") in _JPEG_NAMES:
        _refuse_jpeg_without_end(file, sheet)


def _refuse_lost_bits(file: BinaryIO, sheet: tifffile.TiffPage) -> None:
    """Raise if samples have more bits than 1, the default of BitsPerSample, and it is missing."""
    if "BitsPerSample" in sheet.tags or sheet.compression in _BILEVEL:
        return
    file.seek(sheet.dataoffsets[0])
    strip = file.read(sheet.databytecounts[0])
    if sheet.compression != _UNCOMPRESSED:
        strip = tifffile.TIFF.DECOMPRESSORS[sheet.compression](strip)
    if len(strip) != _bytes_of_chunk(sheet, 0):
        raise ValueError("its header lacks the tag BitsPerSample")


def _known_lengths(
    sheet: tifffile.TiffPage, offsets: list[int], counts: list[int], end: int
) -> tuple[int, ...]:
    """Return each strip's length in bytes, from its pixels."""
    needed = [_bytes_of_chunk(sheet, number) for number in range(len(offsets))]
    lengths = []
    for offset, count, bytes_needed in zip(offsets, counts, needed, strict=True):
        wrong = count <= 0 or offset + count > end
        length = bytes_needed if wrong else count
        if offset + length > end or length < bytes_needed:
            raise ValueError(CUT_SHORT)
        lengths.append(length)
    return tuple(lengths)


def _bytes_of_chunk(sheet: tifffile.TiffPage, number: int) -> int:
    samples = sheet.samplesperpixel if sheet.planarconfig == 1 else 1
    if sheet.is_tiled:
        rows, columns = sheet.tilelength * sheet.tiledepth, sheet.tilewidth
    else:
        per_plane = math.ceil(sheet.imagelength / sheet.rowsperstrip)
        above = number % per_plane * sheet.rowsperstrip
        rows = min(sheet.rowsperstrip, sheet.imagelength - above) * sheet.imagedepth
        columns = sheet.imagewidth
    return int(rows * math.ceil(columns * samples * sheet.bitspersample / 8))


def _found_lengths(
    sheet: tifffile.TiffPage, offsets: list[int], counts: list[int], end: int
) -> tuple[int, ...]:
    """Return each strip's length, up to the next strip or the end if the tags have none."""
    if not {"StripByteCounts", "TileByteCounts"} & {tag.name for tag in sheet.tags}:
        counts = [0] * len(offsets)  # tifffile gives those without compression
    # The directory may follow the pixels and also ends them.
    limits = sorted({*offsets, end} | ({sheet.offset} if sheet.offset > max(offsets) else set()))
    lengths = []
    for offset, count in zip(offsets, counts, strict=True):
        if count <= 0 or offset + count > end:
            count = limits[bisect.bisect_right(limits, offset)] - offset
        lengths.append(count)
    return tuple(lengths)


def _refuse_jpeg_without_end(file: BinaryIO, sheet: tifffile.TiffPage) -> None:
    """Raise if a JPEG strip has no end marker: libjpeg would fill in missing pixels."""
    for offset, count in zip(sheet.dataoffsets, sheet.databytecounts, strict=True):
        file.seek(offset)
        if b"\xff\xd9" not in file.read(count):
            raise ValueError(CUT_SHORT)
