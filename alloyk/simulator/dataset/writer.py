"""Write a data set; its folder appears only when it is complete."""

import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from alloyk.errors import DataError
from alloyk.locks import locked_path
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runtime.processes import in_processes, processes_for
from alloyk.simulator.dataset.contact_sheet import write_contact_sheet
from alloyk.simulator.dataset.image_files import write_image
from alloyk.simulator.dataset.manifest import CsvTable, circumstance_columns, noted
from alloyk.simulator.dataset.recipe import SUFFIXES, Recipe, recipe_text
from alloyk.simulator.dataset.render import Simulator
from alloyk.simulator.dataset.sampling import PlannedImage

CHUNK_SECONDS = 0.05
"""A process renders images for about as long at a time."""

SECONDS_PER_IMAGE, SECONDS_PER_PIXEL = 1.5e-3, 6e-8
"""How long an image takes, roughly, on one core."""

FRAMES = "_calibration"
"""Folder of the flat and dark frames; the underscore distinguishes it from a class."""

FRAMES_OF_A_KIND = 8

BEAM_COLUMNS = ("tube_voltage_kvp", "true_tube_voltage_kvp", "output", "scatter_ratio")
"""Circumstances that affect a flat frame."""

BYTES_LEFT = 0.9
"""Upper limit of the compression ratio; used for the estimate of disk space only."""


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
        recipe: The recipe.
        out: Folder to create; an existing one must be empty.
        contact_sheet: Whether to draw `contact_sheet.png` too.
        workers: Number of processes; by default as many as save time, at most one per core.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        The folder.

    Raises:
        ConfigError: The beam cannot be computed.
        DataError: The folder is not empty or cannot be written.
    """
    out = Path(out)
    nearest = _nearest_folder(out)
    with _disk_errors(out), locked_path(out):
        _check_room(recipe, out, nearest)
        simulator = Simulator(recipe)
        with _finished_folder(out) as folder:
            for label in recipe.parameters.alloys:
                (folder / label).mkdir()
            planned = noted(recipe.plan(), folder)
            with progress.task("simulating", recipe.files) as advance:
                for done in _write_images(recipe, planned, folder, workers):
                    advance(done)
            (folder / "simulation.yaml").write_text(recipe_text(recipe), encoding="utf-8")
            if recipe.with_flats:
                _write_frames(simulator, folder / FRAMES)
            if contact_sheet:
                write_contact_sheet(simulator, recipe.plan(), folder / "contact_sheet.png")
    return out


def _write_images(
    recipe: Recipe, planned: Iterable[PlannedImage], folder: Path, workers: int | None
) -> Iterator[int]:
    """Yield the number of images written since the last time; few are planned ahead."""
    seconds = SECONDS_PER_IMAGE + SECONDS_PER_PIXEL * recipe.image_size**2
    planned, size = iter(planned), math.ceil(CHUNK_SECONDS / seconds)
    chunks = iter(lambda: list(islice(planned, size)), [])
    count = workers or processes_for(recipe.files * seconds)
    return in_processes(_Renderer(recipe, folder), chunks, count)


@dataclass(frozen=True)
class _Renderer:
    """Makes the function that writes images, in a process of its own."""

    recipe: Recipe
    folder: Path

    def __call__(self) -> Callable[[list[PlannedImage]], int]:
        simulator = Simulator(self.recipe)

        def write(chunk: list[PlannedImage]) -> int:
            for one in chunk:
                write_image(self.folder / one.path, simulator.image(one), self.recipe.bits)
            return len(chunk)

        return write


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
                # Without a beam, its circumstances have no meaning.
                beam = {key: values[key] if kind == "flat" else "" for key in BEAM_COLUMNS}
                table.add({"path": name, "kind": kind, **beam, "seed": seed})


def _nearest_folder(out: Path) -> Path:
    """`out`, or its nearest parent that exists."""
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise DataError(f"OUT must be a folder, got {out}; {nearest} is a file")
    return nearest


def _check_room(recipe: Recipe, out: Path, nearest: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        raise DataError(f"OUT must be a new or empty folder, got {out}; choose another name")
    needed = recipe.files * recipe.image_size**2 * recipe.bits / 8 * BYTES_LEFT
    free = shutil.disk_usage(nearest).free
    if needed > free:
        raise DataError(
            f"{recipe.files} images of {recipe.image_size}×{recipe.image_size} need about "
            f"{needed / 1e6:,.0f} MB, but {nearest} has {free / 1e6:,.0f} MB free; simulate fewer "
            "or smaller images, or write to another disk"
        )


@contextlib.contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write the data set {out}: {error.strerror or error}; no files were kept"
        ) from None


@contextlib.contextmanager
def _finished_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out`, renamed to `out` if the block succeeds."""
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
    """The file mode mask of the process; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
