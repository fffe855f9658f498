"""Test images of another set-up or of other plates, for runs that were trained on simulated ones.

The images are simulated anew from the data set's `simulation.yaml`, with other plates, another
panel and one setting changed. `simulated again` changes no setting: it is what the others compare
with.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alloyk.alloys import ALLOYS
from alloyk.inference.novelty import FALSE_ALARMS
from alloyk.robustness.table import SIMULATED_AGAIN
from alloyk.simulator.ceiling.detection import best_detection
from alloyk.simulator.dataset.recipe import Recipe, load_recipe
from alloyk.simulator.dataset.render import Simulator
from alloyk.simulator.settings.overrides import with_overrides
from alloyk.simulator.settings.parameters import Parameters

RECIPE = "simulation.yaml"


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
    return {"exposure.photons_per_mm2": factor * parameters.exposure.photons_per_mm2}


SETUPS: dict[str, SetUp] = {
    SIMULATED_AGAIN: SetUp("", (1,), lambda parameters, _: {}),
    "tube voltage": SetUp("kV", (45, 55, 60), lambda _, kv: {"tube.voltage_kvp": float(kv)}),
    "exposure": SetUp("factor", (4, 0.25, 0.1), _exposure),
    "wedge height": SetUp("mm", (9, 12, 15), lambda _, mm: {"wedge.height_mm": float(mm)}),
    "scatter": SetUp("of the mean", (0.1, 0.2, 0.4), lambda _, x: {"scatter.ratio": x}),
    "blur of the detector": SetUp("mm", (0.5, 1, 2), lambda _, mm: {"detector.psf_sd_mm": mm}),
    "other thickness": SetUp(
        "mm", (0.5, 3, 10), lambda _, mm: {"plate.thicknesses_mm": [float(mm)]}, plates=True
    ),
}
OTHER_ALLOY = "other alloy"

BLOCKS = 4
"""Repetitions of `detectable`; the Monte Carlo error is below 3 points."""


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


def setups_of(root: Path) -> dict[str, SetUp]:
    """The set-ups for a data set in `root`; none unless it was simulated."""
    if not (root / RECIPE).is_file():
        return {}
    others = other_alloys(load_recipe(root / RECIPE))
    return SETUPS | ({OTHER_ALLOY: others} if others.strengths else {})


def simulated_images(
    root: Path, setup: SetUp, strength: float, count: int, seed: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Simulate images `(height, width, 1)` of another set-up, and their labels.

    Args:
        root: Folder of the data set, with its `simulation.yaml`.
        setup: One of `setups_of`.
        strength: One of its strengths.
        count: How many images.
        seed: Of plates, panel and images.
    """
    recipe = load_recipe(root / RECIPE)
    parameters = with_overrides(recipe.parameters, setup.settings(recipe.parameters, strength))
    # Another stream than that of the data set, whose seeds are small numbers.
    changed = replace(
        recipe, parameters=parameters, images=count, seed=10**6 + seed, imbalance=1.0,
        class_order=(), images_per_plate=1,
    )  # fmt: skip
    simulator = Simulator(changed)
    planned = list(changed.plan())
    images = [simulator.image(one)[..., None] for one in planned]
    return images, np.array([one.plate.alloy for one in planned])


def detectable(root: Path, setup: SetUp, strength: float) -> float | None:
    """Share of the foreign plates that any detector could report; None where no plates change.

    At the false-alarm rate of the runs' own detector, see `alloyk.simulator.ceiling.detection`.
    """
    if not setup.plates:
        return None
    recipe = load_recipe(root / RECIPE)
    foreign = with_overrides(recipe.parameters, setup.settings(recipe.parameters, strength))
    return best_detection(
        recipe.parameters,
        foreign,
        recipe.image_size,
        false_alarms=FALSE_ALARMS,
        blocks=BLOCKS,
    ).share


def strengths_of(root: Path) -> Iterator[tuple[str, SetUp, float]]:
    """Name, set-up and strength of all that can be simulated."""
    for name, setup in setups_of(root).items():
        for strength in setup.strengths:
            yield name, setup, strength
