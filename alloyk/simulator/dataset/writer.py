"""Write a data set: whole under its name, or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from alloyk.errors import AlloykError
from alloyk.locks import locked_path
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.simulator.dataset.contact_sheet import write_contact_sheet
from alloyk.simulator.dataset.image_files import write_image
from alloyk.simulator.dataset.manifest import CsvTable, circumstance_columns, noted
from alloyk.simulator.dataset.recipe import SUFFIXES, Recipe, recipe_text
from alloyk.simulator.dataset.render import Simulator
from alloyk.simulator.dataset.sampling import PlannedImage

CHUNK = 8
"""Images that a worker makes at a time."""

FRAMES = "_calibration"
"""Folder of the flat and dark frames; the underscore tells it from a class."""

FRAMES_OF_A_KIND = 8

BEAM_COLUMNS = ("tube_voltage_kvp", "true_tube_voltage_kvp", "output", "scatter_ratio")
"""Circumstances that matter to a flat frame."""

BYTES_LEFT = 0.9
"""What compression leaves of an image, at most; for the estimate of disk space only."""


def write_dataset(
    recipe: Recipe,
    out: str | Path,
    *,
    contact_sheet: bool = False,
    workers: int | None = None,
    progress: Progress = NO_PROGRESS,
) -> Path:
    """Write the data set of a recipe.

    Args:
        recipe: What to write.
        out: Folder to make; it may exist if it is empty.
        contact_sheet: Draw `contact_sheet.png` too.
        workers: Threads, by default one for each core. NumPy and zlib let go of Python's lock,
            so threads keep the cores busy, without the hazards of forking a process that runs
            TensorFlow.
        progress: Shows how far it is, see `alloyk.progress`.

    Returns:
        The folder.

    Raises:
        AlloykError: A beam that cannot be computed, a non-empty folder, a full disk, no
            permission to write.
    """
    out = Path(out)
    with _disk_errors(out), locked_path(out):
        _check_room(recipe, out)
        simulator = Simulator(recipe)
        with _finished_folder(out) as folder:
            for label in recipe.parameters.alloys:
                (folder / label).mkdir()
            planned = noted(recipe.plan(), folder)
            with progress.task("simulating", recipe.images) as advance:
                for done in _write_images(simulator, planned, folder, workers):
                    advance(done)
            (folder / "simulation.yaml").write_text(recipe_text(recipe), encoding="utf-8")
            if recipe.with_flats:
                _write_frames(simulator, folder / FRAMES)
            if contact_sheet:
                write_contact_sheet(simulator, recipe.plan(), folder / "contact_sheet.png")
    return out


def _write_images(
    simulator: Simulator, planned: Iterable[PlannedImage], folder: Path, workers: int | None
) -> Iterator[int]:
    """Yield the number of images done since the last time; few are planned ahead."""

    def write_chunk(chunk: list[PlannedImage]) -> int:
        for one in chunk:
            write_image(folder / one.path, simulator.image(one), simulator.recipe.bits)
        return len(chunk)

    workers = workers or available_cores()
    planned = iter(planned)
    pending: deque[Future[int]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while chunk := list(islice(planned, CHUNK)):
                pending.append(pool.submit(write_chunk, chunk))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_frames(simulator: Simulator, folder: Path) -> None:
    suffix = SUFFIXES[simulator.recipe.image_format]
    folder.mkdir()
    with CsvTable(folder / "frames.csv") as table:
        for kind, make in (("flat", simulator.flat), ("dark", simulator.dark)):
            for nth in range(FRAMES_OF_A_KIND):
                counts, now, seed = make(nth)
                name = f"{kind}_{nth:02d}{suffix}"
                write_image(folder / name, counts, simulator.recipe.bits)
                values = circumstance_columns(now)
                # Without a beam its circumstances mean nothing.
                beam = {key: values[key] if kind == "flat" else "" for key in BEAM_COLUMNS}
                table.add({"path": name, "kind": kind, **beam, "seed": seed})


def _check_room(recipe: Recipe, out: Path) -> None:
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise AlloykError(f"cannot write into {out}: {nearest} is a file, not a folder")
    if nearest == out and any(out.iterdir()):
        raise AlloykError(f"{out} is not an empty folder: choose another name or remove it")
    wanted = recipe.images * recipe.image_size**2 * recipe.bits / 8 * BYTES_LEFT
    free = shutil.disk_usage(nearest).free
    if wanted > free:
        raise AlloykError(
            f"{recipe.images} images of {recipe.image_size}×{recipe.image_size} need about "
            f"{wanted / 1e6:,.0f} MB, but {nearest} has {free / 1e6:,.0f} MB left: make fewer or "
            "smaller ones, or write them elsewhere"
        )


@contextlib.contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AlloykError(
            f"cannot write the data set {out}: {error.strerror or error}; nothing was left there"
        ) from None


@contextlib.contextmanager
def _finished_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` if the block ends well."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        folder.chmod(0o777 & ~_umask())
        yield folder
        if out.is_dir():
            out.rmdir()
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
