"""Measure all images of a data set in parallel, reading each once."""

import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike

from alloyk.auditing.defects import Defects
from alloyk.auditing.measure import DETAIL, THUMB, Measures, measure_image
from alloyk.auditing.pixel_budget import PixelBudget
from alloyk.errors import AlloykError
from alloyk.imaging import FileSettings, describe_files, described_folders, image_size
from alloyk.progress import Advance
from alloyk.runtime.cores import available_cores
from alloyk.runtime.processes import in_order, in_processes, processes_for

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 16
"""Number of images that a worker measures at a time."""

Chunk = tuple[int, Sequence[Path]]
"""The first row of some images, and their paths."""

SECONDS_PER_IMAGE = 3e-3
"""How long an image takes at least, roughly, on one core: with many short calls of NumPy."""

SMALL_PIXELS = 2**18
"""Larger images are measured in threads: these share the memory for their pixels, and seldom wait
for Python's lock."""

SAMPLED = 16
"""About as many images are looked at for their size."""

PIXELS_AT_ONCE = 2**25
"""All workers together measure as many, or one larger image: some 18 bytes for each."""

NUMBERS = (
    "height", "width", "low", "high", "low_share", "high_share", "mean", "noise", "snr",
    "sharpness",
)  # fmt: skip
TEXTS = ("mode", "dtype", "format")
COLUMNS = (*NUMBERS, *TEXTS, "digest")

MAPPED_BYTES = 2**26
"""Larger arrays are in a temporary file, whose pages the system takes back when it needs them."""


@dataclass(frozen=True, eq=False)
class Scan:
    """The measures of n images, in the given order.

    Attributes:
        measures: One row per image with the columns `COLUMNS`, `NUMBERS` as float64; NaN or None
            for an unreadable image.
        errors: Row → reason why the image cannot be read.
        border: `(n, 4)` float32.
        thumbs: `(n, 16, 16)` float16.
        equalized: `(n, 16, 16)` float16.
        signatures: `(n, 1024)` int8.
        defects: Row → defects of the image, if any.

    For an unreadable image, signatures are 0 and the other arrays NaN. Total size: 2.3 kB each,
    2 kB of them in temporary files if there are many images.
    """

    measures: "pd.DataFrame"
    errors: dict[int, str]
    border: np.ndarray
    thumbs: np.ndarray
    equalized: np.ndarray
    signatures: np.ndarray
    defects: dict[int, Defects] = field(default_factory=dict)

    @property
    def readable(self) -> np.ndarray:
        """`(n,)` bool."""
        found = np.ones(len(self.measures), bool)
        found[list(self.errors)] = False
        return found


def scan_images(
    paths: Sequence[Path],
    advance: Advance = lambda _: None,
    measured: Iterable[tuple[int, list[Measures | str]]] | None = None,
) -> Scan:
    """Read and measure images on all cores; unreadable ones are recorded without an error.

    Args:
        paths: Image files.
        advance: Called with the number of images done since the last call.
        measured: Rows of images and their measures, in any order; by default measured here.
    """
    import pandas as pd

    count = len(paths)
    numbers = np.full((len(NUMBERS), count), np.nan)
    texts = {name: np.full(count, None, object) for name in TEXTS}
    digests = np.full(count, None, object)
    errors: dict[int, str] = {}
    defects: dict[int, Defects] = {}
    border = np.full((count, 4), np.nan, np.float32)
    thumbs = _zeros((count, THUMB, THUMB), np.float16)
    equalized = _zeros((count, THUMB, THUMB), np.float16)
    signatures = _zeros((count, DETAIL * DETAIL), np.int8)
    for start, chunk in measure_images(paths) if measured is None else measured:
        for row, found in enumerate(chunk, start):
            if isinstance(found, str):
                errors[row] = found
                thumbs[row] = equalized[row] = np.nan
                continue
            numbers[:, row] = [getattr(found, name) for name in NUMBERS]
            for name in TEXTS:
                texts[name][row] = sys.intern(getattr(found, name))
            digests[row] = found.digest
            border[row], signatures[row] = found.border, found.signature
            thumbs[row], equalized[row] = found.thumb, found.equalized
            if found.defects:
                defects[row] = found.defects
        advance(len(chunk))
    columns = {**dict(zip(NUMBERS, numbers, strict=True)), **texts, "digest": digests}
    table = pd.DataFrame({name: columns[name] for name in COLUMNS}, copy=False)
    return Scan(table, errors, border, thumbs, equalized, signatures, defects)


def _zeros(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An array of zeros, in a temporary file if it is large."""
    if math.prod(shape) * np.dtype(dtype).itemsize <= MAPPED_BYTES:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(prefix="alloyk-audit-") as file:  # it stays until it is unmapped
        return np.memmap(file, dtype, "w+", shape=shape).view(np.ndarray)


def measure_images(paths: Sequence[Path]) -> Iterator[tuple[int, list[Measures | str]]]:
    """Yield (first row, measures from that row on) in order; few are in memory at a time.

    An image that cannot be read is replaced by the reason.
    """
    chunks = ((start, paths[start : start + CHUNK]) for start in range(0, len(paths), CHUNK))
    count = processes_for(len(paths) * SECONDS_PER_IMAGE)
    if count > 1 and _are_small(paths):
        yield from in_processes(_Measurer(described_folders(), count), chunks, count)
        return
    workers = available_cores()
    with ThreadPoolExecutor(workers) as pool:
        yield from in_order(pool, _Measurer()(), chunks, ahead=4 * workers)


def _are_small(paths: Sequence[Path]) -> bool:
    """Whether no image of a sample has more than `SMALL_PIXELS`."""

    def pixels(path: Path) -> int:
        try:
            return math.prod(image_size(path))
        except AlloykError:
            return 0  # measuring will find out why

    return max(map(pixels, paths[:: max(len(paths) // SAMPLED, 1)])) <= SMALL_PIXELS


@dataclass(frozen=True)
class _Measurer:
    """Makes the function that measures a chunk of images, in a process of its own or in threads.

    Attributes:
        described: Folder → how its files are read, where another process has to know.
        processes: Number of processes that share `PIXELS_AT_ONCE`.
    """

    described: Mapping[str, FileSettings] = field(default_factory=dict)
    processes: int = 1

    def __call__(self) -> Callable[[Chunk], tuple[int, list[Measures | str]]]:
        for folder, settings in self.described.items():
            describe_files(folder, settings)
        budget = PixelBudget(PIXELS_AT_ONCE // self.processes)

        def measure(chunk: Chunk) -> tuple[int, list[Measures | str]]:
            start, paths = chunk
            return start, [_measures_or_error(path, budget) for path in paths]

        return measure


def _measures_or_error(path: Path, budget: PixelBudget) -> Measures | str:
    try:
        height, width = image_size(path)
        with budget.hold(height * width):
            return measure_image(path)
    except AlloykError as error:
        return str(error)
