"""Settings in the headers of images become columns of the data set."""

import datetime
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from alloyk.data import load_dataset
from alloyk.imaging.header import header_settings

PIXELS = np.arange(80, dtype=np.uint16).reshape(8, 10)


def dicom(path, **values):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, generate_uid()
    dataset.Rows, dataset.Columns = PIXELS.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = PIXELS.tobytes()
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)


def test_dicom_units(tmp_path):
    path = tmp_path / "a.dcm"
    dicom(
        path, KVP="45", XRayTubeCurrent=3, ExposureTime=250, DetectorID="XRD 1611",
        AcquisitionDate="20260314", AcquisitionTime="101502.250000",
    )  # fmt: skip
    assert header_settings(path) == {
        "tube_voltage_kvp": "45",
        "tube_current_ma": "3",
        "exposure_s": "0.25",
        "detector": "XRD 1611",
        "acquired": "2026-03-14T10:15:02.250000",
    }
    dicom(path, AcquisitionDateTime="20260314101502-0500")
    assert header_settings(path) == {"acquired": "2026-03-14T10:15:02"}
    dicom(path, XRayTubeCurrentInuA="120", ExposureTimeInuS="3500", KVP="")
    assert header_settings(path) == {"tube_current_ma": "0.12", "exposure_s": "0.0035"}


def test_nexus_units(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        for name, kind in (
            ("entry", "NXentry"), ("entry/source", "NXsource"), ("entry/detector", "NXdetector")
        ):  # fmt: skip
            file.create_group(name).attrs["NX_class"] = kind
        file["entry/start_time"] = "2026-03-14T10:15:02"
        file["entry/source/voltage"] = np.float32(45000)
        file["entry/source/voltage"].attrs["units"] = "V"
        file["entry/source/current"] = 80.0
        file["entry/source/current"].attrs["units"] = "furlong"
        file["entry/detector/count_time"] = [500.0]
        file["entry/detector/count_time"].attrs["units"] = "ms"
        file["entry/detector/local_name"] = "flat panel"
        file["entry/detector/data"] = PIXELS
    assert header_settings(path) == {
        "tube_voltage_kvp": "45",
        "exposure_s": "0.5",
        "detector": "flat panel",
        "acquired": "2026-03-14T10:15:02",
    }


def test_edf_his_and_tiff(tmp_path):
    fabio = pytest.importorskip("fabio")
    header = {"ExposureTime": "0.5", "Tube_voltage_kV": "60", "detector": "pilatus"}
    fabio.edfimage.EdfImage(data=PIXELS, header=header).write(str(tmp_path / "a.edf"))
    assert header_settings(tmp_path / "a.edf") == {
        "tube_voltage_kvp": "60", "exposure_s": "0.5", "detector": "pilatus",
    }  # fmt: skip
    undated = {"date": "Sat Mar 14 10:15:02 2026"}
    fabio.edfimage.EdfImage(data=PIXELS, header=undated).write(str(tmp_path / "b.edf"))
    assert header_settings(tmp_path / "b.edf") == {}
    head = struct.pack("<HHHIHHHHHHHdH34x", 0x7000, 68, 100, 228, 0, 1, 1, 10, 8, 1, 0, 133000.0, 4)
    (tmp_path / "a.his").write_bytes(head + PIXELS.tobytes())
    assert header_settings(tmp_path / "a.his") == {"exposure_s": "0.133"}
    time = datetime.datetime(2026, 3, 14, 10, 15, 2)
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, datetime=time, extratags=[
        (271, 2, 0, "Varex", False), (272, 2, 0, "4343", False),
    ])  # fmt: skip
    assert header_settings(tmp_path / "a.tif") == {
        "detector": "Varex 4343", "acquired": "2026-03-14T10:15:02",
    }  # fmt: skip


def test_fits_keywords(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    first = fits.PrimaryHDU()
    first.header["INSTRUME"], first.header["EXPTIME"] = "NEUTRA", 9.0
    image = fits.ImageHDU(PIXELS)
    image.header["EXPTIME"], image.header["DATE-OBS"] = 2.5, "2026-03-14T10:15:02"
    fits.HDUList([first, image]).writeto(tmp_path / "a.fits")
    assert header_settings(tmp_path / "a.fits") == {
        "exposure_s": "2.5", "detector": "NEUTRA", "acquired": "2026-03-14T10:15:02",
    }  # fmt: skip
    fits.PrimaryHDU(PIXELS).writeto(tmp_path / "b.fits")
    assert header_settings(tmp_path / "b.fits") == {}


def test_what_has_no_settings_or_cannot_be_read_gives_none(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "b.dcm").write_bytes(bytes(128) + b"DICM" + b"\x07" * 40)
    dicom(tmp_path / "c.dcm", AcquisitionTime="101502")
    for name in ("a.png", "b.dcm", "c.dcm", "absent.dcm"):
        assert header_settings(tmp_path / name) == {}


def test_settings_are_columns_and_a_manifest_goes_first(tmp_path):
    for label, voltage in (("1050", "45"), ("2017", "60")):
        (tmp_path / label).mkdir()
        for number in range(5):
            dicom(tmp_path / label / f"{number}.dcm", KVP=voltage, DetectorID=f"D{number % 2}")
    table = load_dataset(tmp_path).table
    assert set(zip(table["label"], table["tube_voltage_kvp"], strict=True)) == {
        ("1050", "45"), ("2017", "60"),
    }  # fmt: skip
    grouped = load_dataset(tmp_path, leave_out=("detector", "D1")).table
    assert set(grouped.loc[grouped["detector"] == "D1", "split"]) == {"test"}
    rows = "".join(
        f"{path},{label},1.5\n"
        for path, label in zip(*[table[c] for c in ("path", "label")], strict=True)
    )
    (tmp_path / "manifest.csv").write_text("path,label,tube_voltage_kvp\n" + rows)
    table = load_dataset(tmp_path).table
    assert set(table["tube_voltage_kvp"]) == {"1.5"}
    assert set(table["detector"]) == {"D0", "D1"}
