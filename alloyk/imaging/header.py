"""Settings of an exposure in the headers of DICOM, EDF, FITS, HIS, HDF5 / NeXus and TIFF files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from alloyk.errors import AlloykError
from alloyk.imaging.channels import channel_files
from alloyk.imaging.header_values import (
    KILOVOLTS,
    MILLIAMPERES,
    SECONDS,
    factor,
    number,
    text,
)
from alloyk.imaging.opening import with_open_image
from alloyk.imaging.pages import Page, split_page
from alloyk.imaging.times import joined_time, parsed_time

SETTINGS = (
    "tube_voltage_kvp", "tube_current_ma", "exposure_s", "frames_averaged", "detector", "acquired",
)  # fmt: skip
"""Names of the settings: numbers in the unit of the name, `acquired` in ISO 8601."""

_Found = dict[str, str]


def header_settings(path: str | Path) -> dict[str, str]:
    """Return the exposure settings in the header of an image, as text.

    Args:
        path: An image file; `FILE[2]` is its page, see `page_settings`.

    Returns:
        Some of `SETTINGS`; none for formats without such headers and for files that cannot be
        read, as reading the image gives the reason.
    """
    file, page = split_page(channel_files(path)[0])
    return page_settings(file, [page])[0]


def page_settings(file: str | Path, pages: Sequence[Page | None]) -> list[dict[str, str]]:
    """Return the exposure settings of pages of one file, which is opened once.

    What a page does not give itself is that of the first page. For a file as a whole (`None`), a
    mean or channels, it is what all pages share, and the time of the first.

    Args:
        file: An image file, without a page.
        pages: The pages.

    Returns:
        As `header_settings`, for each page.
    """
    try:
        found = with_open_image(file, _settings)
    except AlloykError:
        found = []
    each = [_known(settings) for settings in found] or [{}]
    each = [each[0] | settings for settings in each]
    return [_of_page(each, page) for page in pages]


def _of_page(each: Sequence[_Found], page: Page | None) -> _Found:
    if len(each) == 1:
        return dict(each[0])
    if isinstance(page, int):
        return dict(each[page]) if page < len(each) else {}
    return {
        name: value
        for name, value in each[0].items()
        if name == "acquired" or all(other[name] == value for other in each)
    }


def _known(found: Mapping[str, str]) -> _Found:
    if found.get("acquired") and parsed_time(found["acquired"]) is None:
        found = {**found, "acquired": ""}  # EDF and NeXus may hold any text
    return {name: found[name] for name in SETTINGS if found.get(name)}


def _settings(file: BinaryIO, kind: str) -> list[_Found]:
    reader = _READERS.get(kind)
    return reader(file) if reader else []


def _dicom(file: BinaryIO) -> list[_Found]:
    from alloyk.imaging import dicom

    dataset = dicom.header(file)
    return [_dicom_frame(parts) for parts in dicom.parts_of_frames(dataset)]


def _dicom_frame(parts: Sequence[Any]) -> _Found:
    """The settings of a frame: of its own groups, those of all frames and the data set."""

    def value(keyword: str) -> Any:
        return next((part[keyword].value for part in parts if part.get(keyword)), None)

    def first(**scales: float) -> str:
        values = ((value(keyword), scale) for keyword, scale in scales.items())
        return next((number(found, scale) for found, scale in values if found is not None), "")

    names = ("DetectorManufacturerModelName", "DetectorID", "ManufacturerModelName")
    return {
        "tube_voltage_kvp": first(KVP=1),
        "tube_current_ma": first(
            XRayTubeCurrent=1, XRayTubeCurrentInmA=1, XRayTubeCurrentInuA=1e-3
        ),
        "exposure_s": first(ExposureTime=1e-3, ExposureTimeInms=1e-3, ExposureTimeInuS=1e-6),
        "frames_averaged": first(NumberOfFramesIntegrated=1),
        "detector": next((text(value(name)) for name in names if value(name)), ""),
        "acquired": _dicom_time(value),
    }


def _dicom_time(value: Callable[[str], Any]) -> str:
    """The time of acquisition or else of the content; a date and a time belong together."""
    from pydicom.valuerep import DT

    stamps = [
        str(value(name) or "") for name in ("FrameAcquisitionDateTime", "AcquisitionDateTime")
    ]
    for kind in ("Acquisition", "Content"):
        day, time = value(f"{kind}Date"), value(f"{kind}Time")
        stamps.append(f"{day}{time}" if day and time else "")
    stamp = next((stamp.strip() for stamp in stamps if stamp), "")
    if not stamp[:10].isdigit() or len(stamp) < 10:  # a date needs at least the hour
        return ""
    zone = str(value("TimezoneOffsetFromUTC") or "").strip()
    try:
        found = DT(stamp if {"+", "-"} & set(stamp) else stamp + zone)
    except ValueError:
        return ""
    return found.isoformat() if found else ""


def _edf(file: BinaryIO) -> list[_Found]:
    from alloyk.imaging.edf import edf_headers

    return [_edf_frame(header) for header in edf_headers(file)]


def _edf_frame(found: Mapping[str, str]) -> _Found:
    header = {key.lower().replace("_", "").replace(" ", ""): found[key] for key in found}

    def first(*keys: str) -> str:
        return next((text(header[key]) for key in keys if header.get(key)), "")

    return {
        "tube_voltage_kvp": number(first("tubevoltagekvp", "voltagekv", "tubevoltagekv", "kv")),
        "tube_current_ma": number(first("tubecurrentma", "currentma", "ma")),
        "exposure_s": number(first("exposures", "exposuretime", "counttime")),
        "frames_averaged": number(first("framesaveraged", "nframesaveraged")),
        "detector": first("detector", "detectorname"),
        "acquired": first("acquired") or joined_time(first("date", "datetime"), first("time")),
    }


def _fits(file: BinaryIO) -> list[_Found]:
    """Read the keywords of the FITS standard, and those in use for the exposure and the tube."""
    from alloyk.imaging.fits import fits_headers

    headers = fits_headers(file)

    def first(*keys: str) -> str:
        return next(
            (text(header[key]) for header in headers for key in keys if header.get(key)), ""
        )

    # The date and the time are of one header.
    days = (
        joined_time(text(header["DATE-OBS"]), text(header.get("TIME-OBS")))
        for header in headers
        if header.get("DATE-OBS")
    )
    return [{
        "tube_voltage_kvp": number(first("KVP")),
        "exposure_s": number(first("EXPTIME", "EXPOSURE", "XPOSURE")),
        "detector": first("DETECTOR", "DETNAM", "INSTRUME"),
        "acquired": next(days, ""),
    }]  # fmt: skip


def _his(file: BinaryIO) -> list[_Found]:
    from alloyk.imaging.his import integration_time_us

    return [{"exposure_s": number(integration_time_us(file) or "", 1e-6)}]


def _hdf5(file: BinaryIO) -> list[_Found]:
    """Read what NeXus defines: `NXsource`, `NXdetector` and the start of the `NXentry`."""
    import h5py

    from alloyk.imaging.hdf5_tree import attribute, opened, walk

    groups: dict[str, Any] = {}

    with opened(file) as archive:
        for _, entry in walk(archive):
            if isinstance(entry, h5py.Group):
                groups.setdefault(attribute(entry, "NX_class"), entry)

        def value(kind: str, *names: str) -> Any:
            group = groups.get(kind, {})
            return next((group[name] for name in names if name in group), None)

        source, detector = "NXsource", "NXdetector"
        columns = {
            "tube_voltage_kvp": _with_unit(value(source, "voltage"), KILOVOLTS),
            "tube_current_ma": _with_unit(value(source, "current"), MILLIAMPERES),
            "exposure_s": _with_unit(value(detector, "count_time"), SECONDS, "s"),
            "detector": _values(value(detector, "local_name", "description", "type")),
            "acquired": _values(value("NXentry", "start_time")),
        }
    frames = max(map(len, columns.values()))
    return [
        {
            name: values[0 if len(values) == 1 else frame]
            for name, values in columns.items()
            if len(values) in (1, frames)
        }
        for frame in range(frames)
    ]


def _with_unit(value: Any, units: Mapping[str, float], default: str = "") -> list[str]:
    """NeXus numbers in the unit of the setting; none if their unit is unknown."""
    from alloyk.imaging.hdf5_tree import attribute

    if value is None:
        return []
    scale = factor(attribute(value, "units") if "units" in value.attrs else default, units)
    return [] if scale is None else [number(found, scale) for found in _values(value)]


def _values(value: Any) -> list[str]:
    """A NeXus value, or one of each frame."""
    if value is None or not hasattr(value, "ndim") or value.ndim > 1:
        return []
    found = value[()]
    return [text(one) for one in found.tolist()] if value.ndim else [text(found)]


def _tiff(file: BinaryIO) -> list[_Found]:
    """Read the baseline tags DateTime, Make and Model and Exif's ExposureTime and OffsetTime."""
    from alloyk.imaging.tiff import tags_of_pages

    return [_tiff_page(tags) for tags in tags_of_pages(file)]


def _tiff_page(tags: Mapping[str, Any]) -> _Found:
    exif = tags.get("ExifTag")
    exif = exif if isinstance(exif, Mapping) else {}
    exposure = exif.get("ExposureTime", tags.get("ExposureTime", ""))
    if isinstance(exposure, Sequence) and len(exposure) == 2:  # numerator and denominator
        exposure = float(exposure[0]) / float(exposure[1]) if exposure[1] else ""
    day, _, time = text(tags.get("DateTime")).partition(" ")
    moment = joined_time(day.replace(":", "-"), time)
    zone = text(exif.get("OffsetTime", tags.get("OffsetTime")))
    return {
        "exposure_s": number(exposure),
        "detector": _joined(text(tags.get(name)) for name in ("Make", "Model")),
        "acquired": moment + zone if parsed_time(moment + zone) else moment,
    }


def _joined(words: Iterable[str]) -> str:
    return " ".join(word for word in words if word)


_READERS: dict[str, Callable[[BinaryIO], list[_Found]]] = {
    "dicom": _dicom, "edf": _edf, "fits": _fits, "his": _his, "hdf5": _hdf5, "tiff": _tiff,
}  # fmt: skip
