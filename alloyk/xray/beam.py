"""What an energy-integrating detector sees of a polychromatic beam behind wedge and plate."""

from dataclasses import dataclass

import numpy as np

from alloyk.alloys import ELEMENT_DENSITY_G_CM3, ELEMENTS
from alloyk.errors import AlloykError
from alloyk.xray.parameters import Detector, Parameters, Tube
from alloyk.xray.tables import (
    AttenuationTable,
    TubeTable,
    default_attenuation_table,
    default_tube_table,
)

WEDGE_NODES = 257
"""Wedge thicknesses at which the curves are computed; linear between them."""

HEIGHT_LIMIT_SD = 4.0
"""A wedge's height departs by at most this many standard deviations, so the nodes suffice."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Response behind the wedge, at the wedge thicknesses ``Beam.wedge_nodes_mm``.

    Attributes:
        signal: A(w), 1 in the open beam, shape ``(nodes,)``.
        variance: V(w), variance of the signal per photon absorbed in the open beam, same shape.
    """

    signal: np.ndarray
    variance: np.ndarray


class Beam:
    """Tube, filters, wedge material and scintillator, for any voltage and any plate.

    Args:
        parameters: All simulation parameters; the beam reads `tube`, `exposure`, `wedge` and
            `detector`.

    Raises:
        AlloykError: A voltage that the tables do not hold and that SpekPy, if installed, cannot
            compute either; an unknown filter.
    """

    def __init__(self, parameters: Parameters):
        self.parameters = parameters
        self.tube_table = tube_table(parameters.tube)
        self.attenuation = default_attenuation_table()
        self.energy_kev = self.tube_table.energy_kev
        wedge = parameters.wedge
        self.wedge_nodes_mm = np.linspace(
            0, wedge.height_mm * (1 + HEIGHT_LIMIT_SD * wedge.height_sd), WEDGE_NODES
        )
        mu_wedge = wedge.density_g_cm3 * self.attenuation.mu_over_rho["Al"] / 10
        # float64 and einsum throughout: BLAS may sum in another order with other thread counts.
        self._wedge_transmission = np.exp(-np.outer(self.wedge_nodes_mm, mu_wedge))
        self._filtered = filter_transmission(parameters.tube, self.attenuation)
        self._absorbed = csi_absorption(parameters.detector, self.attenuation)

    def absorbed_spectrum(self, tube_voltage_kvp: float) -> np.ndarray:
        """Photons that the scintillator absorbs, s_E = S(E) D(E), shape ``(bins,)``.

        Per cm² and mA·s, 1 m from the focal spot.
        """
        fluence = self.tube_table.fluence(tube_voltage_kvp)
        return fluence * self._filtered * self._absorbed

    def absorbed_per_mm2_mas(self, tube_voltage_kvp: float, distance_mm: float) -> float:
        """Photons absorbed in the open beam per mm² of detector and mA·s."""
        per_cm2 = self.absorbed_spectrum(tube_voltage_kvp).sum() * (1000 / distance_mm) ** 2
        return float(per_cm2 / 100)

    def plate_mu_per_mm(self, mass_fractions: np.ndarray, density_g_cm3: float) -> np.ndarray:
        """Linear attenuation coefficient in 1/mm, shape ``(bins,)``.

        Args:
            mass_fractions: In the order of :data:`alloyk.alloys.ELEMENTS`, shape ``(9,)``.
            density_g_cm3: Of the plate.
        """
        table = np.stack([self.attenuation.mu_over_rho[element] for element in ELEMENTS])
        return density_g_cm3 * (mass_fractions[:, None] * table).sum(axis=0) / 10

    def curves(self, tube_voltage_kvp: float, plate_depth: np.ndarray | None = None) -> Curves:
        """Signal and variance behind the wedge.

            A(w) = Σ s_E E  exp(−mu w − depth) / Σ s_E E
            V(w) = Σ s_E E² exp(−mu w − depth) · Σ s_E / (Σ s_E E)² / Swank

        Args:
            tube_voltage_kvp: Peak voltage.
            plate_depth: Optical depth of the plate, ``mu t / cos(tilt)``, shape ``(bins,)``;
                None without a plate.

        Source: R. K. Swank, J. Appl. Phys. 44 (1973) 4199, for the noise of the light yield.
        """
        photons = self.absorbed_spectrum(tube_voltage_kvp)
        energy = photons * self.energy_kev
        behind = np.ones_like(energy) if plate_depth is None else np.exp(-plate_depth)
        moments = np.stack([energy * behind, energy * self.energy_kev * behind])
        signal, square = np.einsum("we,me->mw", self._wedge_transmission, moments)
        total = energy.sum()
        swank = self.parameters.detector.swank
        return Curves(signal / total, square * photons.sum() / total**2 / swank)


def tube_table(tube: Tube) -> TubeTable:
    """The package's table where it holds this tube, else spectra computed by SpekPy.

    Raises:
        AlloykError: The tube is outside the table and SpekPy is missing or cannot compute it.
    """
    table = default_tube_table()
    low, high = voltage_limits(tube)
    built_in = Tube()
    if (
        all(
            getattr(tube, name) == getattr(built_in, name)
            for name in ("anode", "anode_angle_deg", "beryllium_mm", "air_mm")
        )
        and table.covers(low)
        and table.covers(high)
    ):
        return table
    raise AlloykError(
        f"the beam table holds a W anode at 12° from 30 to 60 kV, found {tube.anode} at "
        f"{tube.anode_angle_deg:g}° and {low:g} to {high:g} kV"
    )


def voltage_limits(tube: Tube) -> tuple[float, float]:
    """Lowest and highest voltage that an image may get; drift is cut at four deviations."""
    voltages = tube.voltage_steps_kvp or tube.voltage_range_kvp or (tube.voltage_kvp,)
    drift = 4 * tube.voltage_drift_sd_kv
    return min(voltages) - drift, max(voltages) + drift


def filter_transmission(tube: Tube, attenuation: AttenuationTable) -> np.ndarray:
    """Transmission of the tube's filters, shape ``(bins,)``."""
    depth = 0.0
    for element, thickness_mm in tube.filters_mm.items():
        if element not in ELEMENT_DENSITY_G_CM3:
            raise AlloykError(f"unknown filter {element!r}: the tables hold {', '.join(ELEMENTS)}")
        density = ELEMENT_DENSITY_G_CM3[element]
        depth = depth + density * attenuation.mu_over_rho[element] * thickness_mm / 10
    return np.exp(-np.broadcast_to(depth, attenuation.mu_over_rho["Al"].shape))


def csi_absorption(detector: Detector, attenuation: AttenuationTable) -> np.ndarray:
    """Share of photons absorbed, D = 1 − exp(−mu d), mean over each bin, shape ``(bins,)``."""
    depth = detector.csi_density_g_cm3 * attenuation.csi_fine * detector.csi_mm / 10
    return -np.expm1(-depth).mean(axis=-1)
