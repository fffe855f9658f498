"""One metal plate: its identity stays the same through all of its images."""

from dataclasses import dataclass

import numpy as np

from alloyk.alloys import (
    check_mass_fractions,
    draw_mass_fractions,
    get_alloy,
    plate_density_g_cm3,
    thickness_tolerance_mm,
)
from alloyk.xray.parameters import RANGE_PARTS, PlateSpread


@dataclass(frozen=True, eq=False)
class Plate:
    """A plate as it really is.

    Attributes:
        index: Its number in the data set, from 0; seeds its texture.
        alloy: Class label.
        thickness_mm: Nominal thickness, as ordered.
        true_thickness_mm: As delivered.
        mass_fractions: In the order of :data:`alloyk.alloys.ELEMENTS`, sum 1, shape ``(9,)``.
        density_g_cm3: From handbook and composition.
    """

    index: int
    alloy: str
    thickness_mm: float
    true_thickness_mm: float
    mass_fractions: np.ndarray
    density_g_cm3: float

    @property
    def plate_id(self) -> str:
        """Unique in the data set, for example ``"p00012"``."""
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
        index: Its number in the data set.
        alloy_label: Class label.
        nominal_mm: One of `spread.nominal_thicknesses_mm`.
        spread: The laws.
        rng: Random generator.
    """
    alloy = get_alloy(alloy_label)
    # Always the same numbers, whatever the law: plates stay comparable between settings.
    uniform, normal = rng.random(), rng.standard_normal()
    fractions = draw_mass_fractions(alloy, rng, spread.composition_law)
    if alloy_label in spread.compositions:
        fractions = check_mass_fractions(spread.compositions[alloy_label])
    if spread.thickness_range_mm:
        low, high = spread.thickness_range_mm
        true_mm = nominal_mm + (uniform - 0.5) * (high - low) / RANGE_PARTS
    elif spread.thickness_law == "relative":
        true_mm = nominal_mm * (1 + spread.thickness_relative_sd * normal)
    else:
        tolerance = spread.tolerance_scale * thickness_tolerance_mm(alloy, nominal_mm)
        departure = {"normal": normal / 3, "uniform": 2 * uniform - 1, "exact": 0.0}
        true_mm = nominal_mm + tolerance * departure[spread.thickness_law]
    return Plate(
        index,
        alloy_label,
        nominal_mm,
        max(true_mm, 0.01 * nominal_mm),
        fractions,
        plate_density_g_cm3(alloy, fractions),
    )
