"""Make a labelled radiograph data set: in memory, or as a folder.

Example:
    >>> images, table = simulate_arrays(preset="easy", images=4, image_size=32, seed=1)
    >>> images.shape, images.dtype.name
    ((4, 32, 32), 'uint16')
    >>> table["label"].tolist()
    ['1050', '1050', '2017', '2017']
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from alloyk._version import __version__
from alloyk.errors import AlloykError
from alloyk.xray import plan
from alloyk.xray.beam import Beam
from alloyk.xray.detector import Panel
from alloyk.xray.files import write_image
from alloyk.xray.forward import expected_image, open_beam_photons, plate_depth
from alloyk.xray.parameters import Parameters, with_overrides
from alloyk.xray.presets import preset_parameters

if TYPE_CHECKING:
    import pandas

CHUNK = 32
"""Images that a worker makes at a time."""


@dataclass(frozen=True)
class Recipe:
    """Everything a data set follows from; `simulation.yaml` holds it.

    Attributes:
        parameters: All parameters of the simulator.
        images: Number of images.
        image_size: Pixels along each side.
        seed: Of all random numbers.
        images_per_plate: Images that show one plate.
        imbalance: Largest over smallest class.
        class_order: Classes from the largest to the smallest.
        preset: Name of the preset the parameters came from; for the reader only.
    """

    parameters: Parameters
    images: int = 3000
    image_size: int = 224
    seed: int = 0
    images_per_plate: int = 1
    imbalance: float = 1.0
    class_order: tuple[str, ...] = ()
    preset: str = "study"

    def __post_init__(self):
        for name, least in (("images", 1), ("image_size", 8), ("seed", 0), ("images_per_plate", 1)):
            if getattr(self, name) < least:
                raise AlloykError(f"wanted {name} of {least} or more, found {getattr(self, name)}")

    def plan(self, suffix: str = ".png") -> list[plan.PlannedImage]:
        """All plates and images, drawn but not yet simulated."""
        counts = plan.class_counts(
            self.images, self.parameters.alloys, self.imbalance, self.class_order
        )
        return plan.plan_images(self.parameters, counts, self.images_per_plate, self.seed, suffix)


def make_recipe(
    preset: str = "study",
    *,
    alloys: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    **size: Any,
) -> Recipe:
    """A recipe from a preset.

    Args:
        preset: Name in :data:`alloyk.xray.presets.PRESETS`.
        alloys: Class labels instead of the preset's.
        overrides: Dotted parameter key → value.
        **size: Other fields of :class:`Recipe`.

    Raises:
        AlloykError: Unknown preset, alloy or key, or a value out of its range.
    """
    changes = dict(overrides or {})
    if alloys is not None:
        changes["alloys"] = tuple(alloys)
    parameters = with_overrides(preset_parameters(preset), changes)
    return Recipe(parameters, preset=preset, **size)


class Simulator:
    """Makes the images of one recipe; holds what they share.

    Args:
        recipe: What to simulate.

    Attributes:
        beam: Tube, filters, wedge and scintillator.
        panel: The detector with its fixed pattern.

    Raises:
        AlloykError: The beam cannot be computed, see :class:`alloyk.xray.beam.Beam`.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.beam = Beam(recipe.parameters)
        detector = recipe.parameters.detector
        nominal = open_beam_photons(self.beam, recipe.image_size)
        self.panel = Panel(
            recipe.parameters,
            recipe.image_size,
            detector.full_scale * detector.greatest_count / nominal,
            plan.generator(recipe.seed, plan.PANEL),
        )

    def image(self, planned: plan.PlannedImage) -> np.ndarray:
        """Counts of one planned image, uint16 ``(image_size, image_size)``."""
        depth = plate_depth(self.beam, planned.plate, planned.now.tilt_deg)
        expected = expected_image(self.beam, planned.now, depth, self.recipe.image_size)
        return self.panel.record(expected, plan.generator(planned.seed, plan.NOISE))


def simulate_arrays(
    preset: str = "study",
    *,
    images: int = 3000,
    image_size: int = 224,
    seed: int = 0,
    alloys: Sequence[str] | None = None,
    images_per_plate: int = 1,
    imbalance: float = 1.0,
    class_order: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> tuple[np.ndarray, "pandas.DataFrame"]:
    """A data set in memory; the same counts that :func:`simulate_dataset` writes.

    Returns:
        Counts, uint16 ``(images, image_size, image_size)``, and the manifest, one row per image.

    Raises:
        AlloykError: See :func:`make_recipe`.
    """
    recipe = make_recipe(
        preset, alloys=alloys, overrides=overrides, images=images, image_size=image_size,
        seed=seed, images_per_plate=images_per_plate, imbalance=imbalance,
        class_order=tuple(class_order),
    )  # fmt: skip
    planned = recipe.plan()
    simulator = Simulator(recipe)
    counts = np.stack([simulator.image(one) for one in planned])
    return counts, manifest_table(planned)


def simulate_dataset(
    out: str | Path,
    *,
    preset: str = "study",
    images: int = 3000,
    image_size: int = 224,
    seed: int = 0,
    alloys: Sequence[str] | None = None,
    images_per_plate: int = 1,
    imbalance: float = 1.0,
    class_order: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write a data set: ``<label>/*.png``, `manifest.csv`, `plates.csv`, `simulation.yaml`.

    The files appear under a temporary name beside `out` and get their own at the end, so an
    interrupted run leaves nothing there. The bytes do not depend on `workers`.

    Args:
        out: Folder to make; it may exist if it is empty.
        preset: Name in :data:`alloyk.xray.presets.PRESETS`.
        images: Number of images, classes even but for `imbalance`.
        image_size: Pixels along each side.
        seed: Of all random numbers.
        alloys: Class labels instead of the preset's.
        images_per_plate: Images that show one plate.
        imbalance: Largest over smallest class.
        class_order: Classes from the largest to the smallest.
        overrides: Dotted parameter key → value, see :mod:`alloyk.xray.parameters`.
        workers: Processes; by default one for each core.
        progress: Called with the number of images done since the last call.

    Returns:
        The folder.

    Raises:
        AlloykError: A bad setting, a non-empty folder, a full disk, no permission to write.
    """
    recipe = make_recipe(
        preset, alloys=alloys, overrides=overrides, images=images, image_size=image_size,
        seed=seed, images_per_plate=images_per_plate, imbalance=imbalance,
        class_order=tuple(class_order),
    )  # fmt: skip
    return write_dataset(recipe, out, workers=workers, progress=progress)


def write_dataset(
    recipe: Recipe,
    out: str | Path,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write the data set of a recipe; see :func:`simulate_dataset`."""
    out = Path(out)
    simulator = Simulator(recipe)  # an impossible beam is found before anything is written
    planned = recipe.plan()
    with _finished_folder(out) as folder:
        for label in recipe.parameters.alloys:
            (folder / label).mkdir()
        for done in _write_images(simulator, planned, folder, workers):
            if progress:
                progress(done)
        manifest_table(planned).to_csv(folder / "manifest.csv", index=False)
        plates_table(planned).to_csv(folder / "plates.csv", index=False)
        text = yaml.safe_dump(recipe_document(recipe), sort_keys=False)
        (folder / "simulation.yaml").write_text(text, encoding="utf-8")
    return out


def recipe_document(recipe: Recipe) -> dict[str, Any]:
    """Content of `simulation.yaml`."""
    return {
        "alloyk_version": __version__,
        "numpy_version": np.__version__,
        "preset": recipe.preset,
        "images": recipe.images,
        "image_size": recipe.image_size,
        "seed": recipe.seed,
        "images_per_plate": recipe.images_per_plate,
        "imbalance": recipe.imbalance,
        "class_order": list(recipe.class_order),
        "parameters": recipe.parameters.model_dump(mode="json"),
    }


def manifest_table(planned: Sequence[plan.PlannedImage]) -> "pandas.DataFrame":
    """`manifest.csv`: one row per image, labels as strings."""
    import pandas

    return pandas.DataFrame(
        {
            "path": one.path,
            "label": one.plate.alloy,
            "plate_id": one.plate.plate_id,
            "thickness_mm": one.plate.thickness_mm,
            "true_thickness_mm": round(one.plate.true_thickness_mm, 6),
            "alloy": one.plate.alloy,
            "tube_voltage_kvp": round(one.now.set_voltage_kvp, 6),
            "true_tube_voltage_kvp": round(one.now.tube_voltage_kvp, 6),
            "output": round(one.now.output, 6),
            "scatter_ratio": round(one.now.scatter_ratio, 6),
            "wedge_shift_mm": round(one.now.wedge_shift_mm, 6),
            "wedge_rotation_deg": round(one.now.wedge_rotation_deg, 6),
            "wedge_height_mm": round(one.now.wedge_height_mm, 6),
            "plate_edge_mm": round(one.now.plate_edge_mm, 6),
            "tilt_deg": round(one.now.tilt_deg, 6),
            "seed": one.seed,
        }
        for one in planned
    )


def plates_table(planned: Sequence[plan.PlannedImage]) -> "pandas.DataFrame":
    """`plates.csv`: one row per plate with its true thickness, density and composition."""
    import pandas

    from alloyk.alloys import ELEMENTS

    plates = {one.plate.plate_id: one.plate for one in planned}
    return pandas.DataFrame(
        {
            "plate_id": plate.plate_id,
            "alloy": plate.alloy,
            "thickness_mm": plate.thickness_mm,
            "true_thickness_mm": round(plate.true_thickness_mm, 6),
            "density_g_cm3": round(plate.density_g_cm3, 6),
            **{
                f"{element.lower()}_wt_pct": round(100 * fraction, 6)
                for element, fraction in zip(ELEMENTS, plate.mass_fractions, strict=True)
            },
        }
        for plate in plates.values()
    )


def _write_chunk(simulator: Simulator, chunk: list[plan.PlannedImage], folder: Path) -> int:
    for planned in chunk:
        write_image(folder / planned.path, simulator.image(planned))
    return len(chunk)


_of_this_process: dict[str, Simulator] = {}


def _start_worker(recipe: Recipe) -> None:
    _of_this_process["simulator"] = Simulator(recipe)


def _write_chunk_in_worker(chunk: list[plan.PlannedImage], folder: Path) -> int:
    return _write_chunk(_of_this_process["simulator"], chunk, folder)


def _write_images(
    simulator: Simulator, planned: list[plan.PlannedImage], folder: Path, workers: int | None
) -> Iterator[int]:
    chunks = [planned[start : start + CHUNK] for start in range(0, len(planned), CHUNK)]
    workers = min(workers or len(os.sched_getaffinity(0)), len(chunks))
    if workers <= 1:
        for chunk in chunks:
            yield _write_chunk(simulator, chunk, folder)
        return
    with ProcessPoolExecutor(
        workers, initializer=_start_worker, initargs=(simulator.recipe,)
    ) as pool:
        try:
            yield from pool.map(_write_chunk_in_worker, chunks, [folder] * len(chunks))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextlib.contextmanager
def _finished_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` if the block ends well."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise AlloykError(f"{out} is not an empty folder: choose another name or remove it")
    folder = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        folder.chmod(0o755)
        yield folder
        if out.is_dir():
            out.rmdir()
        folder.rename(out)
    except OSError as error:
        reason = error.strerror or error
        raise AlloykError(f"cannot write the data set {out}: {reason}") from None
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
