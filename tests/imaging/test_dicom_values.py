"""DICOM with a TIFF header in front, and its tables of values."""

import io
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from alloyk.errors import DataError
from alloyk.imaging import decoded_pixels, image_format, image_size, page_count, read_image
from alloyk.imaging.header import header_settings

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


def test_slope_and_intercept_of_each_frame_are_applied(tmp_path):
    """Enhanced multi-frame DICOM has them in functional groups (PS3.3 C.7.6.16.2.9)."""

    def group(slope, intercept):
        item, one = pydicom.Dataset(), pydicom.Dataset()
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = slope, intercept, "US"
        item.PixelValueTransformationSequence = [one]
        return item

    dataset = dicom_dataset(np.concatenate([STORED, STORED]), NumberOfFrames=2)
    dataset.Rows = len(STORED)
    dataset.SharedFunctionalGroupsSequence = [group("2", "-100")]
    path = tmp_path / "a.dcm"
    dataset.save_as(path, enforce_file_format=True)
    np.testing.assert_array_equal(read_image(f"{path}[1]")[..., 0], STORED * 2.0 - 100)
    dataset.SharedFunctionalGroupsSequence = [pydicom.Dataset()]
    dataset.PerFrameFunctionalGroupsSequence = [group("2", "0"), group("3", "5")]
    dataset.save_as(path, enforce_file_format=True)
    np.testing.assert_array_equal(read_image(f"{path}[0]")[..., 0], STORED * 2.0)
    np.testing.assert_array_equal(read_image(f"{path}[1]")[..., 0], STORED * 3.0 + 5)


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


def deflated(array, rest=b"", **elements):
    """A deflated file (PS3.5, A.5), with bytes that are inflated behind its last element."""
    content = io.BytesIO()
    dataset = dicom_dataset(array, **elements)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(content, enforce_file_format=True)
    content.seek(0)
    start = 144 + pydicom.dcmread(content).file_meta.FileMetaInformationGroupLength
    inflated = zlib.decompress(content.getvalue()[start:], -15)
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(inflated) + packer.compress(rest) + packer.flush()
    return content.getvalue()[:start] + packed


def peak_of(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4"])
def test_a_deflated_file_is_read_as_pydicom_reads_it(tmp_path, dtype):
    stack = np.random.default_rng(1).integers(0, 200, (3, 8, 6)).astype(dtype)
    content = deflated(stack[0], NumberOfFrames=3, PixelData=stack.tobytes(), KVP=90)
    for number in range(3):
        np.testing.assert_array_equal(read_image(content, page=number)[..., 0], stack[number])
    np.testing.assert_array_equal(pydicom.dcmread(io.BytesIO(content)).pixel_array, stack)
    assert (page_count(content), image_size(content, page=1)) == (3, (8, 6))
    assert decoded_pixels(content, page=1) == 3 * 8 * 6
    file = tmp_path / "a.dcm"
    file.write_bytes(content)
    assert header_settings(file)["tube_voltage_kvp"] == "90"
    with pytest.raises(DataError, match="the file is cut short"):
        read_image(content[:-40], page=0)


def test_a_deflated_file_is_not_inflated_beyond_its_header():
    content = deflated(STORED, rest=bytes(2**28))
    assert len(content) < 2**19
    for ask in (image_size, page_count, decoded_pixels):
        assert peak_of(lambda ask=ask: ask(content)) < 2**26

    def read():
        with pytest.raises(DataError, match=r"must have 1 × 8 × 6 pixels as its header gives, got"):
            read_image(content)

    assert peak_of(read) < 2**27
    many = deflated(np.zeros((1, 1), np.uint16), NumberOfFrames=2**29)
    for ask in (image_size, decoded_pixels, read_image):
        with pytest.raises(DataError, match="guards against decompression bombs"):
            ask(many, page=0)


def test_a_damaged_jpeg_2000_frame_is_named(tmp_path):
    # pydicom's file has a codestream whose header is overwritten.
    name = "JPEG2000-embedded-sequence-delimiter.dcm"
    path = Path(pydicom.__file__).parent / "data" / "test_files" / name
    with pytest.raises(DataError, match=r"compressed pixels are damaged \(.*\); replace or remove"):
        read_image(path)


def test_a_baseline_jpeg_frame_without_its_middle_is_refused(tmp_path):
    jpeg = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    Image.fromarray(pixels).save(jpeg, "JPEG", quality=90)
    content = jpeg.getvalue()
    for data, whole in ((content, True), (content[: len(content) // 2] + b"\xff\xd9", False)):
        dataset = dicom_dataset(pixels)
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        dataset.PixelData = encapsulate([data])
        path = tmp_path / f"{whole}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        if whole:
            expected = np.asarray(Image.open(io.BytesIO(content)))
            np.testing.assert_array_equal(read_image(path)[..., 0], expected)
        else:
            with pytest.raises(DataError, match="pixels are missing in its middle"):
                read_image(path)


@pytest.mark.parametrize("share", [0.99, 0.5, 0.02])
def test_a_cut_run_length_coded_frame_is_damaged_and_needs_no_other_decoder(tmp_path, share):
    path = tmp_path / "a.dcm"
    dataset = dicom_dataset(np.repeat(STORED, 9, axis=1).astype(np.uint16))
    dataset.compress(RLELossless)
    dataset.save_as(path, enforce_file_format=True)
    whole = read_image(path)
    (frame,) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([frame[: int(len(frame) * share) // 2 * 2]])
    dataset.save_as(path, enforce_file_format=True)
    with pytest.raises(DataError, match=r"a\.dcm: its compressed pixels are damaged \(.*RLE"):
        read_image(path)
    assert whole.shape == (8, 54, 1)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high", [11, 13, 15])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_values_above_the_lowest_bits_are_read(tmp_path, high, signed, syntax):
    """PS3.5, 8.1.1, before 2014: a value of 12 bits ends at HighBit; other bits do not belong."""
    values = np.random.default_rng(8).integers(0, 4096, (8, 6)).astype(np.int64)
    below = high - 11
    word = (values << below) | (2**below - 1)
    path = tmp_path / "a.dcm"
    dataset = dicom_dataset(word.astype(np.uint16))
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, high, int(signed)
    dataset.save_as(path, enforce_file_format=True)
    expected = np.where(signed & (values >= 2048), values - 4096, values)
    np.testing.assert_array_equal(read_image(path)[..., 0], expected)
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.save_as(path, enforce_file_format=True)
    turned = -1 - expected if signed else 4095 - expected
    np.testing.assert_array_equal(read_image(path)[..., 0], turned)


@pytest.mark.parametrize("high", [7, 16])
def test_an_impossible_high_bit_is_refused(tmp_path, high):
    path = tmp_path / "a.dcm"
    dataset = dicom_dataset(STORED.astype(np.uint16), BitsStored=12, HighBit=high)
    dataset.save_as(path, enforce_file_format=True)
    with pytest.raises(DataError, match=rf"must have HighBit 11, .*, got {high}; export it again"):
        read_image(path)


@pytest.mark.parametrize("start", [132, None])
@pytest.mark.parametrize(("implicit", "little"), [(False, True), (False, False), (True, True)])
def test_dicom_without_its_mark_is_told_apart_from_other_files(tmp_path, start, implicit, little):
    dataset = dicom_dataset(STORED)
    if start:  # with the file meta information, as where the first block was lost
        dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    else:  # as the first programs wrote it
        del dataset.file_meta
        dataset.save_as(tmp_path / "a.dcm", implicit_vr=implicit, little_endian=little)
    content = (tmp_path / "a.dcm").read_bytes()[start or 0 :]
    with pytest.raises(
        DataError, match=r"it is DICOM without its first 132 bytes .*; save it as a"
    ):
        read_image(content)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # as in use
def test_a_damaged_transfer_syntax_is_not_quoted(tmp_path):
    path = tmp_path / "a.dcm"
    dicom_dataset(STORED).save_as(path, enforce_file_format=True)
    data = path.read_bytes()
    syntax = data.index(b"1.2.840.10008.1.2.1\0")
    with pytest.raises(DataError, match="its TransferSyntaxUID is damaged; replace or remove"):
        read_image(data[:syntax] + b"1.2\xe9840.10008.1.2.1\0" + data[syntax + 20 :])
    path.write_bytes(data.replace(b"\x02\0\x10\0UI", b"\x02\0\x11\0UI"))
    with pytest.raises(DataError, match="its TransferSyntaxUID is missing; replace or remove"):
        read_image(path)
