"""What is possible at all: the reference ceiling, of one set-up or of many."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.api.settings import Settings, as_strings, sweep_strings
from alloyk.errors import DataError, OptionError
from alloyk.messages import shown
from alloyk.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    from alloyk.api.results import CeilingResult, PlanResult
    from alloyk.simulator.dataset.recipe import Recipe

IMAGE_SIZE = 224
PRESET = "study"
PLAN_TABLE, PLAN_FIGURE = "plan.csv", "plan.png"


def ceiling(
    data: str | Path | None = None,
    *,
    preset: str | None = None,
    image_size: int | None = None,
    alloys: str | Sequence[str] | None = None,
    set: Settings = (),
    seed: int = 0,
    drawn: bool = False,
    figure: str | Path | None = None,
) -> "CeilingResult":
    """Compute the accuracy that an ideal classifier reaches on simulated radiographs.

    The number holds for single images of plates never seen before, under the simulator's own model.

    Args:
        data: A simulated data set or its `simulation.yaml`, instead of a preset.
        preset: Name of a preset; by default `study`.
        image_size: Pixels along each side; by default 224, or that of `data`.
        alloys: Class labels; by default those of the preset or of `data`. Classes other than those
            of `data` are equally frequent.
        set: Parameters of the simulator, for example `{"wedge.length_mm": 70}`.
        seed: Seed of the Monte Carlo draws.
        drawn: Linearise at twelve drawn poses and voltages instead of the mean ones; slower.
        figure: PNG file for the confusion matrix of the ideal classifier; it must not exist.

    Returns:
        The ceiling with its Monte Carlo error and its limitations.

    Raises:
        AlloykError: A setting is wrong, `data` is not a simulated data set, or `figure` exists,
            lies in `data` or does not end in .png.

    Example:
        >>> import alloyk
        >>> found = alloyk.ceiling(preset="easy", image_size=32)
        >>> bool(0.5 < found.accuracy <= 1)
        True
    """
    from alloyk.api.results import CeilingResult
    from alloyk.runs.destination import refuse_existing, refuse_in_data, refuse_other_ending
    from alloyk.simulator.ceiling.reference import caveats, reference_ceiling
    from alloyk.simulator.settings.channels import steps_as_taken
    from alloyk.simulator.settings.overrides import add_alloys, parse_settings, with_overrides
    from alloyk.simulator.settings.presets import preset_parameters

    if figure is not None:
        refuse_other_ending(Path(figure), (".png",), "--figure")
        refuse_existing(Path(figure), "--figure")
        refuse_in_data(Path(figure), data, "--figure")
    shares, images_per_plate = None, None
    if data is not None:
        if preset is not None:
            raise OptionError("`preset` cannot be combined with DATA")
        recipe = _recipe_of(Path(data))
        parameters, shares, source = recipe.parameters, recipe.class_counts(), str(data)
        image_size = image_size or recipe.image_size
        images_per_plate = recipe.images_per_plate
    else:
        preset = preset or PRESET
        parameters, source = preset_parameters(preset), f"preset {preset}"
    overrides = add_alloys(parse_settings(as_strings(set)), alloys)
    parameters = with_overrides(parameters, overrides)
    if shares is not None and sorted(shares) != sorted(parameters.alloys):
        shares = None  # the data set has no shares of other classes
    if images_per_plate is not None:
        parameters = steps_as_taken(parameters, images_per_plate)
    size = image_size or IMAGE_SIZE
    found = reference_ceiling(parameters, size, shares=shares, seed=seed, drawn_circumstances=drawn)
    result = CeilingResult(found, source, tuple(caveats(parameters, found.image_size)))
    if figure is not None:
        result.draw(figure)
    return result


def plan(
    sweep: Mapping[str, Sequence[Any]] | Sequence[str],
    *,
    preset: str = PRESET,
    out: str | Path | None = None,
    image_size: int = IMAGE_SIZE,
    alloys: str | Sequence[str] | None = None,
    set: Settings = (),
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> "PlanResult":
    """Compute the reference ceiling over one or two parameters of the set-up.

    Args:
        sweep: A parameter of the simulator, or `image_size`, to its values; one or two of them.
        preset: The base set-up.
        out: Folder for `plan.csv` and `plan.png`; nothing is written without it.
        image_size: Pixels along each side.
        alloys: Class labels; by default those of the preset.
        set: Parameters of the base set-up.
        seed: Seed of the Monte Carlo draws, the same for all set-ups.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        The ceiling of every combination of values and of the base set-up.

    Raises:
        AlloykError: A parameter or a value is wrong, or `out` lies in a run, holds other files, or
            cannot be written.

    Example:
        >>> import alloyk
        >>> found = alloyk.plan({"tube.voltage_kvp": [40, 50]}, preset="easy", image_size=16)
        >>> [point.values for point in found.points]
        [('40',), ('50',)]
    """
    from alloyk.api.results import PlanResult
    from alloyk.files import files_together, write_csv
    from alloyk.runs.destination import refuse_other_files, refuse_other_run
    from alloyk.simulator.ceiling.design import parse_sweeps, plan_rows, plan_setups
    from alloyk.simulator.settings.overrides import add_alloys, parse_settings, with_overrides
    from alloyk.simulator.settings.presets import preset_parameters

    if out is not None:
        refuse_other_run(Path(out))
        refuse_other_files(Path(out), (PLAN_TABLE, PLAN_FIGURE), "plan")
    overrides = add_alloys(parse_settings(as_strings(set)), alloys)
    parameters = with_overrides(preset_parameters(preset), overrides)
    found = plan_setups(
        parameters, parse_sweeps(sweep_strings(sweep)), image_size, seed=seed, progress=progress
    )
    result = PlanResult(found, f"simulated, preset {preset}, {image_size}×{image_size}")
    if out is not None:
        with files_together(Path(out)) as unfinished:
            rows = plan_rows(found)
            write_csv(unfinished / PLAN_TABLE, [rows[0], *(row.values() for row in rows)])
            result.draw(unfinished / PLAN_FIGURE)
    return result


def _recipe_of(data: Path) -> "Recipe":
    """Return the recipe of a simulated data set, given its folder or its simulation.yaml."""
    from alloyk.simulator.dataset.recipe import load_recipe

    if not data.exists():
        raise DataError(
            "the data set must be a simulated folder or its simulation.yaml, but "
            f"{shown(data)} does not exist; check the path"
        )
    file = data / "simulation.yaml" if data.is_dir() else data
    if not file.is_file():
        raise DataError(
            f"a ceiling needs a simulated data set, {shown(data)} has no simulation.yaml; only the "
            "simulator's images have a known ceiling"
        )
    return load_recipe(file)
