"""Signal of an energy-integrating detector in a polychromatic beam behind wedge and plate."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from alloyk.alloys import ELEMENT_DENSITY_G_CM3, ELEMENTS
from alloyk.errors import ConfigError
from alloyk.simulator.physics import libraries
from alloyk.simulator.physics.tables import (
    AttenuationTable,
    TubeTable,
    default_attenuation_table,
    default_tube_table,
)
from alloyk.simulator.settings.field_types import PHOTONS_PER_MM2
from alloyk.simulator.settings.parameters import Detector, Parameters, Tube

WEDGE_NODES = 257
"""Number of wedge thicknesses at which the curves are computed; linear between them."""

HEIGHT_LIMIT_SD = 4.0
"""Limit of the wedge's height error in standard deviations, so that the nodes cover it."""

DRIFT_LIMIT_SD = 4.0
"""The same for the tube voltage, so that it stays inside the tables."""

MIN_TRANSMISSION = 1e-9
"""Minimum share of the beam that filters and air must transmit."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Response behind the wedge at the wedge thicknesses `Beam.wedge_nodes_mm`.

    Attributes:
        signal: A(w), 1 in the open beam, shape `(nodes,)`.
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
        ConfigError: The voltage is outside the tables and SpekPy is missing or cannot compute it;
            a filter is unknown; the filters leave no beam; or the exposure time gives too few or
            too many photons.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        tube = parameters.tube
        self.tube_table, self.attenuation = _tables(
            *voltage_limits(tube), tube.anode, tube.anode_angle_deg, tube.beryllium_mm, tube.air_mm
        )
        self.energy_kev = self.tube_table.energy_kev
        wedge = parameters.wedge
        self.wedge_nodes_mm = np.linspace(
            0, wedge.height_mm * (1 + HEIGHT_LIMIT_SD * wedge.height_sd), WEDGE_NODES
        )
        mu_wedge = wedge.density_g_cm3 * self.attenuation.mu_over_rho["Al"] / 10
        # float64 and einsum: the order of sums in BLAS may depend on the number of threads.
        self._wedge_transmission = np.exp(-np.outer(self.wedge_nodes_mm, mu_wedge))
        self._alloying = np.stack([self.attenuation.mu_over_rho[e] for e in ELEMENTS])
        self._filtered = filter_transmission(tube, self.attenuation)
        self._absorbed = csi_absorption(parameters.detector, self.attenuation)
        for voltage_kvp in voltage_limits(tube):
            self._check_exposure(voltage_kvp)

    def _check_exposure(self, tube_voltage_kvp: float) -> None:
        passed = self.absorbed_spectrum(tube_voltage_kvp).sum()
        bare = (self.tube_table.fluence(tube_voltage_kvp) * self._absorbed).sum()
        if not passed > MIN_TRANSMISSION * bare:
            filters = self.parameters.tube.filters_mm
            named = ", ".join(f"{mm:g} mm {element}" for element, mm in filters.items())
            raise ConfigError(
                f"the beam must reach the detector, but none does at {tube_voltage_kvp:g} kV "
                f"behind {named or 'no filter'}; reduce tube.filters_mm or tube.air_mm, or "
                "raise the voltage"
            )
        try:
            PHOTONS_PER_MM2(self.photons_per_mm2(tube_voltage_kvp))
        except ValueError as error:
            raise ConfigError(
                f"photons per mm² at {tube_voltage_kvp:g} kV {error}, got "
                f"{self.photons_per_mm2(tube_voltage_kvp):.3g}; change exposure.exposure_time_s"
            ) from None

    def absorbed_spectrum(self, tube_voltage_kvp: float) -> np.ndarray:
        """Photons that the scintillator absorbs, s_E = S(E) D(E), shape `(bins,)`.

        Per cm² and mA·s, 1 m from the focal spot.
        """
        fluence = self.tube_table.fluence(tube_voltage_kvp)
        return fluence * self._filtered * self._absorbed

    def absorbed_per_mm2_mas(self, tube_voltage_kvp: float, distance_mm: float) -> float:
        """Photons absorbed in the open beam per mm² of detector and mA·s."""
        per_cm2 = self.absorbed_spectrum(tube_voltage_kvp).sum() * (1000 / distance_mm) ** 2
        return float(per_cm2 / 100)

    def photons_per_mm2(self, tube_voltage_kvp: float) -> float:
        """Photons absorbed in the open beam per mm² by one image at nominal output.

        `exposure.photons_per_mm2`, or from the tube's output at this voltage if
        `exposure.exposure_time_s` is set.
        """
        exposure = self.parameters.exposure
        if exposure.exposure_time_s is None:
            return exposure.photons_per_mm2
        output = self.absorbed_per_mm2_mas(tube_voltage_kvp, exposure.source_detector_mm)
        return output * exposure.tube_current_ma * exposure.exposure_time_s

    def plate_mu_per_mm(self, mass_fractions: np.ndarray, density_g_cm3: float) -> np.ndarray:
        """Linear attenuation coefficient in 1/mm, shape `(bins,)`.

        Args:
            mass_fractions: In the order of `alloyk.alloys.ELEMENTS`, shape `(9,)`.
            density_g_cm3: Density of the plate.
        """
        return density_g_cm3 * (mass_fractions[:, None] * self._alloying).sum(axis=0) / 10

    def curves(self, tube_voltage_kvp: float, plate_depth: np.ndarray | None = None) -> Curves:
        """Signal and variance behind the wedge.

            A(w) = Σ s_E E  exp(−mu w − depth) / Σ s_E E
            V(w) = Σ s_E E² exp(−mu w − depth) · Σ s_E / (Σ s_E E)² / Swank

        Args:
            tube_voltage_kvp: Peak voltage.
            plate_depth: Optical depth of the plate, `mu t / cos(tilt)`, shape `(bins,)`;
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


@lru_cache(maxsize=4)
def _tables(
    low_kvp: float,
    high_kvp: float,
    anode: str,
    angle_deg: float,
    beryllium_mm: float,
    air_mm: float,
) -> tuple[TubeTable, AttenuationTable]:
    """The package's tables if they cover this tube, else tables by SpekPy and xraydb."""
    table = default_tube_table()
    built_in = Tube()
    same_tube = (anode, angle_deg, beryllium_mm, air_mm) == (
        built_in.anode, built_in.anode_angle_deg, built_in.beryllium_mm, built_in.air_mm,
    )  # fmt: skip
    if same_tube and table.covers(low_kvp) and table.covers(high_kvp):
        return table, default_attenuation_table()
    try:
        table = libraries.compute_tube_table(
            low_kvp, high_kvp, anode=anode, anode_angle_deg=angle_deg,
            beryllium_mm=beryllium_mm, air_mm=air_mm,
        )  # fmt: skip
    except ConfigError as error:
        raise ConfigError(
            f"a {anode} tube at {angle_deg:g}° with {low_kvp:g} to {high_kvp:g} kV: {error}"
        ) from None
    return table, libraries.compute_attenuation_table(table.bin_edges_kev)


def voltage_limits(tube: Tube) -> tuple[float, float]:
    """Lowest and highest voltage of any image; drift is clipped at four standard deviations."""
    drift = DRIFT_LIMIT_SD * tube.voltage_drift_sd_kv
    return min(tube.voltages_kvp) - drift, max(tube.voltages_kvp) + drift


def filter_transmission(tube: Tube, attenuation: AttenuationTable) -> np.ndarray:
    """Transmission of the tube's filters, each a pure element, shape `(bins,)`."""
    depth = np.zeros_like(attenuation.mu_over_rho["Al"])
    energy_kev = (attenuation.bin_edges_kev[1:] + attenuation.bin_edges_kev[:-1]) / 2
    for element, thickness_mm in tube.filters_mm.items():
        if element in ELEMENT_DENSITY_G_CM3:
            density = ELEMENT_DENSITY_G_CM3[element]
            mu_over_rho = attenuation.mu_over_rho[element]
        else:
            density = libraries.element_density_g_cm3(element)
            mu_over_rho = libraries.mass_attenuation(element, energy_kev)
        depth += density * mu_over_rho * thickness_mm / 10
    return np.exp(-depth)


def csi_absorption(detector: Detector, attenuation: AttenuationTable) -> np.ndarray:
    """Share of photons absorbed, D = 1 − exp(−mu d), mean over each bin, shape `(bins,)`."""
    depth = detector.csi_density_g_cm3 * attenuation.csi_fine * detector.csi_mm / 10
    return -np.expm1(-depth).mean(axis=-1)
