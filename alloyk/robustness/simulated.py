"""Test images of another set-up or of other plates, for runs that were trained on simulated ones.

The images are simulated anew from the data set's `simulation.yaml`, with other plates, another
panel and one setting changed. `simulated again` changes no setting: it is what the others compare
with.
"""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alloyk.alloys import ALLOYS
from alloyk.errors import AlloykError
from alloyk.imaging import ChannelChoice
from alloyk.inference.novelty import FALSE_ALARMS
from alloyk.robustness.table import SIMULATED_AGAIN
from alloyk.simulator.ceiling.detection import best_detection
from alloyk.simulator.dataset.recipe import Recipe, load_recipe
from alloyk.simulator.dataset.render import Simulator
from alloyk.simulator.physics.beam import Beam
from alloyk.simulator.physics.validity import refuse_saturation
from alloyk.simulator.settings.channels import parameters_as_used, steps_as_taken
from alloyk.simulator.settings.overrides import with_overrides
from alloyk.simulator.settings.parameters import Parameters

RECIPE = "simulation.yaml"

logger = logging.getLogger(__name__)


OTHER_THICKNESS, OTHER_ALLOY = "other thickness", "other alloy"


class SetUp(NamedTuple):
    """Another set-up.

    Attributes:
        unit: What the strength counts.
        strengths: From weak to strong.
        settings: From the parameters of training and a strength to the settings that change.
        recognisable: Whether the images show a class of the run.
        plates: Whether plates that training lacks are what changes.
    """

    unit: str
    strengths: tuple[float, ...]
    settings: Callable[[Parameters, float], dict[str, Any]]
    recognisable: bool = True
    plates: bool = False


def _exposure(parameters: Parameters, factor: float) -> dict[str, Any]:
    exposure = parameters.exposure
    if exposure.exposure_time_s is not None:
        return {"exposure.exposure_time_s": factor * exposure.exposure_time_s}
    return {"exposure.photons_per_mm2": factor * exposure.photons_per_mm2}


SETUPS: dict[str, SetUp] = {
    SIMULATED_AGAIN: SetUp("", (1,), lambda parameters, _: {}),
    # With its drift, 59 kV stays inside the package's tables, which end at 60.
    "tube voltage": SetUp("kV", (45, 55, 59), lambda _, kv: {"tube.voltage_kvp": float(kv)}),
    "exposure": SetUp("factor", (4, 0.25, 0.1), _exposure),
    "wedge height": SetUp("mm", (9, 12, 15), lambda _, mm: {"wedge.height_mm": float(mm)}),
    "scatter": SetUp("of the mean", (0.1, 0.2, 0.4), lambda _, x: {"scatter.ratio": x}),
    "blur of the detector": SetUp("mm", (0.5, 1, 2), lambda _, mm: {"detector.psf_sd_mm": mm}),
    OTHER_THICKNESS: SetUp(
        "mm", (0.5, 3, 10), lambda _, mm: {"plate.thicknesses_mm": [float(mm)]}, plates=True
    ),
}
BLOCKS = 4
"""Repetitions of `detectable`; the Monte Carlo error is below 3 points."""


def other_thicknesses(recipe: Recipe) -> SetUp:
    """Plates of thicknesses that the run does not know."""
    plate = recipe.parameters.plate
    low, high = plate.thickness_range_mm or (math.inf, -math.inf)
    known = plate.nominal_thicknesses_mm
    setup = SETUPS[OTHER_THICKNESS]
    unknown = [mm for mm in setup.strengths if mm not in known and not low <= mm <= high]
    return setup._replace(strengths=tuple(unknown))


def other_alloys(recipe: Recipe) -> SetUp:
    """Plates of alloys that the run does not know; the strength is the alloy's number."""
    unknown = tuple(
        float(label) for label in sorted(ALLOYS) if label not in recipe.parameters.alloys
    )
    return SetUp(
        "EN AW",
        unknown,
        lambda _, label: {"alloys": [f"{label:.0f}"]},
        recognisable=False,
        plates=True,
    )


def _recipe(root: Path, channels: ChannelChoice | None) -> Recipe:
    """The recipe of the samples that a run with `data.channels` takes of a data set."""
    recipe = load_recipe(root / RECIPE)
    used = parameters_as_used(recipe.parameters, channels.as_dict() if channels else None)
    return replace(recipe, parameters=used)


def _changed(parameters: Parameters, setup: SetUp, strength: float) -> Parameters:
    """The parameters of a set-up."""
    return with_overrides(parameters, setup.settings(parameters, strength))


def setups_of(root: Path, channels: ChannelChoice | None = None) -> dict[str, SetUp]:
    """The set-ups for a data set in `root`; none unless it was simulated with one of its own.

    Args:
        root: Folder of the data set.
        channels: The run's `data.channels`; None if each image is a sample.
    """
    if not (root / RECIPE).is_file():
        return {}
    try:
        recipe = _recipe(root, channels)
    except AlloykError as error:
        logger.warning("no other set-ups are simulated: %s", error)
        return {}
    others = {OTHER_THICKNESS: other_thicknesses(recipe), OTHER_ALLOY: other_alloys(recipe)}
    return {name: setup for name, setup in (SETUPS | others).items() if setup.strengths}


def simulated_images(
    root: Path,
    setup: SetUp,
    strength: float,
    count: int,
    seed: int,
    channels: ChannelChoice | None = None,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Simulate images `(height, width, 1)` of another set-up, and their labels.

    Args:
        root: Folder of the data set, with its `simulation.yaml`.
        setup: One of `setups_of`.
        strength: One of its strengths.
        count: Number of images; at least one of each class is simulated.
        seed: Seed of plates, panel and images.
        channels: As in `setups_of`.
    """
    recipe = _recipe(root, channels)
    parameters = _changed(recipe.parameters, setup, strength)
    # Another stream than that of the data set, whose seeds are small numbers.
    # As many plates as possible, each at all of its stepped voltages.
    steps = min(recipe.images_per_plate, len(parameters.tube.voltage_steps_kvp or (0.0,)))
    changed = replace(
        recipe, parameters=parameters, images=max(count, len(parameters.alloys)),
        seed=10**6 + seed, imbalance=1.0, class_order=(), images_per_plate=steps,
    )  # fmt: skip
    simulator = Simulator(changed)
    planned = list(changed.plan())
    images = [simulator.image(one)[..., None] for one in planned]
    return images, np.array([one.plate.alloy for one in planned])


def detectable(
    root: Path, setup: SetUp, strength: float, channels: ChannelChoice | None = None
) -> float | None:
    """Share of the foreign plates that any detector could report.

    At the false-alarm rate of the runs' own detector, see `alloyk.simulator.ceiling.detection`.
    None where no plates change, and where the share cannot be computed, which is logged.
    """
    if not setup.plates:
        return None
    recipe = _recipe(root, channels)
    known = steps_as_taken(recipe.parameters, recipe.images_per_plate)
    try:
        return best_detection(
            known,
            _changed(known, setup, strength),
            recipe.image_size,
            false_alarms=FALSE_ALARMS,
            blocks=BLOCKS,
        ).share
    except AlloykError as error:
        logger.warning("no detectable share at %g %s: %s", strength, setup.unit, error)
        return None


def strengths_of(
    root: Path, channels: ChannelChoice | None = None
) -> Iterator[tuple[str, SetUp, float]]:
    """Name, set-up and strength of all that can be simulated; a warning names the others."""
    for name, setup in setups_of(root, channels).items():
        for strength in setup.strengths:
            recipe = _recipe(root, channels)
            try:
                beam = Beam(_changed(recipe.parameters, setup, strength))
                refuse_saturation(beam, recipe.image_size)
            except AlloykError as error:
                if name == SIMULATED_AGAIN:
                    logger.warning("no other set-ups are simulated: %s", error)
                    return
                logger.warning("%s, %g %s, is left out: %s", name, strength, setup.unit, error)
            else:
                yield name, setup, strength
