"""Data sets: simulate, audit and split them."""

import inspect
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.api.settings import Settings, alloy_labels, as_strings, check_choice
from alloyk.errors import OptionError
from alloyk.messages import counted
from alloyk.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    from alloyk.api.results import AuditResult, SimulatedData
    from alloyk.data.reorganize.plan import SplitPlan
    from alloyk.imaging import PageChoice, RawLayout


logger = logging.getLogger(__name__)


def simulate(
    out: str | Path,
    *,
    preset: str = "study",
    images: int = 3000,
    image_size: int = 224,
    seed: int = 0,
    alloys: str | Sequence[str] | None = None,
    images_per_plate: int = 1,
    imbalance: float = 1.0,
    class_order: str | Sequence[str] = (),
    with_flats: bool = False,
    bits: int = 16,
    format: str = "png",
    contact_sheet: bool = False,
    recipe: str | Path | None = None,
    set: Settings = (),
    workers: int | None = None,
    progress: Progress = NO_PROGRESS,
) -> "SimulatedData":
    """Write a labelled set of simulated radiographs, as `alloyk simulate` does.

    Args:
        out: Folder to make; it may exist if it is empty.
        preset: `easy`, `study`, `study-noisy`, `hard2`, `hard5` or `alloys5`.
        images: Number of images.
        image_size: Pixels along each side.
        seed: Seed of all random numbers.
        alloys: Class labels; by default those of the preset.
        images_per_plate: Number of images of each plate.
        imbalance: Size of the largest class over that of the smallest.
        class_order: Classes from the largest to the smallest.
        with_flats: Write flat and dark frames into `_calibration/` too.
        bits: 8, 16 or 32, the depth of the files; the counts inside are not scaled to it.
        format: `png` or `tiff`.
        contact_sheet: Draw a picture of each class and thickness too.
        recipe: A `simulation.yaml` to repeat. Of the options above only `out` and
            `contact_sheet` may be given then, and not `set`.
        set: Parameters of the simulator, for example `{"tube.voltage_kvp": 45}`.
        workers: Number of processes; by default as many as save time, at most one per core.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        The folder with its recipe and the number of images per class.

    Raises:
        AlloykError: A setting is wrong, or the folder is not empty or cannot be written.

    Example:
        >>> import alloyk
        >>> alloyk.simulate("radiographs", images=600)  # doctest: +SKIP
    """
    from alloyk.api.results import SimulatedData
    from alloyk.simulator.dataset.recipe import load_recipe, make_recipe
    from alloyk.simulator.dataset.writer import write_dataset
    from alloyk.simulator.physics.beam import Beam
    from alloyk.simulator.physics.validity import validity_notes
    from alloyk.simulator.settings.channels import unused_steps
    from alloyk.simulator.settings.overrides import parse_settings

    drawn: dict[str, Any] = {
        "images": images, "image_size": image_size, "seed": seed,
        "images_per_plate": images_per_plate, "imbalance": imbalance, "with_flats": with_flats,
        "bits": bits,
    }  # fmt: skip
    if recipe is not None:
        others = {
            "preset": preset, "alloys": alloys, "class_order": class_order or (), "format": format,
            "set": tuple(set), **drawn,
        }  # fmt: skip
        defaults = inspect.signature(simulate).parameters
        given = [name for name, value in others.items() if value != defaults[name].default]
        if given:
            raise OptionError(f"`{given[0]}` cannot be combined with `recipe`, which has its own")
        made = load_recipe(recipe)
    else:
        made = make_recipe(
            preset,
            alloys=alloy_labels(alloys),
            overrides=parse_settings(as_strings(set)),
            class_order=alloy_labels(class_order) or (),
            image_format=format,
            **drawn,
        )
    write_dataset(made, out, contact_sheet=contact_sheet, workers=workers, progress=progress)
    notes = validity_notes(Beam(made.parameters), made.image_size)
    unused = unused_steps(made.parameters, made.images_per_plate)
    if unused:
        voltages = ", ".join(f"{voltage:g}" for voltage in unused)
        steps = len(made.parameters.tube.voltage_steps_kvp or ())
        notes.append(
            f"no image is at {voltages} kV, because a plate has "
            f"{counted(made.images_per_plate)}: for every voltage of tube.voltage_steps_kvp, a "
            f"plate needs {steps} (--images-per-plate {steps})"
        )
    return SimulatedData(Path(out), made, tuple(notes))


def audit(
    data: str | Path,
    *,
    figures: str | Path | None = None,
    series: str | None = None,
    page: "PageChoice | None" = None,
    raw: "RawLayout | Mapping[str, Any] | None" = None,
    hdf5_path: str | None = None,
    address: str | None = None,
    workers: int | None = None,
    progress: Progress = NO_PROGRESS,
) -> "AuditResult":
    """Check a data set for problems before training, as `alloyk audit` does.

    Args:
        data: A data set, or a plain folder of images without labels.
        figures: Folder for figures of classes, intensities, examples and near-duplicates: new,
            empty or that of an earlier audit.
        series: Which images belong together: a column of the manifest, or a regular expression on
            the file name. By default `plate_id`, else the name before its last `_`.
        page: Pages to read from files with several: a number from 0, `mean`, or `each` as an
            image of one plate.
        raw: Layout of raw files without a sidecar: `dtype`, `shape`, `offset` and
            `byte_order`.
        hdf5_path: Path of the array of images inside HDF5 files; by default the NeXus default or
            the only array of images.
        address: `HOST:PORT` of a Ray cluster that reads the images, or `local` to start one here.
        workers: Number of processes on the cluster; by default one per GPU, or without GPUs one
            per four processors.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        The findings; `must_fix` is True if any of them must be fixed before training.

    Raises:
        AlloykError: The data set cannot be read, or `figures` lies in it or in a run, or holds
            other files. An image that cannot be read is a finding.

    Example:
        >>> import alloyk
        >>> for finding in alloyk.audit("radiographs").findings:  # doctest: +SKIP
        ...     print(finding.severity, finding.what, finding.advice)
    """
    from alloyk.api.results import AuditResult
    from alloyk.auditing.checks import audit_dataset, find_all
    from alloyk.imaging import RawLayout

    if workers is not None and address is None:
        raise OptionError("`workers` needs `address`")
    if figures is not None:
        _refuse_figures(Path(figures), data)
    layout = RawLayout.of(raw, "raw") if isinstance(raw, Mapping) else raw
    audited = audit_dataset(
        data, series=series, page=page, raw=layout, hdf5_path=hdf5_path, address=address,
        workers=workers, progress=progress,
    )  # fmt: skip
    found = AuditResult(audited, tuple(find_all(audited)))
    if figures is not None:
        found.draw(figures)
    return found


def _refuse_figures(folder: Path, data: str | Path) -> None:
    from alloyk.auditing.figures import FIGURES
    from alloyk.runs.destination import refuse_in_data, refuse_other_files, refuse_other_run

    option = "--figures"
    refuse_in_data(folder, data, option)
    refuse_other_run(folder, option=option)
    refuse_other_files(folder, FIGURES, "audit's figures", option, complete=False)


def split(
    source: str | Path,
    out: str | Path,
    *,
    ratios: tuple[float, float, float] = (0.70, 0.15, 0.15),
    group_by: str | None = None,
    mode: str = "copy",
    seed: int = 0,
    shards: int | None = None,
    progress: Progress = NO_PROGRESS,
) -> "SplitPlan":
    """Sort images into train, val and test folders, as `alloyk split` does.

    Args:
        source: Class folders, a `manifest.csv`, or a flat folder of images without labels.
        out: Folder to make, or `source` itself with `mode="move"`.
        ratios: Shares of the three splits; their sum is 1.
        group_by: What never crosses splits: a column of the manifest, a regular expression on the
            file name, or `none`. By default `plate_id` if the manifest has it.
        mode: `copy`, `move`, `link` (hard links) or `manifest` (a table only).
        seed: Seed of the draw.
        shards: Write the images into so many large, checksummed files instead of one file each; a
            given split is kept.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        The plan that was applied: `table` has the split of each image, `notes` what to know.

    Raises:
        AlloykError: The source cannot be used, the target is not empty, or such a split is not
            possible.

    Example:
        >>> import alloyk
        >>> alloyk.split("radiographs", "sorted").table["split"].value_counts()  # doctest: +SKIP
    """
    from alloyk.data.reorganize.apply import place
    from alloyk.data.reorganize.plan import MODES, plan_split

    check_choice("mode", mode, MODES)
    planned = plan_split(
        source, out, ratios=ratios, group_by=group_by, mode=mode, seed=seed, shards=shards
    )
    for note in planned.notes:
        logger.warning(note)
    if planned.resumed:
        logger.info("resuming an interrupted move")
    place(planned, progress)
    return planned
