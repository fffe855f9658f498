"""Settings in the headers of images become columns of the data set."""

import datetime
import io
import shutil
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from alloyk.auditing.source import read_for_audit
from alloyk.data import load_dataset
from alloyk.imaging.header import _tiff_page, header_settings
from alloyk.imaging.header_values import KILOVOLTS, MILLIAMPERES, SECONDS, factor
from alloyk.imaging.times import parsed_time

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
    assert header_settings(path) == {"acquired": "2026-03-14T10:15:02-05:00"}
    dicom(path, XRayTubeCurrentInuA="120", ExposureTimeInuS="3500", KVP="")
    assert header_settings(path) == {"tube_current_ma": "0.12", "exposure_s": "0.0035"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"AcquisitionDate": "20260314", "AcquisitionTime": "1200"}, "2026-03-14T12:00:00"),
        ({"AcquisitionDate": "20260314", "AcquisitionTime": "12"}, "2026-03-14T12:00:00"),
        ({"AcquisitionDateTime": "202603141200"}, "2026-03-14T12:00:00"),
        ({"AcquisitionDateTime": "20260314"}, None),
        (
            {"AcquisitionDate": "20260314", "ContentDate": "20260501", "ContentTime": "093000"},
            "2026-05-01T09:30:00",
        ),
        ({"AcquisitionDate": "20260314", "ContentTime": "093000"}, None),
        (
            {"ContentDate": "20260314", "ContentTime": "12", "TimezoneOffsetFromUTC": "+0200"},
            "2026-03-14T12:00:00+02:00",
        ),
        (
            {"AcquisitionDateTime": "2026031412-0500", "TimezoneOffsetFromUTC": "+0200"},
            "2026-03-14T12:00:00-05:00",
        ),
    ],
)
def test_dicom_date_and_time_belong_together(tmp_path, given, expected):
    dicom(tmp_path / "a.dcm", **given)
    assert header_settings(tmp_path / "a.dcm").get("acquired") == expected


def test_each_page_has_its_own_settings(tmp_path):
    fabio = pytest.importorskip("fabio")
    h5py = pytest.importorskip("h5py")
    times = [f"2026-03-14T10:1{page}:00" for page in range(3)]
    stack = fabio.edfimage.EdfImage(data=PIXELS, header={"ExposureTime": "0.5", "date": times[0]})
    for page in (1, 2):
        stack.append_frame(data=PIXELS, header={"ExposureTime": f"{page}.5", "date": times[page]})
    stack.write(str(tmp_path / "a.edf"))
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for time in times:
            writer.write(PIXELS, datetime=datetime.datetime.fromisoformat(time), contiguous=False)
    with h5py.File(tmp_path / "a.nxs", "w") as file:
        file.create_group("detector").attrs["NX_class"] = "NXdetector"
        file["detector/count_time"] = [0.5, 1.5, 2.5]
        file["detector/data"] = np.stack([PIXELS] * 3)
    frames = [Dataset() for _ in times]
    for frame, time in zip(frames, times, strict=True):
        content = Dataset()
        content.FrameAcquisitionDateTime = time.translate({ord(c): None for c in "-T:"})
        frame.FrameContentSequence = [content]
    dicom(
        tmp_path / "a.dcm", NumberOfFrames=3, PixelData=PIXELS.tobytes() * 3, KVP="45",
        PerFrameFunctionalGroupsSequence=frames,
    )  # fmt: skip
    exposures = ["0.5", "1.5", "2.5"]
    for suffix, name, expected in (
        ("edf", "exposure_s", exposures), ("edf", "acquired", times), ("tif", "acquired", times),
        ("nxs", "exposure_s", exposures), ("dcm", "acquired", times),
        ("dcm", "tube_voltage_kvp", ["45"] * 3),
    ):  # fmt: skip
        found = [header_settings(tmp_path / f"a.{suffix}[{page}]")[name] for page in range(3)]
        assert found == expected, suffix
    assert header_settings(tmp_path / "a.edf[mean]") == {"acquired": times[0]}
    assert header_settings(tmp_path / "a.edf[3]") == {}


@pytest.mark.parametrize("page", ["each", 2])
def test_columns_are_those_of_the_page(tmp_path, page):
    for label in ("1050", "2017"):
        (tmp_path / label).mkdir()
        for number in range(5):
            with tifffile.TiffWriter(tmp_path / label / f"{number}.tif") as writer:
                for minute in range(3):
                    time = datetime.datetime(2026, 3, 14, number, minute)
                    writer.write(PIXELS + number, datetime=time, contiguous=False)
    tables = [load_dataset(tmp_path, page=page).table]
    assert len(tables[0]) == (30 if page == "each" else 10)
    splits = tmp_path / "unlabelled splits"
    splits.mkdir()
    for split, label in (("train", "1050"), ("test", "2017")):
        shutil.copytree(tmp_path / label, splits / split)
    for data in (splits, splits / "train"):  # splits without classes, a flat folder
        tables.append(read_for_audit(data, page=page)[1])
    shutil.rmtree(splits)
    tables.append(read_for_audit(tmp_path, page=page)[1])
    for table in tables:
        for path, time in zip(table["path"], table["acquired"], strict=True):
            number, minute = path[-8], path[-2]
            assert time == f"2026-03-14T0{number}:0{minute}:00"


@pytest.mark.parametrize("dtype", ["<f8", "<f2", "<i8", "<u8", ">u4", ">f4", "<u2"])
def test_tiff_settings_whatever_the_type_of_the_pixels(tmp_path, dtype):
    time = datetime.datetime(2026, 3, 14, 10, 15, 2)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS.astype(dtype), byteorder=dtype[0], datetime=time)
    assert header_settings(path) == {"acquired": "2026-03-14T10:15:02"}


def test_settings_of_many_samples_print_nothing(tmp_path, caplog):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8, 128), np.uint16), planarconfig="contig")
    assert header_settings(tmp_path / "a.tif") == {}
    assert not caplog.text


def test_tiff_exposure_and_zone_of_exif():
    exif = Image.Exif()
    exif[306] = "2026:03:14 10:15:02"
    exif.get_ifd(34665).update({33434: 0.25, 36880: "+02:00"})
    tiff = exif.tobytes().removeprefix(b"Exif\0\0")
    with tifffile.TiffFile(io.BytesIO(tiff)) as file:
        tags = {tag.name: tag.value for tag in file.pages[0].tags}
    assert _tiff_page(tags) == {
        "exposure_s": "0.25", "detector": "", "acquired": "2026-03-14T10:15:02+02:00",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-01T13:00:00+02:00", "2026-03-01T11:00:00+00:00"),
        ("2026-03-01T11:05Z", "2026-03-01T11:05:00+00:00"),
        ("2026-03-01T23:30:00-05:00", "2026-03-02T04:30:00+00:00"),
        ("2026-03-01", None),
        ("20260301", None),
        ("0001-01-01T00:00+05:00", None),
    ],
)
def test_times_with_a_zone_are_in_utc_and_dates_are_not_midnight(text, utc):
    time = parsed_time(text)
    assert (time and time.isoformat()) == utc


@pytest.mark.parametrize(
    ("unit", "factor_to_s"),
    [("ms", 1e-3), ("Ms", None), ("MS", None), ("\N{MICRO SIGN}s", 1e-6),
     ("\N{GREEK SMALL LETTER MU}s", 1e-6), ("sec", 1.0), ("Seconds", 1.0), ("S", None), ("", None)],
)  # fmt: skip
def test_symbols_of_units_are_case_sensitive(unit, factor_to_s):
    assert factor(unit, SECONDS) == factor_to_s
    assert factor("MA", MILLIAMPERES) is None
    assert factor("kilovolt", KILOVOLTS) == factor("kV", KILOVOLTS) == 1


@pytest.mark.parametrize("written", [str, lambda unit: np.array([unit.encode()])])
def test_nexus_units(tmp_path, written):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        for name, kind in (
            ("entry", "NXentry"), ("entry/source", "NXsource"), ("entry/detector", "NXdetector")
        ):  # fmt: skip
            file.create_group(name).attrs["NX_class"] = kind
        file["entry/start_time"] = "2026-03-14T10:15:02"
        file["entry/source/voltage"] = np.float32(45000)
        file["entry/source/voltage"].attrs["units"] = written("V")
        file["entry/source/current"] = 80.0
        file["entry/source/current"].attrs["units"] = written("furlong")
        file["entry/detector/count_time"] = [500.0]
        file["entry/detector/count_time"].attrs["units"] = written("ms")
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
    for name, value in (("DATE-OBS", "2026-03-14"), ("TIME-OBS", "10:15:02")):
        fits.setval(tmp_path / "b.fits", name, value=value)
        found = {} if name == "DATE-OBS" else {"acquired": "2026-03-14T10:15:02"}
        assert header_settings(tmp_path / "b.fits") == found
    first.header["EXPOSURE"], image.header["TIME-OBS"] = 1.0, "23:00:00"
    first.header["DATE-OBS"] = "2026-01-01"
    del image.header["DATE-OBS"], image.header["EXPTIME"]
    image.header["EXPOSURE"] = 3.5
    fits.HDUList([first, image]).writeto(tmp_path / "c.fits")
    assert header_settings(tmp_path / "c.fits") == {"exposure_s": "3.5", "detector": "NEUTRA"}


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
