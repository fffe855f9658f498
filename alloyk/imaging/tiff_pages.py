"""The pages of a TIFF file, and the images in them."""

import math
import struct
from collections.abc import Iterator
from typing import NamedTuple

import tifffile

from alloyk.errors import DataError
from alloyk.imaging.limits import CUT_SHORT, refuse_bad_page, refuse_bad_size

# SampleFormat of TIFF 6.0 and its supplements.
_KINDS = {
    1: "unsigned integers", 2: "signed integers", 3: "floats", 5: "complex integers",
    6: "complex floats",
}  # fmt: skip


class Frame(NamedTuple):
    """One image of a TIFF file: a page, and its position in a page of several images."""

    page: tifffile.TiffPage
    plane: int
    planes: int


def page_numbers(tiff: tifffile.TiffFile) -> list[int]:
    """Return the numbers of the pages with images, without thumbnails and masks.

    Raises:
        DataError: The images are not in pages.
        ValueError: A page or a required tag is missing.
    """
    if not len(tiff.pages):
        raise ValueError(f"{CUT_SHORT} or its header is damaged: it has no page")
    tiff.pages.cache = True  # each directory is parsed once, not once in each loop
    _refuse_missing_tags(tiff.pages[0])
    _refuse_lost_pages(tiff)
    _refuse_images_elsewhere(tiff)
    if len(tiff.pages) == 1:
        return [0]
    return [i for i, sheet in enumerate(tiff.pages) if not int(sheet.subfiletype) & 0b101] or [0]


def _refuse_images_elsewhere(tiff: tifffile.TiffFile) -> None:
    """Refuse files whose images are not in their pages: reading these would give other pixels."""
    first = tiff.pages[0]
    if tiff.is_stk:
        raise DataError(
            "it is a MetaMorph stack, which is not read; save its planes as pages, for example "
            "with Fiji"
        )
    if int(first.subfiletype) & 1 and first.subifds:
        raise DataError(
            "its first page is a thumbnail of an image in a sub-page, which is not read; save the "
            "image as a plain TIFF"
        )


def _refuse_lost_pages(tiff: tifffile.TiffFile) -> None:
    """Refuse a file whose last page names a next one: tifffile ends there without an error."""
    if tiff.is_ndpi or tiff.is_lsm:
        return  # their offsets are not those of the standard
    layout, file = tiff.tiff, tiff.filehandle
    last = tiff.pages[-1].offset
    file.seek(last)
    (count,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
    file.seek(last + layout.tagnosize + count * layout.tagsize)
    following = file.read(layout.offsetsize)
    if len(following) < layout.offsetsize:
        return  # files cut right there have lost nothing else
    (offset,) = struct.unpack(layout.offsetformat, following)
    if offset and offset not in {page.offset for page in tiff.pages}:
        raise ValueError(f"{CUT_SHORT}: it has {len(tiff.pages)} pages and announces another")


def chosen(tiff: tifffile.TiffFile, page: int | None) -> Frame:
    """Return an image of a file by its number; None for the only one.

    Raises:
        DataError: It does not exist, was not chosen, or is of a kind that is not read.
        ValueError: As `page_numbers`.
    """
    numbers, planes = _numbers_and_planes(tiff)
    refuse_bad_page(page, max(len(numbers), planes))
    return _frame(tiff, numbers, planes, page or 0)


def all_frames(tiff: tifffile.TiffFile) -> Iterator[Frame]:
    """Yield each image of a file; raises as `chosen` does, at the image that cannot be read."""
    numbers, planes = _numbers_and_planes(tiff)
    for page in range(max(len(numbers), planes)):
        yield _frame(tiff, numbers, planes, page)


def _numbers_and_planes(tiff: tifffile.TiffFile) -> tuple[list[int], int]:
    """The numbers of the pages with images, and the images in the only one, if it is only one."""
    numbers = page_numbers(tiff)
    return numbers, planes_of(tiff, tiff.pages[numbers[0]]) if len(numbers) == 1 else 1


def _frame(tiff: tifffile.TiffFile, numbers: list[int], planes: int, page: int) -> Frame:
    """Return an image whose number exists."""
    plane = page if planes > 1 else 0
    sheet = tiff.pages[numbers[0 if planes > 1 else page]]
    _refuse_missing_tags(sheet)
    if isinstance(sheet.bitspersample, tuple):
        bits = "-".join(map(str, sheet.bitspersample))
        raise DataError(f"its samples must have one number of bits, got {bits}; save it as RGB")
    for height, width in decoded_sizes(sheet):
        refuse_bad_size(height, width)
    _refuse_other_numbers(sheet, tiff.byteorder)
    return Frame(sheet, plane, planes)


def _refuse_other_numbers(sheet: tifffile.TiffPage, byteorder: str) -> None:
    """Raise if samples are of a kind that is not read, or that readers read in different ways."""
    kind = _KINDS.get(int(sheet.sampleformat), "other numbers")
    if sheet.dtype is None or sheet.dtype.kind not in "uifb":
        raise DataError(
            "its samples must be unsigned integers of 1 to 32 or 64 bit, signed ones of 8, 16, 32 "
            f"or 64 bit, or floats, got {kind} of {sheet.bitspersample} bit; save it with 16 or 32 "
            "bit"
        )
    if sheet.dtype.kind == "f" or sheet.bitspersample in (8, 16, 32, 64):
        return
    if sheet.predictor != 1:  # it is defined for whole bytes; libtiff refuses these too
        raise DataError(
            f"samples of {sheet.bitspersample} bit must be without a predictor, got predictor "
            f"{int(sheet.predictor)}; save it without, or with 16 bit"
        )
    # By TIFF 6.0 they are bytes, the highest first; libtiff, and so GDAL, take the file's order.
    if sheet.bitspersample == 24 and byteorder == "<":
        raise DataError(
            "the byte order of its 24-bit samples is not certain, as programs differ for "
            "little-endian files; save it with 32 bit, or big-endian"
        )


def decoded_sizes(sheet: tifffile.TiffPage) -> list[tuple[int, int]]:
    """Return height and width of what is decoded at once: the planes, and a tile if there are."""
    sizes = [(sheet.imagelength * (sheet.imagedepth or 1), sheet.imagewidth)]
    if sheet.is_tiled:
        sizes.append((sheet.tilelength * sheet.tiledepth, sheet.tilewidth))
    return sizes


def planes_of(tiff: tifffile.TiffFile, sheet: tifffile.TiffPage) -> int:
    """Return the number of images in one page.

    ImageJ, and tifffile with `truncate=True`, write a stack as one page followed by the pixels of
    the others; some 3-D writers use the tag ImageDepth.
    """
    if sheet.imagedepth > 1:
        return int(sheet.imagedepth)
    if tiff.is_imagej:
        return int((tiff.imagej_metadata or {}).get("images", 1))
    if tiff.is_shaped and tiff.shaped_metadata:
        described = tiff.shaped_metadata[0]
        values = math.prod(described.get("shape", ()))
        if described.get("truncated") and sheet.size:
            return max(1, int(values // sheet.size))
    return 1


def _refuse_missing_tags(sheet: tifffile.TiffPage) -> None:
    """Raise if a required tag is missing (TIFF 6.0, part 1), which tifffile would guess."""
    for name in ("ImageWidth", "ImageLength", "PhotometricInterpretation"):
        if name not in sheet.tags:
            raise ValueError(f"its header lacks the tag {name}")
