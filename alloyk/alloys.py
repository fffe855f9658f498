"""Aluminium alloys: composition limits, density and thickness tolerance."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from alloyk.errors import AlloykError

ELEMENTS = ("Al", "Si", "Fe", "Cu", "Mn", "Mg", "Cr", "Zn", "Ti")

ELEMENT_DENSITY_G_CM3 = {
    "Al": 2.70,
    "Si": 2.329,
    "Fe": 7.86,
    "Cu": 8.96,
    "Mn": 7.21,
    "Mg": 1.738,
    "Cr": 7.15,
    "Zn": 7.14,
    "Ti": 4.506,
}
"""Pure elements at room temperature, from xraydb's `atomic_density`."""

MAXIMUM_ONLY_SHARE = (0.15, 0.60)
"""Assumption: an element with a maximum only is present at U(.15, .6) of that maximum."""


@dataclass(frozen=True)
class Alloy:
    """One wrought aluminium alloy.

    Attributes:
        designation: Class label, for example `"1050"`.
        standard: Full designation, for example `"EN AW-1050A"`.
        density_g_cm3: Handbook density at the nominal composition.
        limits_wt_pct: Element → (minimum, maximum) in weight per cent, EN 573-3; a minimum of 0
            means that the standard gives a maximum only. Aluminium is the remainder.
        tolerance_group: Group of EN 485-4, `"I"` or `"II"`.
    """

    designation: str
    standard: str
    density_g_cm3: float
    limits_wt_pct: Mapping[str, tuple[float, float]]
    tolerance_group: str


def _alloy(designation: str, density: float, group: str, *limits: tuple[float, float]) -> Alloy:
    standard = {"1050": "EN AW-1050A", "2017": "EN AW-2017A"}.get(
        designation, f"EN AW-{designation}"
    )
    by_element = dict(zip(ELEMENTS[1:], limits, strict=True))
    return Alloy(designation, standard, density, by_element, group)


# EN 573-3, weight per cent, in the order Si, Fe, Cu, Mn, Mg, Cr, Zn, Ti. 2017A limits the sum
# Ti + Zr to .25; all of it is taken as Ti here (assumption). Groups: EN 485-4.
ALLOYS = {
    alloy.designation: alloy
    for alloy in (
        _alloy("1050", 2.705, "I", (0, .25), (0, .40), (0, .05), (0, .05),
               (0, .05), (0, 0), (0, .07), (0, .05)),
        _alloy("2017", 2.79, "II", (.20, .8), (0, .7), (3.5, 4.5), (.40, 1.0),
               (.40, 1.0), (0, .10), (0, .25), (0, .25)),
        _alloy("5083", 2.66, "II", (0, .40), (0, .40), (0, .10), (.40, 1.0),
               (4.0, 4.9), (.05, .25), (0, .25), (0, .15)),
        _alloy("6082", 2.70, "II", (.7, 1.3), (0, .50), (0, .10), (.40, 1.0),
               (.6, 1.2), (0, .25), (0, .20), (0, .10)),
        _alloy("7075", 2.81, "II", (0, .40), (0, .50), (1.2, 2.0), (0, .30),
               (2.1, 2.9), (.18, .28), (5.1, 6.1), (0, .20)),
    )
}  # fmt: skip


def get_alloy(designation: str) -> Alloy:
    """Return the alloy of a class label.

    Example:
        >>> get_alloy("2017").standard
        'EN AW-2017A'

    Raises:
        AlloykError: The label is unknown; the message suggests similar ones.
    """
    alloy = ALLOYS.get(str(designation))
    if alloy is None:
        close = difflib.get_close_matches(str(designation), ALLOYS, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise AlloykError(
            f"unknown alloy {designation!r}: {hint}must be one of {', '.join(ALLOYS)}"
        )
    return alloy


def display_name(label: str) -> str:
    r"""Return the display name of a class, on one line.

    >>> print(display_name("1050"), display_name("steel"), display_name("a\nb"))
    Al 1050 steel a\nb
    """
    if label in ALLOYS:
        return f"Al {label}"
    return label if label.isprintable() else repr(label)[1:-1]


# EN 485-4:1994, Table 1, specified width up to 1000 mm: thickness up to and including (mm),
# tolerance of group I, tolerance of group II (± mm). One column from 3.5 mm on.
_TOLERANCE_MM = (
    (0.4, 0.02, 0.03), (0.5, 0.03, 0.03), (0.6, 0.03, 0.04), (0.8, 0.03, 0.04),
    (1.0, 0.04, 0.05), (1.2, 0.04, 0.05), (1.5, 0.05, 0.07), (1.8, 0.06, 0.08),
    (2.0, 0.06, 0.09), (2.5, 0.07, 0.10), (3.0, 0.08, 0.11), (3.5, 0.10, 0.12),
    (4.0, 0.15, 0.15), (5.0, 0.18, 0.18), (6.0, 0.20, 0.20), (8.0, 0.24, 0.24),
    (10., 0.27, 0.27), (12., 0.32, 0.32), (15., 0.36, 0.36), (20., 0.38, 0.38),
    (25., 0.40, 0.40), (30., 0.45, 0.45), (40., 0.50, 0.50), (50., 0.55, 0.55),
)  # fmt: skip


def thickness_tolerance_mm(alloy: Alloy, thickness_mm: float) -> float:
    """Permitted deviation (±, mm) of a cold-rolled sheet, width up to 1000 mm.

    Below 0.2 mm, where the standard ends, the first row is used.

    Example:
        >>> thickness_tolerance_mm(get_alloy("1050"), 2.0)
        0.06

    Raises:
        AlloykError: The thickness is not above 0 and at most 50 mm.

    Source: EN 485-4:1994, Table 1.
    """
    if not 0 < thickness_mm <= _TOLERANCE_MM[-1][0]:
        raise AlloykError(
            f"the plate thickness must be above 0 and at most 50 mm (the range of EN 485-4), "
            f"got {thickness_mm:g} mm"
        )
    for up_to, group_one, group_two in _TOLERANCE_MM:
        if thickness_mm <= up_to:
            return group_one if alloy.tolerance_group == "I" else group_two
    raise AssertionError("unreachable")


def nominal_mass_fractions(alloy: Alloy) -> np.ndarray:
    """Middle of each range; for a maximum only, the mean of the assumed distribution.

    Returns:
        Mass fractions in the order of `ELEMENTS`, sum 1, shape `(9,)`.
    """
    share = sum(MAXIMUM_ONLY_SHARE) / 2
    middle = [(low + high) / 2 if low else share * high for low, high in _limits(alloy)]
    return _with_remainder(np.array(middle))


def draw_mass_fractions(
    alloy: Alloy, rng: np.random.Generator, law: str, count: int | None = None
) -> np.ndarray:
    """Draw the composition of one or more plates.

    Args:
        alloy: The alloy.
        rng: Random generator; it consumes the same numbers for every law.
        law: All three are assumptions. `"typical"`: N(middle, range / 6), clipped to the
            limits, and U(.15, .6) of a maximum only; `"limits"`: uniform over the whole of each
            range; `"nominal"`: no spread.
        count: Number of plates; None for one.

    Returns:
        Mass fractions in the order of `ELEMENTS`, sum 1, shape `(9,)` or `(count, 9)`.
    """
    shape = (len(ELEMENTS) - 1,) if count is None else (count, len(ELEMENTS) - 1)
    uniform = rng.random(shape)
    normal = rng.standard_normal(shape)
    if law == "nominal":
        nominal = nominal_mass_fractions(alloy)
        return nominal if count is None else np.tile(nominal, (count, 1))
    low, high = np.array(_limits(alloy)).T
    if law == "limits":
        return _with_remainder(low + (high - low) * uniform)
    if law != "typical":
        raise ValueError(f"law must be 'typical', 'limits' or 'nominal', got {law!r}")
    ranged = np.clip((low + high) / 2 + (high - low) / 6 * normal, low, high)
    first, last = MAXIMUM_ONLY_SHARE
    capped = high * (first + (last - first) * uniform)
    return _with_remainder(np.where(low > 0, ranged, capped))


def check_mass_fractions(mass_fractions: Mapping[str, float]) -> np.ndarray:
    """Return a given composition as an array in the order of `ELEMENTS`.

    Example:
        >>> check_mass_fractions({"Al": 0.96, "Cu": 0.04})[:4]
        array([0.96, 0.  , 0.  , 0.04])

    Raises:
        AlloykError: An element is unknown, a fraction is negative, or the sum is not 1 within 1e-6.
    """
    for element, fraction in mass_fractions.items():
        if element not in ELEMENTS:
            raise AlloykError(f"an element must be one of {', '.join(ELEMENTS)}, got {element!r}")
        if not fraction >= 0:
            raise AlloykError(f"mass fractions must be >= 0, got {element}={fraction}")
    fractions = np.array([float(mass_fractions.get(element, 0.0)) for element in ELEMENTS])
    if abs(fractions.sum() - 1) > 1e-6:
        raise AlloykError(
            f"mass fractions must sum to 1, got {fractions.sum():.6g}; give fractions, not per "
            "cent, and include aluminium"
        )
    return fractions


def ideal_mix_density_g_cm3(mass_fractions: np.ndarray) -> np.ndarray:
    """Density of an ideal mixture, `1 / Σ w_i / rho_i`.

    Args:
        mass_fractions: In the order of `ELEMENTS`, shape `(…, 9)`.

    Returns:
        Shape `(…)`.
    """
    densities = np.array([ELEMENT_DENSITY_G_CM3[element] for element in ELEMENTS])
    return 1 / np.sum(np.asarray(mass_fractions) / densities, axis=-1)


def plate_density_g_cm3(alloy: Alloy, mass_fractions: np.ndarray) -> np.ndarray:
    """Handbook density, corrected for the difference of the composition from the nominal one.

    Args:
        alloy: The alloy.
        mass_fractions: Shape `(…, 9)`.

    Returns:
        Shape `(…)`.
    """
    nominal = ideal_mix_density_g_cm3(nominal_mass_fractions(alloy))
    return alloy.density_g_cm3 * ideal_mix_density_g_cm3(mass_fractions) / nominal


def _limits(alloy: Alloy) -> list[tuple[float, float]]:
    return [alloy.limits_wt_pct[element] for element in ELEMENTS[1:]]


def _with_remainder(weight_percent: np.ndarray) -> np.ndarray:
    aluminium = 100 - weight_percent.sum(axis=-1, keepdims=True)
    return np.concatenate([aluminium, weight_percent], axis=-1) / 100
