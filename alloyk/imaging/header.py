"""Settings of an exposure in the headers of DICOM, EDF, FITS, HIS, HDF5 / NeXus and TIFF files."""

import datetime
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from alloyk.errors import AlloykError
from alloyk.imaging.opening import with_open_image
from alloyk.imaging.pages import image_file

SETTINGS = (
    "tube_voltage_kvp", "tube_current_ma", "exposure_s", "frames_averaged", "detector", "acquired",
)  # fmt: skip
"""Names of the settings: numbers in the unit of the name, `acquired` in ISO 8601."""


def parsed_time(text: str) -> datetime.datetime | None:
    """A time in ISO 8601 without its zone, or None.

    >>> parsed_time("2026-03-01T12:30:00+01:00"), parsed_time("noon")
    (datetime.datetime(2026, 3, 1, 12, 30), None)
    """
    try:
        return datetime.datetime.fromisoformat(text.strip()).replace(tzinfo=None)
    except ValueError:
        return None


def header_settings(path: str | Path) -> dict[str, str]:
    """Return the exposure settings in the header of an image file, as text.

    Args:
        path: An image file.

    Returns:
        Some of `SETTINGS`; none for formats without such headers and for files that cannot be
        read, as reading the image gives the reason.
    """
    try:
        found = with_open_image(image_file(path), _settings)
    except AlloykError:
        return {}
    if found.get("acquired") and parsed_time(found["acquired"]) is None:
        del found["acquired"]  # EDF and NeXus may hold any text
    return {name: found[name] for name in SETTINGS if found.get(name)}


def _settings(file: BinaryIO, kind: str) -> dict[str, str]:
    reader = _READERS.get(kind)
    return reader(file) if reader else {}


def _dicom(file: BinaryIO) -> dict[str, str]:
    from alloyk.imaging import dicom

    dataset = dicom.header(file)

    def number(unit: float, *keywords: str) -> str:
        for keyword, scale in zip(keywords, (unit, unit / 1000), strict=False):
            value = dataset.get(keyword)
            if value not in (None, ""):
                return _number(value, scale)
        return ""

    names = ("DetectorManufacturerModelName", "DetectorID", "ManufacturerModelName")
    day = str(dataset.get("AcquisitionDate") or dataset.get("ContentDate") or "")
    time = str(dataset.get("AcquisitionTime") or dataset.get("ContentTime") or "")
    stamp = str(dataset.get("AcquisitionDateTime") or (day + time if day and time else ""))
    return {
        "tube_voltage_kvp": number(1, "KVP"),
        "tube_current_ma": number(1, "XRayTubeCurrent", "XRayTubeCurrentInuA"),
        "exposure_s": number(1e-3, "ExposureTime", "ExposureTimeInuS"),
        "frames_averaged": number(1, "NumberOfFramesIntegrated"),
        "detector": next((_text(dataset.get(name)) for name in names if dataset.get(name)), ""),
        "acquired": _time(stamp, "%Y%m%d%H%M%S"),
    }


def _edf(file: BinaryIO) -> dict[str, str]:
    from alloyk.imaging.edf import edf_header

    header = {
        key.lower().replace("_", "").replace(" ", ""): value
        for key, value in edf_header(file).items()
    }

    def first(*keys: str) -> str:
        return next((str(header[key]) for key in keys if header.get(key)), "")

    return {
        "tube_voltage_kvp": _number(first("tubevoltagekvp", "voltagekv", "tubevoltagekv", "kv"), 1),
        "tube_current_ma": _number(first("tubecurrentma", "currentma", "ma"), 1),
        "exposure_s": _number(first("exposures", "exposuretime", "counttime"), 1),
        "frames_averaged": _number(first("framesaveraged", "nframesaveraged"), 1),
        "detector": _text(first("detector", "detectorname")),
        "acquired": _text(first("acquired", "date", "datetime")),
    }


def _fits(file: BinaryIO) -> dict[str, str]:
    """Read the keywords of the FITS standard, and those in use for the exposure and the tube."""
    from alloyk.imaging.fits import fits_header

    header = fits_header(file)

    def first(*keys: str) -> str:
        return next((_text(header[key]) for key in keys if header.get(key)), "")

    return {
        "tube_voltage_kvp": _number(first("KVP"), 1),
        "exposure_s": _number(first("EXPTIME", "EXPOSURE", "XPOSURE"), 1),
        "detector": first("DETECTOR", "DETNAM", "INSTRUME"),
        "acquired": first("DATE-OBS"),
    }


def _his(file: BinaryIO) -> dict[str, str]:
    from alloyk.imaging.his import integration_time_us

    return {"exposure_s": _number(integration_time_us(file) or "", 1e-6)}


# Unit of a NeXus value → factor to kV, mA and s.
_KILOVOLTS = {"kv": 1.0, "v": 1e-3}
_MILLIAMPERES = {"ma": 1.0, "a": 1e3, "ua": 1e-3, "µa": 1e-3}
_SECONDS = {"s": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}


def _hdf5(file: BinaryIO) -> dict[str, str]:
    """Read what NeXus defines: `NXsource`, `NXdetector` and the start of the `NXentry`."""
    import h5py

    from alloyk.imaging.hdf5 import opened

    groups: dict[str, Any] = {}

    def look(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Group):
            groups.setdefault(_text(entry.attrs.get("NX_class", "")), entry)

    archive = opened(file)
    archive.visititems(look)

    def value(kind: str, *names: str) -> Any:
        group = groups.get(kind, {})
        return next((group[name] for name in names if name in group), None)

    source, detector = "NXsource", "NXdetector"
    return {
        "tube_voltage_kvp": _with_unit(value(source, "voltage"), _KILOVOLTS),
        "tube_current_ma": _with_unit(value(source, "current"), _MILLIAMPERES),
        "exposure_s": _with_unit(value(detector, "count_time"), _SECONDS, "s"),
        "detector": _scalar(value(detector, "local_name", "description", "type")),
        "acquired": _scalar(value("NXentry", "start_time")),
    }


def _tiff(file: BinaryIO) -> dict[str, str]:
    """Read the baseline tags DateTime, Make and Model and Exif's ExposureTime."""
    from PIL import Image

    with Image.open(file) as image:
        exif = image.getexif()
        exposure = exif.get_ifd(0x8769).get(33434, "")
        detector = " ".join(_text(exif.get(tag)) for tag in (271, 272) if exif.get(tag))
        stamp = _text(exif.get(306, ""))
    return {
        "exposure_s": _number(exposure, 1),
        "detector": detector,
        "acquired": _time(stamp, "%Y:%m:%d %H:%M:%S"),
    }


def _with_unit(value: Any, units: Mapping[str, float], default: str = "") -> str:
    """A NeXus number in the unit of the setting; empty if its unit is unknown."""
    if value is None:
        return ""
    unit = _text(value.attrs.get("units", default)).lower()
    return _number(_scalar(value), units[unit]) if unit in units else ""


def _scalar(value: Any) -> str:
    if value is None or getattr(value, "size", 1) != 1:
        return ""
    found = value[()]
    return _text(found.item() if getattr(found, "shape", ()) else found)


def _number(value: Any, scale: float) -> str:
    try:
        number = float(value) * scale
    except (TypeError, ValueError):
        return ""
    return f"{number:.10g}" if math.isfinite(number) else ""


def _text(value: Any) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
    return " ".join(text.replace("\0", " ").split())


def _time(stamp: str, layout: str) -> str:
    """A time stamp in ISO 8601; empty if it is invalid."""
    whole, _, fraction = re.split("[+-]", stamp, maxsplit=1)[0].partition(".")
    # strptime would take shorter ones apart in its own way.
    if len(whole) != len(datetime.datetime(2000, 1, 1).strftime(layout)):
        return ""
    try:
        time = datetime.datetime.strptime(whole, layout)
    except ValueError:
        return ""
    digits = fraction[:6] if fraction[:6].isdigit() else ""
    return time.isoformat() + (f".{digits}" if digits.strip("0") else "")


_READERS: dict[str, Callable[[BinaryIO], dict[str, str]]] = {
    "dicom": _dicom, "edf": _edf, "fits": _fits, "his": _his, "hdf5": _hdf5, "tiff": _tiff,
}  # fmt: skip
