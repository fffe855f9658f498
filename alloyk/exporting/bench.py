"""Speed, size and agreement of a run's model and of the files exported from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alloyk.csv_lines import csv_line
from alloyk.errors import ModelError
from alloyk.exporting.agreement import Agreement, Outputs, Shape, classify, compare
from alloyk.exporting.device_script import DESCRIPTION, MODEL
from alloyk.exporting.proof import PARITY, PROOF_SUFFIX, proof_folder
from alloyk.exporting.subject import Subject, logger, open_subject
from alloyk.files import size_of
from alloyk.inference import Classifier, load
from alloyk.inference.backends import model_file
from alloyk.inference.latency import Speed, measured_speed
from alloyk.inference.novelty_fitting import evenly_spaced
from alloyk.messages import shown
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.folder import RunFolder
from alloyk.runs.json_file import read_json

IMAGES = 300
"""Test images, evenly spaced, that agreement is measured on."""

THREADS = (1, 2)
MEGABYTE, MILLI = 1e6, 1e3


@dataclass(frozen=True)
class BenchRow:
    """One model.

    Attributes:
        path: The file or folder.
        format: `keras`, or a format of `alloyk export`.
        size_bytes: Its size.
        speeds: On one and on two threads.
        agreement: With the run's model; None for that model itself.
    """

    path: Path
    format: str
    size_bytes: int
    speeds: tuple[Speed, ...]
    agreement: Agreement | None


def bench_run(
    run: str | Path,
    files: Sequence[str | Path] = (),
    *,
    data: str | Path | None = None,
    images: int = IMAGES,
    progress: Progress = NO_PROGRESS,
) -> list[BenchRow]:
    """Measure a run's model and its exports, each in a process of its own.

    Args:
        run: Run folder.
        files: Exported files; by default those in the run's folder `exports`.
        data: The run's data set; by default at its path in training.
        images: Maximum number of test images to measure agreement on.
        progress: Progress display, see `alloyk.progress`.

    Raises:
        AlloykError: The run, its data set or a file does not exist, or a file has other classes.
    """
    folder = RunFolder(run)
    folder.require_model()  # before its images are searched for
    found = [Path(file) for file in files] or exported_files(folder)
    kinds = [_format_of(file) for file in found]  # before anything long is done
    subject = open_subject(run, data, fixed_shape=False, progress=progress)
    rows = []
    expected: dict[Shape, Outputs] = {}
    with progress.task("measuring", len(found) + 1, "models") as advance:
        speeds = _speeds(folder.model_file, subject.timed_shape)
        size = folder.model_file.stat().st_size
        rows.append(BenchRow(folder.model_file, "keras", size, speeds, None))
        advance(1)
        for file, kind in zip(found, kinds, strict=True):
            exported = load(file)
            agreement = _agreement(subject, exported, expected, images)
            speeds = _speeds(file, _shape_of(exported, subject))
            rows.append(BenchRow(file, kind, size_of(file), speeds, agreement))
            advance(1)
    return rows


def exported_files(folder: RunFolder) -> list[Path]:
    """The models in a run's folder `exports`, sorted by name, those of bundles included."""
    found = []
    for path in sorted(folder.exports_folder.glob("*")):
        if path.name.startswith(".") or path.suffix == PROOF_SUFFIX:
            continue
        is_bundle = path.is_dir() and (path / DESCRIPTION).is_file()
        found.append(path / MODEL if is_bundle else path)
    return found


def _format_of(file: Path) -> str:
    kind, _ = model_file(file)
    recorded = read_json(proof_folder(file) / PARITY).get("format")
    return recorded if isinstance(recorded, str) else kind


def _speeds(model: Path, shape: tuple[int, int, int]) -> tuple[Speed, ...]:
    logger.info(f"timing {shown(model)}")
    return tuple(measured_speed(model, shape, threads) for threads in THREADS)


def _shape_of(exported: Classifier, subject: Subject) -> tuple[int, int, int]:
    """The shape that a file takes, that of the test images where it takes any."""
    shape = [own or usual for own, usual in zip(
        exported.input_shape, subject.timed_shape, strict=True
    )]  # fmt: skip
    return shape[0], shape[1], shape[2]


def _agreement(
    subject: Subject, exported: Classifier, expected: dict[Shape, Outputs], images: int
) -> Agreement:
    if exported.classes != subject.original.classes:
        raise ModelError(
            f"{shown(exported.path)} must have the classes of {shown(subject.run)} "
            f"({', '.join(subject.original.classes)}), got {', '.join(exported.classes)}; give "
            "files exported from this run"
        )
    all_names, all_paths = subject.names(), subject.dataset.paths("test")
    rows = evenly_spaced(len(all_names), images)
    names, paths = [all_names[row] for row in rows], [all_paths[row] for row in rows]
    shape = exported.input_shape
    known = shape in expected
    models = [exported] if known else [exported, subject.original]
    with subject.progress.task("comparing", len(paths)) as advance:
        found, *originals = classify(models, paths, names, shape, advance)
    if not known:
        (expected[shape],) = originals
    return compare(names, expected[shape], found)


COLUMNS = (
    "model", "format", "size_mb", "ms_1", "p99_ms_1", "images_s_1", "ms_2", "p99_ms_2",
    "images_s_2", "peak_mb", "images", "differ", "max_dp",
)  # fmt: skip


def table_of(rows: Sequence[BenchRow]) -> list[tuple[str, ...]]:
    """The rows as text, in the order of `COLUMNS`."""
    table = []
    for row in rows:
        cells = [row.path.name, row.format, f"{row.size_bytes / MEGABYTE:.1f}"]
        for speed in row.speeds:
            cells += [
                f"{speed.median_seconds * MILLI:.2f}",
                f"{speed.p99_seconds * MILLI:.2f}",
                f"{speed.images_per_second:.0f}",
            ]
        cells.append(f"{row.speeds[0].peak_bytes / MEGABYTE:.0f}")
        found = row.agreement
        cells += (
            [""] * 3 if found is None
            else [str(found.images), str(len(found.differing)), f"{found.max_difference:.1e}"]
        )  # fmt: skip
        table.append(tuple(cells))
    return table


def format_table(rows: Sequence[BenchRow]) -> str:
    """Format the rows as a Markdown table."""
    lines = [COLUMNS, *table_of(rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    padded = [
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    ]
    text = ["| " + " | ".join(line) + " |" for line in padded]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text) + "\n"


def format_csv(rows: Sequence[BenchRow]) -> str:
    """Format the rows as CSV."""
    return "".join(csv_line(cells) for cells in (COLUMNS, *table_of(rows)))
