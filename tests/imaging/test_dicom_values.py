"""DICOM with a TIFF header in front, and its tables of values."""

import io

import numpy as np
import pydicom
import pytest
import tifffile
from pydicom.uid import ExplicitVRLittleEndian

from alloyk.imaging import image_format, read_image

STORED = np.random.default_rng(3).integers(0, 256, (8, 6), dtype=np.uint8)


def dicom_dataset(array, **elements):
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = array.shape
    dataset.BitsAllocated = dataset.BitsStored = array.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = array.tobytes()
    dataset["PixelData"].VR = "OB" if array.dtype == np.uint8 else "OW"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def test_a_tiff_header_before_the_mark_does_not_hide_dicom(tmp_path):
    # PS3.10, 7.1: the preamble may make the file a TIFF at the same time.
    tiff = io.BytesIO()
    tifffile.imwrite(tiff, STORED)
    dataset = dicom_dataset(STORED, RescaleSlope="2", RescaleIntercept="-7")
    dataset.preamble = tiff.getvalue()[:128].ljust(128, b"\0")
    path = tmp_path / "a.dcm"
    dataset.save_as(path, enforce_file_format=True)
    assert path.read_bytes()[:4] == b"II*\0"
    assert image_format(path) == "dicom"
    np.testing.assert_array_equal(read_image(path)[..., 0], STORED * 2.0 - 7)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_table_of_values_is_looked_up_before_turning(tmp_path, photometric):
    table = (np.arange(256) ** 2 // 16).astype(np.uint16)  # 12 bit, not a line
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [256, 0, 12])
    item.add_new("ModalityLUTType", "LO", "US")
    item.add_new("LUTData", "OW", table.tobytes())
    dataset = dicom_dataset(STORED, PhotometricInterpretation=photometric)
    dataset.ModalityLUTSequence = [item]
    path = tmp_path / "a.dcm"
    dataset.save_as(path, enforce_file_format=True)
    expected = table[STORED] if photometric == "MONOCHROME2" else 4095 - table[STORED]
    np.testing.assert_array_equal(read_image(path)[..., 0], expected)
