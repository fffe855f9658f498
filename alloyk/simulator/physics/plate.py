"""A plate; its thickness and composition are the same in all of its images."""

from dataclasses import dataclass

import numpy as np

from alloyk.alloys import (
    check_mass_fractions,
    draw_mass_fractions,
    get_alloy,
    plate_density_g_cm3,
)
from alloyk.simulator.physics.thickness import ThicknessLaw
from alloyk.simulator.settings.parameters import PlateSpread


@dataclass(frozen=True, eq=False)
class Plate:
    """The true properties of a plate.

    Attributes:
        index: Number in the data set, from 0; seeds the texture.
        alloy: Class label.
        thickness_mm: Nominal thickness.
        true_thickness_mm: Actual thickness.
        mass_fractions: In the order of `alloyk.alloys.ELEMENTS`, sum 1, shape `(9,)`.
        density_g_cm3: From the handbook value and the composition.
    """

    index: int
    alloy: str
    thickness_mm: float
    true_thickness_mm: float
    mass_fractions: np.ndarray
    density_g_cm3: float

    @property
    def plate_id(self) -> str:
        """Unique in the data set, for example `"p00012"`."""
        return f"p{self.index:05d}"


def draw_plate(
    index: int,
    alloy_label: str,
    nominal_mm: float,
    spread: PlateSpread,
    rng: np.random.Generator,
) -> Plate:
    """Draw thickness and composition of one plate.

    Args:
        index: Number in the data set.
        alloy_label: Class label.
        nominal_mm: One of `spread.nominal_thicknesses_mm`.
        spread: The distributions.
        rng: Random generator.
    """
    # The same random numbers for every law, so that plates stay comparable between settings.
    uniform, normal = rng.random(), rng.standard_normal()
    fractions = draw_compositions(alloy_label, spread, rng)
    law = ThicknessLaw.of(spread, alloy_label, nominal_mm)
    return Plate(
        index,
        alloy_label,
        nominal_mm,
        max(float(law.thickness_mm(uniform, normal)), 0.01 * nominal_mm),
        fractions,
        float(plate_density_g_cm3(get_alloy(alloy_label), fractions)),
    )


def draw_compositions(
    alloy_label: str, spread: PlateSpread, rng: np.random.Generator, count: int | None = None
) -> np.ndarray:
    """Mass fractions of one plate, `(9,)`, or of `count` plates, `(count, 9)`."""
    fractions = draw_mass_fractions(get_alloy(alloy_label), rng, spread.composition_law, count)
    if alloy_label in spread.compositions:
        fractions[...] = check_mass_fractions(spread.compositions[alloy_label])
    return fractions
