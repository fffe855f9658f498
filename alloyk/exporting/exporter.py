"""Export a run to a file for the device; a file that disagrees with the original is deleted.

The file is written under a temporary name and compared with the original model on every image of
the run's test split. It is renamed only if all predictions match.
"""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alloyk import __version__
from alloyk.errors import AlloykError
from alloyk.exporting.agreement import (
    ESTIMATE_TOLERANCE,
    Agreement,
    classify_both,
    compare,
    compare_with_recorded,
    refuse_disagreement,
)
from alloyk.exporting.conversion import FORMATS
from alloyk.files import unfinished_path
from alloyk.imaging import read_image, shown
from alloyk.inference import Classifier, load
from alloyk.inference.latency import single_thread_latency
from alloyk.inference.metadata import PROBABILITIES, write_metadata
from alloyk.inference.novelty import write_detector
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.destination import refuse_run_file
from alloyk.runs.folder import RunFolder
from alloyk.runs.run_data import open_run_data

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportReport:
    """Result of an export.

    Attributes:
        path: The file, or the folder.
        format: Key of `FORMATS`.
        input_shape: `(height, width, channels)` of its input images, with None for any size.
        agreement: Agreement with the original model on the raw images of the test split.
        tolerance: Largest allowed `max |Δp|`.
        allowed: Column → largest allowed difference of its estimates.
        resized: Number of these images that were resized to the file's input size for both models.
        recorded: Agreement with the run's recorded predictions; None if those are of other images,
            or if images were resized.
        size_bytes: Size of the file or folder.
        latency_seconds: Latency for one image of `timed_shape` on one thread.
        timed_shape: `(height, width, channels)`.
    """

    path: Path
    format: str
    input_shape: tuple[int | None, int | None, int | None]
    agreement: Agreement
    tolerance: float
    allowed: Mapping[str, float]
    resized: int
    recorded: Agreement | None
    size_bytes: int
    latency_seconds: float
    timed_shape: tuple[int, int, int]


def export_run(
    run: str | Path,
    file_format: str,
    out: str | Path,
    *,
    input_size: tuple[int, int] | None = None,
    data: str | Path | None = None,
    progress: Progress = NO_PROGRESS,
) -> ExportReport:
    """Export a run, and compare the file with the original on the whole test split.

    Args:
        run: Run folder.
        file_format: Key of `FORMATS`.
        out: The file or folder to write; it must not exist.
        input_size: `(height, width)` of the raw images, for a format of fixed size; by default
            that of the test images.
        data: The run's data set; by default at its path in training.
        progress: Shows how far it is, see `alloyk.progress`.

    Raises:
        AlloykError: `out` exists or cannot be written, the run or its data set does not exist, the
            test images differ in size, the model cannot be converted, or the two disagree.
    """
    run, out = Path(run), Path(out)
    chosen = FORMATS[file_format]
    _check_out(out, file_format)
    if input_size and not chosen.fixed_shape:
        raise AlloykError(f"{file_format} takes images of any size; omit --input-size")
    RunFolder(run).require_model()  # before its images are searched for
    refuse_run_file(out, run)
    dataset = open_run_data(run, data)
    for note in dataset.notes:
        logger.warning(note)
    names, paths = list(dataset.split("test")["path"]), dataset.paths("test")
    if not paths:
        raise AlloykError(
            f"{shown(dataset.root)} must have test images to compare the export on, got none"
        )
    shapes = _shapes(paths)
    usual_shape = shapes.most_common(1)[0][0]

    logger.info(f"loading {shown(run)}")
    original = load(run)
    image_shape = original.input_shape
    if chosen.fixed_shape:
        image_shape = _input_shape(shapes, input_size, original)
    with unfinished_path(out) as unfinished:
        logger.info(f"converting to {file_format}")
        chosen.write(original.backend.full_model, unfinished, image_shape)
        _describe(unfinished, original)
        exported = load(unfinished)
        logger.info(f"comparing both models on {len(paths)} test images")
        with progress.task("comparing", len(paths)) as advance:
            expected, found = classify_both(original, exported, paths, names, advance)
        agreement = compare(names, expected, found)
        allowed = {name: ESTIMATE_TOLERANCE * x for name, x in original.spreads.items()}
        refuse_disagreement(agreement, chosen.tolerance, allowed, file_format, run)
        resized = _count_resized(shapes, image_shape[:2])
        timed_shape = image_shape if chosen.fixed_shape else usual_shape
        logger.info("timing")
        return ExportReport(
            path=out,
            format=file_format,
            input_shape=image_shape,
            agreement=agreement,
            tolerance=chosen.tolerance,
            allowed=allowed,
            resized=resized,
            recorded=None if resized else compare_with_recorded(run, names, original, found),
            size_bytes=_size_bytes(unfinished),
            latency_seconds=single_thread_latency(unfinished, timed_shape),
            timed_shape=timed_shape,
        )


def _shapes(paths: Sequence[Path | str]) -> Counter[tuple[int, ...]]:
    """Count the shapes of images."""
    logger.info(f"reading {len(paths)} test images")
    with ThreadPoolExecutor() as pool:
        return Counter(pool.map(lambda path: read_image(path).shape, paths))


def _describe(file: Path, original: Classifier) -> None:
    """Write the metadata and the novelty detector of the original into an exported file."""
    write_metadata(file, replace(original.metadata, output=PROBABILITIES, alloyk=__version__))
    if original.detector is not None:
        write_detector(file, original.detector)


def _count_resized(shapes: Counter[tuple[int, ...]], size: tuple[int | None, int | None]) -> int:
    """Number of images that do not have the input size; 0 for a model of any size."""
    if None in size:
        return 0
    return sum(count for shape, count in shapes.items() if shape[:2] != size)


def format_report(report: ExportReport) -> str:
    """Format a report as the table that `alloyk export` prints."""
    agreement = report.agreement
    images = f"{agreement.images:,} (the whole test split)"
    if report.resized:
        height, width = report.input_shape[:2]
        images += f", {report.resized:,} of them resized to {height}x{width} for both"
    shape = "x".join(map(str, report.timed_shape))
    rows = [
        ("file", str(report.path)),
        ("format", f"{report.format}, input {_described(report.input_shape)}"),
        ("compared with", f"{RunFolder('').model_file.name} of the run, on the raw images"),
        ("images compared", images),
        ("predictions that differ", str(len(agreement.differing))),
        ("max |Δp|", f"{agreement.max_difference:.1e} (allowed: {report.tolerance:.0e})"),
        *(
            (f"max |Δ {name}|", f"{difference:.1e} (allowed: {report.allowed[name]:.0e})")
            for name, difference in agreement.estimates.items()
        ),
        (RunFolder("").predictions_file().name, _recorded_row(report.recorded)),
        ("size", f"{report.size_bytes / 1e6:.1f} MB"),
        ("latency", f"{report.latency_seconds * 1e3:.2f} ms (one {shape} image, one thread)"),
    ]
    width = max(len(name) for name, _ in rows)
    return "".join(f"{name:<{width}}  {value}\n" for name, value in rows)


def _described(shape) -> str:
    height, width, channels = shape
    if height is None:
        return "raw images of any size, 1 or 3 channels"
    return f"one raw image of {height}x{width}, {channels} channel{'s' if channels > 1 else ''}"


def _recorded_row(recorded: Agreement | None) -> str:
    if recorded is None:
        return "not compared: missing, or of other images"
    row = f"{len(recorded.differing)} predictions differ, max |Δp| {recorded.max_difference:.1e}"
    return row + "".join(f", |Δ {name}| {x:.1e}" for name, x in recorded.estimates.items())


def _check_out(out: Path, file_format: str) -> None:
    if os.path.lexists(out):
        raise AlloykError(f"{shown(out)} already exists; choose another --out, or delete it")
    suffix = FORMATS[file_format].suffix
    if suffix and out.suffix.lower() != suffix:
        raise AlloykError(f"a {file_format} file must end in {suffix}, got {shown(out)}")
    others = {known.suffix for known in FORMATS.values() if known.suffix}
    if not suffix and out.suffix.lower() in others:
        raise AlloykError(
            f"{file_format} writes a folder, got {shown(out)}; use a name without {out.suffix}"
        )


def _input_shape(shapes: Counter, input_size, original: Classifier) -> tuple[int, int, int]:
    """`(height, width, channels)` of the images, for a format of fixed size."""
    frame = original.input_shape[:2]
    if input_size and None not in frame and tuple(input_size) != frame:
        raise AlloykError(
            f"--input-size must be {frame[0]}x{frame[1]}, the size of the flat frames of "
            f"{shown(original.path)}, got {input_size[0]}x{input_size[1]}; omit it"
        )
    sizes = {shape[:2] for shape in shapes}
    if input_size is None and len(sizes) > 1:
        (low, high) = (min(sizes, key=np.prod), max(sizes, key=np.prod))
        raise AlloykError(
            "the test images must have one size for a format of fixed size, got "
            f"{len(sizes)} sizes (from {low[0]}x{low[1]} to {high[0]}x{high[1]}); set the size of "
            "the device's images with --input-size HEIGHTxWIDTH"
        )
    # A model for colour images also takes gray ones, as three equal channels; not vice versa.
    channels = max(shape[2] for shape in shapes)
    return (*(input_size or sizes.pop()), channels)


def _size_bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
