"""Seconds to average all pages of a file: as alloyk reads them, and each page by itself.

    python scripts/bench_stacks.py [--pages 100 400] [--side 64]

Writes TIFF and DICOM files of random 16-bit pages into a temporary folder, checks that both ways
give the same mean, and prints the median of `--turns` turns, and that of the library alone.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import tifffile

from alloyk.imaging import read_image


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    print(f"{'':6s} {'pages':>5s} {'alloyk':>8s} {'one by one':>11s} {'library':>8s}")
    with tempfile.TemporaryDirectory() as folder:
        for pages in options.pages:
            shape = (pages, options.side, options.side)
            stack = np.random.default_rng(0).integers(0, 2**16, shape, np.uint16)
            for kind, (write, library) in KINDS.items():
                file = Path(folder) / f"{pages}.{kind}"
                write(file, stack)
                ways: list[Callable[[], np.ndarray]] = [
                    lambda file=file: read_image(f"{file}[mean]")[..., 0],
                    lambda file=file, pages=pages: one_by_one(file, pages),
                    lambda file=file, library=library: library(file).mean(axis=0),
                ]
                for way in ways:
                    np.testing.assert_allclose(way(), stack.mean(axis=0), rtol=1e-6)
                taken = [[seconds(way) for way in ways] for _ in range(options.turns)]
                one, other, least = map(statistics.median, zip(*taken, strict=True))
                print(f"{kind:6s} {pages:5d} {one:8.3f} {other:11.3f} {least:8.3f}", flush=True)


def one_by_one(file: Path, pages: int) -> np.ndarray:
    total = sum(read_image(f"{file}[{page}]")[..., 0].astype(np.float64) for page in range(pages))
    return np.asarray(total) / pages


def seconds(way: Callable[[], object]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def write_tiff(file: Path, stack: np.ndarray) -> None:
    with tifffile.TiffWriter(file) as writer:
        for page in stack:
            writer.write(page, photometric="minisblack", contiguous=False, metadata=None)


def write_dicom(file: Path, stack: np.ndarray) -> None:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3"
    dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = stack.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    dataset.PixelData = stack.tobytes()
    dataset.save_as(file, enforce_file_format=True)


KINDS = {
    "tif": (write_tiff, tifffile.imread),
    "dcm": (write_dicom, pydicom.pixels.pixel_array),
}


if __name__ == "__main__":
    main()
