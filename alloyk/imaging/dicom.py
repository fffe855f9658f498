"""DICOM and DICONDE by pydicom."""

import io
import logging
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom import pixels
from pydicom.encaps import get_frame
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from alloyk.errors import DataError
from alloyk.imaging import dicom_decoders
from alloyk.imaging.jpeg import whole_image
from alloyk.imaging.limits import (
    CUT_SHORT,
    native,
    refuse_bad_page,
    refuse_bad_size,
    unusable_values,
)

# pydicom reports every deviation from the standard; the user needs only the errors.
logging.getLogger("pydicom").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", module=r"pydicom\.")

dicom_decoders.register()

_DIRECTORY = "1.2.840.10008.1.3.10"  # Media Storage Directory Storage, PS3.4, table I.4-1


# Maximum number of bytes of the elements other than the pixels in a deflated file.
_OTHER_BYTES = 2**24
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)


def read(file: BinaryIO, page: int | None) -> np.ndarray:
    """Return the pixels of one frame as `(height, width, 1 or 3)`; the window is not applied."""
    return _pixels(_whole(file), page)


def read_all(file: BinaryIO) -> Iterator[np.ndarray]:
    """Yield the pixels of each frame, as `read` does."""
    dataset = _whole(file)
    _refuse_bad_header(dataset, 0)
    for page in range(_frames(dataset)):
        yield _pixels(dataset, page)


def _pixels(dataset: pydicom.Dataset, page: int | None) -> np.ndarray:
    _refuse_bad_header(dataset, page)
    array = native(_frame(dataset, page or 0))
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        return _to_rgb8(pixels.apply_color_lut(array, dataset))
    if array.ndim == 3:
        return array[..., :3]
    return _brighter_is_more(array, dataset, page or 0)[..., None]


def size(file: BinaryIO, page: int | None) -> tuple[int, int]:
    """Return `(height, width)` of one frame from the header."""
    dataset = header(file)
    _refuse_bad_header(dataset, page)
    return int(dataset.Rows), int(dataset.Columns)


def decoded_pixels(file: BinaryIO, page: int | None) -> int:
    """Return how many pixels are decoded to read one frame: all of a deflated file."""
    dataset = header(file)
    _refuse_bad_header(dataset, page)
    frames = _frames(dataset) if _is_deflated(dataset) else 1
    return int(dataset.Rows) * int(dataset.Columns) * frames


def pages(file: BinaryIO) -> int:
    """Return the number of frames."""
    return _frames(header(file))


def header(file: BinaryIO) -> pydicom.Dataset:
    """Return the elements before the pixels."""
    meta = _meta_of_deflated(file)
    if meta is None:
        return pydicom.dcmread(file, stop_before_pixels=True)
    return _inflated_header(file.read(), meta)


def parts_of_frames(dataset: pydicom.Dataset) -> list[list[pydicom.Dataset]]:
    """Return, for each frame, where its settings may be, the most specific first.

    These are the macros of the frame, those that all frames share (PS3.3 C.7.6.16), and the data
    set. Without macros of frames, the list has one entry, for all of them.
    """
    shared = _macros(dataset.get("SharedFunctionalGroupsSequence", ())[:1])
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or [None]
    return [[*_macros([frame] if frame else []), *shared, dataset] for frame in frames]


def _macros(groups: Iterable[pydicom.Dataset]) -> list[pydicom.Dataset]:
    elements = [element for group in groups for element in group]
    return [item for element in elements if element.VR == "SQ" for item in element.value]


def _whole(file: BinaryIO) -> pydicom.Dataset:
    meta = _meta_of_deflated(file)
    if meta is None:
        return pydicom.dcmread(file)
    deflated = file.read()
    found = _inflated_header(deflated, meta)
    _refuse_bad_header(found, 0)
    values = int(found.Rows) * int(found.Columns) * _frames(found)
    bytes_each = min(int(found.get("SamplesPerPixel") or 1), 3) * (
        min(int(found.get("BitsAllocated") or 8), 64) / 8
    )
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflating.decompress(deflated, int(values * bytes_each) + 2 * _OTHER_BYTES)
    if inflating.unconsumed_tail:
        raise DataError(
            f"its deflated part must have {_frames(found)} × {found.Rows} × {found.Columns} pixels "
            f"as its header gives, got over {len(data)} bytes; save it uncompressed"
        )
    if not inflating.eof:
        raise ValueError(CUT_SHORT)
    return _dataset(data, meta)


def _meta_of_deflated(file: BinaryIO) -> pydicom.dataset.FileMetaDataset | None:
    """Return the file meta information of a deflated file, and skip it; None for others.

    pydicom inflates such a file (PS3.5, A.5) whatever its size, even to read its header only.
    """
    start = file.tell()
    read_preamble(file, force=False)
    meta = _read_file_meta_info(file)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return meta
    file.seek(start)
    return None


def _inflated_header(deflated: bytes, meta: pydicom.dataset.FileMetaDataset) -> pydicom.Dataset:
    data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, _OTHER_BYTES)
    return _dataset(data, meta, stop_when=lambda tag, vr, length: tag in _PIXEL_TAGS)


def _dataset(
    data: bytes,
    meta: pydicom.dataset.FileMetaDataset,
    stop_when: Callable[[Any, Any, Any], bool] | None = None,
) -> pydicom.Dataset:
    content = io.BytesIO(data)
    elements = read_dataset(content, False, True, stop_when=stop_when)
    dataset = pydicom.dataset.FileDataset(
        content, elements, file_meta=meta, is_implicit_VR=False, is_little_endian=True
    )
    dataset.set_original_encoding(False, True, elements.original_character_set)
    return dataset


def _frames(dataset: pydicom.Dataset) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def _is_deflated(dataset: pydicom.Dataset) -> bool:
    return bool(dataset.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian)


def _refuse_bad_header(dataset: pydicom.Dataset, page: int | None) -> None:
    if dataset.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
        raise DataError("it is a DICOMDIR, an index without images; give the folder of its images")
    if "Rows" not in dataset or "Columns" not in dataset:
        raise DataError("it is a DICOM file without an image; remove it")
    refuse_bad_size(int(dataset.Rows), int(dataset.Columns))
    refuse_bad_page(page, _frames(dataset))
    if _is_deflated(dataset):
        refuse_bad_size(int(dataset.Rows) * _frames(dataset), int(dataset.Columns))


def _refuse_damaged_jpeg(dataset: pydicom.Dataset, page: int) -> None:
    """Raise ValueError if pixels of a baseline JPEG frame are missing; decoders fill them."""
    if dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit:
        frame = get_frame(dataset.PixelData, page, number_of_frames=_frames(dataset))
        whole_image(frame.rstrip(b"\0"))


def _refuse_bad_syntax(dataset: pydicom.Dataset) -> None:
    """Raise ValueError if the transfer syntax is missing or not a UID, which would be quoted."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax or not syntax.is_valid:
        raise ValueError(f"its TransferSyntaxUID is {'damaged' if syntax else 'missing'}")


def _frame(dataset: pydicom.Dataset, page: int) -> np.ndarray:
    _refuse_bad_syntax(dataset)
    _refuse_damaged_jpeg(dataset, page)
    stored, below = dataset.get("BitsStored"), _bits_below(dataset)
    try:
        if below:
            dataset.BitsStored = stored + below
        array = np.asarray(pixels.pixel_array(dataset, index=page))
        return array >> below if below else array
    except (RuntimeError, NotImplementedError) as error:
        syntax = dataset.file_meta.TransferSyntaxUID
        if not _is_decodable(syntax):
            raise DataError(
                f"its compression ({syntax.name}) needs another decoder; save it uncompressed"
            ) from error
        _, *of_decoders = str(error).strip().splitlines()
        if not of_decoders:
            raise
        decoder, _, reason = of_decoders[-1].strip().partition(": ")
        if decoder != "imagecodecs":  # of `dicom_decoders`, which give a sentence
            reason = f"its compressed pixels are damaged ({reason})"
        raise ValueError(reason) from error
    finally:
        if below:
            dataset.BitsStored = stored


def _bits_below(dataset: pydicom.Dataset) -> int:
    """Return how many bits lie below each value in its word.

    PS3.5, 8.1.1, has none since 2014, and pydicom takes the lowest bits whatever HighBit is.
    """
    stored, allocated = int(dataset.get("BitsStored") or 0), int(dataset.get("BitsAllocated") or 0)
    high = int(dataset.get("HighBit", stored - 1))
    if not stored or high == stored - 1:
        return 0
    syntax = dataset.file_meta.TransferSyntaxUID
    if not stored <= high + 1 <= allocated or (syntax.is_compressed and syntax != RLELossless):
        raise DataError(
            f"its values must have HighBit {stored - 1}, one less than BitsStored, got {high}; "
            "export it again"
        )
    return high + 1 - stored


def _is_decodable(syntax: pydicom.uid.UID) -> bool:
    try:
        return bool(pixels.get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _brighter_is_more(array: np.ndarray, dataset: pydicom.Dataset, page: int) -> np.ndarray:
    """Apply the modality transform to the stored values, then invert MONOCHROME1.

    The table (PS3.3 C.11.1) applies to the stored values. Inversion follows, because it concerns
    display only. It commutes with a linear rescale.
    """
    turned = dataset.PhotometricInterpretation == "MONOCHROME1"
    if "ModalityLUTSequence" in dataset:
        table = dataset.ModalityLUTSequence[0]
        values = _looked_up(array, table, dataset)
        return _inverted(values, int(table.LUTDescriptor[2])) if turned else values
    if turned:
        array = _inverted(array, int(dataset.get("BitsStored") or 0))
    slope, intercept = _rescale(dataset, page)
    if (slope, intercept) == (1.0, 0.0):
        return array
    values = array * slope + intercept
    unusable = unusable_values(values)  # before they become infinite in float32
    if unusable:
        raise DataError(unusable)
    return values.astype(np.float32)


def _rescale(dataset: pydicom.Dataset, page: int) -> tuple[float, float]:
    """Slope and intercept: of the frame, of all frames, or of the data set (PS3.3 C.7.6.16)."""
    groups = [
        *dataset.get("PerFrameFunctionalGroupsSequence", ())[page : page + 1],
        *dataset.get("SharedFunctionalGroupsSequence", ())[:1],
    ]
    given = [one for group in groups for one in group.get("PixelValueTransformationSequence", ())]
    found = next(iter(given), dataset)
    slope, intercept = found.get("RescaleSlope", 1), found.get("RescaleIntercept", 0)
    return float(slope or 1), float(intercept or 0)


def _looked_up(array: np.ndarray, table: pydicom.Dataset, dataset: pydicom.Dataset) -> np.ndarray:
    """Look stored values up in a modality table (PS3.3 C.11.1.1) of any number of bits.

    pydicom supports 8 and 16 bits only. Values below or above the table's range get its first or
    last entry.
    """
    entries, first, bits = (int(number) for number in table.LUTDescriptor)
    entries = entries or 65536
    if array.dtype.kind == "i" and first >= 32768:
        first -= 65536  # read as unsigned
    data = table.LUTData
    if isinstance(data, bytes):
        order = "<" if dataset.original_encoding[1] else ">"
        values = np.frombuffer(data, order + "u2" if len(data) >= 2 * entries else "u1")
    else:
        values = np.asarray(data)
    if len(values) < entries:
        raise ValueError(f"its table has {len(values)} values but its header gives {entries}")
    places = np.clip(array.astype(np.int64) - first, 0, entries - 1)
    return values.astype(np.uint8 if bits <= 8 else np.uint16)[places]


def _inverted(array: np.ndarray, bits: int) -> np.ndarray:
    """Invert values within the range of their bits."""
    if array.dtype.kind == "f":
        return -array
    if array.dtype.kind == "i":
        return ~array  # the range −2^(b−1) … 2^(b−1) − 1 maps onto itself
    return np.asarray(array.dtype.type(2**bits - 1) - array)


def _to_rgb8(array: np.ndarray) -> np.ndarray:
    return array if array.dtype == np.uint8 else (array >> 8).astype(np.uint8)
