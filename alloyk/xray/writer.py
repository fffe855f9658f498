"""Write a data set: whole under its name, or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from alloyk.errors import AlloykError
from alloyk.xray.contact_sheet import write_contact_sheet
from alloyk.xray.files import write_image
from alloyk.xray.manifest import circumstance_columns, manifest_table, plates_table
from alloyk.xray.plan import PlannedImage
from alloyk.xray.recipe import Recipe, recipe_text
from alloyk.xray.simulator import Simulator

CHUNK = 8
"""Images that a worker makes at a time."""

FRAMES = "_calibration"
"""Folder of the flat and dark frames; the underscore tells it from a class."""

FRAMES_OF_A_KIND = 8

BYTES_LEFT = 0.9
"""What compression leaves of an image, at most; for the estimate of disk space only."""


def write_dataset(
    recipe: Recipe,
    out: str | Path,
    *,
    contact_sheet: bool = False,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write the data set of a recipe.

    Args:
        recipe: What to write.
        out: Folder to make; it may exist if it is empty.
        contact_sheet: Draw `contact_sheet.png` too.
        workers: Threads, by default one for each core. NumPy and zlib let go of Python's lock,
            so threads keep the cores busy, without the hazards of forking a process that runs
            TensorFlow.
        progress: Called with the number of images done since the last call.

    Returns:
        The folder.

    Raises:
        AlloykError: A beam that cannot be computed, a non-empty folder, a full disk, no
            permission to write.
    """
    out = Path(out)
    simulator = Simulator(recipe)
    planned = recipe.plan()
    with _finished_folder(out) as folder:
        _check_space(recipe, folder)
        for label in recipe.parameters.alloys:
            (folder / label).mkdir()
        for done in _write_images(simulator, planned, folder, workers):
            if progress:
                progress(done)
        _write_table(manifest_table(planned), folder / "manifest.csv")
        _write_table(plates_table(planned), folder / "plates.csv")
        (folder / "simulation.yaml").write_text(recipe_text(recipe), encoding="utf-8")
        if recipe.with_flats:
            _write_frames(simulator, folder / FRAMES)
        if contact_sheet:
            write_contact_sheet(simulator, planned, folder / "contact_sheet.png")
    return out


def _write_images(
    simulator: Simulator, planned: list[PlannedImage], folder: Path, workers: int | None
) -> Iterator[int]:
    def write_chunk(start: int) -> int:
        chunk = planned[start : start + CHUNK]
        for one in chunk:
            write_image(folder / one.path, simulator.image(one), simulator.recipe.bits)
        return len(chunk)

    workers = workers or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from pool.map(write_chunk, range(0, len(planned), CHUNK))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _write_frames(simulator: Simulator, folder: Path) -> None:
    import pandas

    recipe = simulator.recipe
    suffix = {"png": ".png", "tiff": ".tif"}[recipe.image_format]
    folder.mkdir()
    rows = []
    for kind, make in (("flat", simulator.flat), ("dark", simulator.dark)):
        for nth in range(FRAMES_OF_A_KIND):
            counts, now, seed = make(nth)
            name = f"{kind}_{nth:02d}{suffix}"
            write_image(folder / name, counts, recipe.bits)
            voltage = circumstance_columns(now) if kind == "flat" else {}
            rows.append(
                {
                    "path": name,
                    "kind": kind,
                    "tube_voltage_kvp": voltage.get("tube_voltage_kvp", 0.0),
                    "true_tube_voltage_kvp": voltage.get("true_tube_voltage_kvp", 0.0),
                    "output": voltage.get("output", 0.0),
                    "scatter_ratio": voltage.get("scatter_ratio", 0.0),
                    "seed": seed,
                }
            )
    _write_table(pandas.DataFrame(rows), folder / "frames.csv")


def _write_table(table, path: Path) -> None:
    table.to_csv(path, index=False, lineterminator="\n")


def _check_space(recipe: Recipe, folder: Path) -> None:
    wanted = recipe.images * recipe.image_size**2 * recipe.bits / 8 * BYTES_LEFT
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise AlloykError(
            f"{recipe.images} images of {recipe.image_size}² need about {wanted / 1e9:.1f} GB, "
            f"but {folder.parent} has {free / 1e9:.1f} GB left: make fewer or smaller ones"
        )


@contextlib.contextmanager
def _finished_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` if the block ends well."""
    folder = None
    try:
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            raise AlloykError(f"{out} is not an empty folder: choose another name or remove it")
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        folder.chmod(0o777 & ~_umask())
        yield folder
        if out.is_dir():
            out.rmdir()
        folder.rename(out)
    except OSError as error:
        reason = error.strerror or error
        raise AlloykError(
            f"cannot write the data set {out}: {reason}; nothing was left there"
        ) from None
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
