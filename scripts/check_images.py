"""Read images that other programs wrote, and compare every pixel with a second reader.

    python scripts/check_images.py [--every N]

Nothing is fetched: the files are those that pydicom and scikit-image bring along, and what Pillow's
and tifffile's writers make, among them a matrix of TIFF (number type, byte order, compression,
predictor, photometric, planes, tiles, channels). Each file must be equal to a second reader (for
written files: to what was written), or be refused for a reason that holds. Exit code 1 otherwise.
"""

import argparse
import importlib.util
import io
import itertools
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alloyk.errors import AlloykError
from alloyk.imaging import page_count, read_image

EQUAL, REFUSED, WRONG = "equal", "refused", "wrong"


class Case(NamedTuple):
    """A file, what it holds, and why it may be refused.

    Attributes:
        name: For the report.
        source: Path or bytes.
        expected: `(height, width, 1 or 3)`, or the error of a second reader; None: no image.
        reason: Part of the message by which it must be refused, or "".
        atol: Largest difference that counts as equal.
    """

    name: str
    source: Path | bytes
    expected: np.ndarray | None
    reason: str = ""
    atol: float = 0.0


def judged(case: Case) -> tuple[str, str]:
    """Return `EQUAL`, `REFUSED` or `WRONG`, and a sentence."""
    try:
        several = page_count(case.source) > 1 if isinstance(case.source, Path) else False
        found = read_image(case.source, page=0 if several else None)
    except AlloykError as error:
        message = str(error)
        is_true = bool(case.reason) and case.reason in message
        return (REFUSED if is_true else WRONG), message
    if case.reason or case.expected is None:
        return WRONG, f"read, but must be refused ({case.reason})"
    expected = case.expected
    if found.shape != expected.shape:
        return WRONG, f"shape {found.shape}, not {expected.shape}"
    if not np.allclose(found.astype(float), expected.astype(float), rtol=0, atol=case.atol):
        return WRONG, f"differs by up to {np.abs(found.astype(float) - expected).max():g}"
    return EQUAL, ""


# --- TIFF by tifffile ---------------------------------------------------------------------------

_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8")
_COMPRESSIONS = (None, "lzw", "deflate", "packbits", "zstd", "lzma")
_LAYOUTS = (  # photometric, samples, planes apart
    ("minisblack", 1, False), ("miniswhite", 1, False), ("minisblack", 2, False),
    ("rgb", 3, False), ("rgb", 3, True), ("rgb", 4, False),
)  # fmt: skip


def tiff_matrix(every: int = 1) -> Iterator[Case]:
    """Yield TIFF of every kind that tifffile writes, more than 1,000, or each Nth of them."""
    rng = np.random.default_rng(0)
    kinds = itertools.product(_TYPES, "<>", _COMPRESSIONS, (False, True), (False, True), _LAYOUTS)
    for dtype, order, compression, predictor, tiled, layout in itertools.islice(
        kinds, 0, None, every
    ):
        if predictor and compression in (None, "packbits"):
            continue
        photometric, samples, planar = layout
        pixels = _pixels(rng, np.dtype(dtype), (20, 18, samples))
        stored = np.moveaxis(pixels, -1, 0) if planar else pixels
        stored = stored[..., 0] if samples == 1 else stored
        options = {
            "photometric": photometric, "compression": compression, "predictor": predictor,
            "tile": (16, 16) if tiled else None, "byteorder": order,
            "planarconfig": ("separate" if planar else "contig") if samples > 1 else None,
            "extrasamples": {2: ["unspecified"], 4: ["unassalpha"]}.get(samples),
        }  # fmt: skip
        content = _written(stored, options)
        if content is None:
            continue
        name = f"TIFF {order}{dtype} {compression} predictor={predictor} tiled={tiled} {layout}"
        reason = "channels marked as gray" if samples == 2 else ""
        yield Case(name, content, _as_read(pixels, photometric), reason)


def _pixels(rng: np.random.Generator, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    if dtype.kind == "f":
        return rng.normal(0, 1000, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def _as_read(pixels: np.ndarray, photometric: str) -> np.ndarray:
    if photometric != "miniswhite":
        return pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., :1]
    if pixels.dtype.kind == "f":
        return -pixels
    return ~pixels if pixels.dtype.kind == "i" else np.iinfo(pixels.dtype).max - pixels


def _written(stored: np.ndarray, options: dict) -> bytes | None:
    """Return the file, or None where tifffile does not write this kind."""
    import tifffile

    buffer = io.BytesIO()
    byteorder = options.pop("byteorder")
    try:
        with tifffile.TiffWriter(buffer, byteorder=byteorder) as writer:
            writer.write(stored, **options, metadata=None)
    except (ValueError, NotImplementedError, TypeError, RuntimeError):
        return None
    return buffer.getvalue()


# --- Pillow's writers ---------------------------------------------------------------------------

_MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "JPEG": ("L", "RGB", "CMYK"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"),
}
_TIFF_COMPRESSIONS = (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4")
_ONLY = {"jpeg": ("L", "RGB"), "group4": ("1",)}


def pillow_files(every: int = 1) -> Iterator[Case]:
    """Yield what Pillow writes of every mode; Pillow's own reading is what is expected."""
    from PIL import Image

    rng = np.random.default_rng(1)
    gray = Image.fromarray(rng.integers(0, 256, (24, 20), np.uint8))
    gray16 = Image.fromarray(rng.integers(0, 65536, (24, 20), np.uint16))
    colour = Image.fromarray(rng.integers(0, 256, (24, 20, 4), np.uint8))
    for kind, modes in _MODES.items():
        kinds = itertools.product(modes, _TIFF_COMPRESSIONS if kind == "TIFF" else (None,))
        for mode, compression in itertools.islice(kinds, 0, None, every):
            if mode not in _ONLY.get(compression or "", modes):
                continue
            if mode == "I;16":
                image = gray16
            else:
                image = (gray if mode in ("1", "L", "LA", "P", "I", "F") else colour).convert(mode)
            options = {"compression": compression} if compression else {}
            buffer = io.BytesIO()
            try:
                image.save(buffer, kind, **options)
            except (OSError, ValueError, KeyError):
                continue  # Pillow does not write it
            content = buffer.getvalue()
            lossy = kind == "JPEG" or compression == "jpeg"
            yield Case(
                f"Pillow {kind} {mode} {compression or ''}", content, by_pillow(content),
                atol=1.0 if lossy else 0.0,
            )  # fmt: skip


def by_pillow(source: Path | bytes) -> np.ndarray:
    """Return what Pillow reads, as gray or RGB."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode in ("1", "LA"):
        image = image.convert("L")
    elif image.mode not in ("L", "I", "F") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    array = np.asarray(image)
    return array if array.ndim == 3 else array[..., None]


def by_libpng(path: Path) -> np.ndarray:
    """Return what Pillow reads; a 16-bit colour PNG, of which Pillow keeps 8, by imagecodecs."""
    import imagecodecs

    array = imagecodecs.png_decode(path.read_bytes())
    return array[..., :3] if array.dtype == np.uint16 and array.ndim == 3 else by_pillow(path)


# --- Files that packages bring along --------------------------------------------------------------


def package_folder(package: str) -> Path | None:
    """Return the folder of an installed package, or None."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found and found.origin else None


def pydicom_files(every: int = 1) -> Iterator[Case]:
    """Yield pydicom's test files; pydicom's own decoding is what is expected."""
    top = package_folder("pydicom")
    paths = sorted((top / "data" / "test_files").rglob("*")) if top else []
    for path in paths[::every]:
        if path.suffix in (".dcm", "") and path.is_file():
            expected, reason = by_pydicom(path)
            yield Case(f"pydicom {path.name}", path, expected, reason)


def by_pydicom(path: Path) -> tuple[np.ndarray | None, str]:
    """Return the first frame as pydicom decodes it, or why there is none to be read."""
    import pydicom
    from pydicom import pixels

    head = path.read_bytes()[:132]
    if head[128:132] != b"DICM":
        return None, "is not"  # without the mark nothing says that it is DICOM
    try:
        dataset = pydicom.dcmread(path)
    except Exception:
        return None, "cannot read the image"
    if dataset.file_meta.get("MediaStorageSOPClassUID") == "1.2.840.10008.1.3.10":
        return None, "DICOMDIR"
    if "Rows" not in dataset or "PhotometricInterpretation" not in dataset:
        return None, "without an image" if "Rows" not in dataset else "cannot read the image"
    try:
        array = pixels.pixel_array(dataset, index=0)
    except Exception as error:
        return None, (
            "needs another decoder"
            if "missing dependencies" in str(error)
            else "cannot read the image"
        )
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        array = pixels.apply_color_lut(array, dataset)
        return (array >> 8 if array.dtype == np.uint16 else array), ""
    if array.ndim == 3:
        return array[..., :3], ""
    turned = photometric == "MONOCHROME1"
    if turned and "ModalityLUTSequence" not in dataset:
        bits = int(dataset.BitsStored)
        array = ~array if array.dtype.kind == "i" else array.dtype.type(2**bits - 1) - array
    values = np.asarray(pixels.apply_modality_lut(array, dataset))
    return values[..., None].astype(np.float32 if values.dtype.kind == "f" else values.dtype), ""


def skimage_files(every: int = 1) -> Iterator[Case]:
    """Yield the pictures that lie in scikit-image's folder; libraries' decoding is expected."""
    import tifffile

    top = package_folder("skimage")
    paths = sorted((top / "data").iterdir()) if top else []
    for path in paths[::every]:
        if path.suffix == ".png":
            expected = by_libpng(path)
        elif path.suffix in (".jpg", ".bmp"):
            expected = by_pillow(path)
        elif path.suffix in (".tif", ".tiff"):
            array = tifffile.imread(path, key=0)
            if array.shape[0] == 3:
                array = np.moveaxis(array, 0, -1)
            expected = array if array.ndim == 3 else array[..., None]
        else:
            continue
        yield Case(f"scikit-image {path.name}", path, expected)


SOURCES = (tiff_matrix, pillow_files, pydicom_files, skimage_files)


def main() -> int:
    """Check all files, or every Nth; print the counts, the reasons and what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="check each Nth file")
    parser.add_argument("--reasons", action="store_true", help="print each refusal")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    total: Counter[str] = Counter()
    for source in SOURCES:
        counts: Counter[str] = Counter()
        for case in source(arguments.every):
            verdict, why = judged(case)
            counts[verdict] += 1
            if verdict == WRONG or (verdict == REFUSED and arguments.reasons):
                print(f"{verdict}: {case.name}: {why}")
        print(f"{source.__name__}: {dict(counts)}")
        total += counts
    print(f"all {total.total()}: {dict(total)}")
    return 1 if total[WRONG] else 0


if __name__ == "__main__":
    sys.exit(main())
