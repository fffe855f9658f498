"""DICOM and DICONDE by pydicom."""

import logging
import warnings
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom import pixels

from alloyk.errors import DataError
from alloyk.imaging import dicom_decoders
from alloyk.imaging.limits import native, refuse_bad_page, refuse_bad_size

# pydicom reports every deviation from the standard; the user needs only the errors.
logging.getLogger("pydicom").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", module=r"pydicom\.")

dicom_decoders.register()

_DIRECTORY = "1.2.840.10008.1.3.10"  # Media Storage Directory Storage, PS3.4, table I.4-1


def read(file: BinaryIO, page: int | None) -> np.ndarray:
    """Return the pixels of one frame as `(height, width, 1 or 3)`; the window is not applied."""
    dataset = pydicom.dcmread(file)
    _refuse_bad_header(dataset, page)
    array = native(_frame(dataset, page or 0))
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        return _to_rgb8(pixels.apply_color_lut(array, dataset))
    if array.ndim == 3:
        return array[..., :3]
    return _brighter_is_more(array, dataset)[..., None]


def size(file: BinaryIO, page: int | None) -> tuple[int, int]:
    """Return `(height, width)` of one frame from the header."""
    dataset = pydicom.dcmread(file, stop_before_pixels=True)
    _refuse_bad_header(dataset, page)
    return int(dataset.Rows), int(dataset.Columns)


def pages(file: BinaryIO) -> int:
    """Return the number of frames."""
    return int(pydicom.dcmread(file, stop_before_pixels=True).get("NumberOfFrames") or 1)


def _refuse_bad_header(dataset: pydicom.Dataset, page: int | None) -> None:
    if dataset.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
        raise DataError("it is a DICOMDIR, an index without images; give the folder of its images")
    if "Rows" not in dataset or "Columns" not in dataset:
        raise DataError("it is a DICOM file without an image; remove it")
    refuse_bad_size(int(dataset.Rows), int(dataset.Columns))
    refuse_bad_page(page, int(dataset.get("NumberOfFrames") or 1))


def _frame(dataset: pydicom.Dataset, page: int) -> np.ndarray:
    try:
        return np.asarray(pixels.pixel_array(dataset, index=page))
    except (RuntimeError, NotImplementedError) as error:
        name = dataset.file_meta.TransferSyntaxUID.name
        if dicom_decoders.is_available(dataset.file_meta.TransferSyntaxUID):
            raise ValueError(str(error).strip().rpartition("imagecodecs: ")[2]) from error
        if "missing" not in str(error) and "plugin" not in str(error):
            raise
        raise DataError(
            f"its compression ({name}) needs another decoder; save it uncompressed"
        ) from error


def _brighter_is_more(array: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
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
    slope = float(dataset.get("RescaleSlope", 1) or 1)
    intercept = float(dataset.get("RescaleIntercept", 0) or 0)
    if (slope, intercept) == (1.0, 0.0):
        return array
    return (array * slope + intercept).astype(np.float32)


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
