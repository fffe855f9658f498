"""How well one image can tell its plate: the Fisher matrix of the forward model.

A plate enters an image through its optical depth at each energy. Between 10 and 60 keV the nine
elements' attenuation is, to a few 1e-4 in ln(I), a mixture of two curves, so a plate is reduced to
two coefficients: the aluminium and the copper that would attenuate alike. What an image says about
them is limited by noise and by what else is unknown: output, voltage, pose, scatter.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from alloyk.alloys import ELEMENT_DENSITY_G_CM3
from alloyk.simulator.physics.beam import Beam, voltage_limits
from alloyk.simulator.physics.forward import expected_image, open_beam_photons
from alloyk.simulator.physics.scene import Circumstances
from alloyk.simulator.settings.parameters import Parameters

BASIS = (("Al", 1.0), ("Cu", 1e-3))
"""Element and the thickness in mm that one unit stands for: mm of aluminium, µm of copper."""

PLATES_MM = (0.5, 2.0, 8.0)
"""Aluminium in front of the detector for which the reduction to two coefficients is tuned."""


class Reduction:
    """From compositions to the two coefficients of a plate.

    Args:
        beam: The beam; energies count with what the detector sees of them behind wedge and plate.

    Attributes:
        basis_per_unit: Optical depth of one unit of each coefficient, shape ``(2, bins)``.
    """

    def __init__(self, beam: Beam):
        attenuation = beam.attenuation.mu_over_rho
        self.basis_per_unit = np.stack(
            [attenuation[e] * ELEMENT_DENSITY_G_CM3[e] / 10 * mm for e, mm in BASIS]
        )
        # What the detector sees of each energy behind many wedges and plates: as the mean of an
        # optical depth over it is, to first order, the depth's part of ln(I).
        voltages_kvp = np.unique(np.clip(voltage_limits(beam.parameters.tube),
                                         *beam.tube_table.voltages_kvp[[0, -1]]))  # fmt: skip
        behind_mm = np.add.outer(beam.wedge_nodes_mm, PLATES_MM).ravel()[:, None]
        seen = np.concatenate(
            [
                beam.absorbed_spectrum(kvp) * np.exp(-self.basis_per_unit[0] * behind_mm)
                for kvp in voltages_kvp.tolist()
            ]
        )
        seen *= beam.energy_kev
        seen /= seen.sum(axis=1, keepdims=True)
        self._projection = np.linalg.pinv(seen @ self.basis_per_unit.T) @ seen

    def coefficients(self, depth: np.ndarray) -> np.ndarray:
        """Coefficients that fit ln(I) best, of optical depths ``(…, bins)``: ``(…, 2)``."""
        return np.asarray(depth) @ self._projection.T


@dataclass(frozen=True)
class _Parameter:
    """One unknown of an image: how far a step moves it, and what is known beforehand."""

    step: float
    prior_sd: float  # inf where nothing is known, 0 where all is
    moved: Callable[[float], tuple[Circumstances, np.ndarray]]


def prior_standard_deviations(parameters: Parameters) -> dict[str, float]:
    """Field of :class:`Circumstances` → standard deviation of what is unknown about it.

    A uniform range of voltages counts as a Gaussian of the same standard deviation. Stepped
    voltages are taken as known but for their drift, because an image tells them apart.
    """
    tube, wedge, plate = parameters.tube, parameters.wedge, parameters.plate
    low, high = tube.voltage_range_kvp or (0.0, 0.0)
    known = {
        "output": parameters.exposure.output_sd,
        "tube_voltage_kvp": math.hypot(tube.voltage_drift_sd_kv, (high - low) / math.sqrt(12)),
        "wedge_shift_mm": wedge.shift_sd_mm,
        "wedge_height_mm": wedge.height_mm * wedge.height_sd,
        "wedge_rotation_deg": wedge.rotation_sd_deg,
        "scatter_ratio": parameters.scatter.ratio_sd,
    }
    if parameters.layout.name == "step":
        known["plate_edge_mm"] = plate.edge_sd_mm
    return known


KNOWN = 1e-6
"""What is known to this part of its step beforehand counts as known exactly."""

STEPS = {
    "output": 1e-3, "tube_voltage_kvp": 0.02, "wedge_shift_mm": 1e-3, "wedge_height_mm": 1e-3,
    "wedge_rotation_deg": 1e-3, "scatter_ratio": 1e-3, "plate_edge_mm": 1e-3,
}  # fmt: skip


def coefficient_covariance(
    beam: Beam, now: Circumstances, depth: np.ndarray, image_size: int, reduction: Reduction
) -> np.ndarray:
    """Smallest covariance with which one image tells the two coefficients of its plate.

    The Fisher matrix of both coefficients and all unknown circumstances, from central differences
    of :func:`alloyk.simulator.physics.forward.expected_image`,

        F_ij = Σ ∂s/∂i ∂s/∂j / v + ½ Σ ∂v/∂i ∂v/∂j / v²

    (s the signal, v its variance, over all pixels), with Gaussian priors on the circumstances; the
    covariance is the inverse of the Schur complement that leaves the coefficients.

    Blur, fixed pattern and flat field are taken as known; electronic noise and the rounding to
    counts add to the variance.

    Args:
        beam: The beam.
        now: Circumstances at which the model is linearised.
        depth: Optical depth of the plate there, shape ``(bins,)``.
        image_size: Pixels along each side.
        reduction: Of the same beam.

    Returns:
        Shape ``(2, 2)``, in mm of aluminium and µm of copper.

    Source: S. M. Kay, Fundamentals of Statistical Signal Processing, vol. 1 (1993), eq. 3.31.
    """
    unknown = _unknowns(beam, now, depth, reduction)
    detector, layout = beam.parameters.detector, beam.parameters.layout
    extra = (detector.electronic_noise_per_mm * layout.field_mm / image_size) ** 2
    # One count, in photon equivalents, is rounded to.
    count = open_beam_photons(beam, image_size) / (detector.full_scale * detector.greatest_count)
    extra += count**2 / 12

    def image(circumstances, depth):
        return expected_image(beam, circumstances, depth, image_size, np.float64)

    variance = image(now, depth).variance.ravel() + extra
    by_signal, by_variance = [], []
    for parameter in unknown:
        high, low = (image(*parameter.moved(sign * parameter.step)) for sign in (1, -1))
        by_signal.append((high.signal - low.signal).ravel() / (2 * parameter.step))
        by_variance.append((high.variance - low.variance).ravel() / (2 * parameter.step))
    by_signal, by_variance = np.stack(by_signal), np.stack(by_variance)
    by_signal /= np.sqrt(variance)
    by_variance /= variance
    fisher = by_signal @ by_signal.T + by_variance @ by_variance.T / 2
    fisher *= 1 - detector.dead_pixels
    fisher += np.diag([parameter.prior_sd**-2 for parameter in unknown])
    plate, circumstances, both = fisher[:2, :2], fisher[2:, 2:], fisher[:2, 2:]
    return np.linalg.inv(plate - both @ np.linalg.solve(circumstances, both.T))


def _unknowns(
    beam: Beam, now: Circumstances, depth: np.ndarray, reduction: Reduction
) -> list[_Parameter]:
    """The two coefficients, then every circumstance that is not known exactly."""
    # Differences in voltage must not leave the tables.
    first, last = beam.tube_table.voltages_kvp[[0, -1]]
    inside = np.clip(now.tube_voltage_kvp, first + STEPS["tube_voltage_kvp"],
                     last - STEPS["tube_voltage_kvp"])  # fmt: skip
    now = replace(now, tube_voltage_kvp=float(inside))

    def coefficient(axis):
        return lambda step: (now, depth + step * reduction.basis_per_unit[axis])

    def circumstance(name):
        value = getattr(now, name)
        if name == "output":  # its logarithm is what is normal
            return lambda step: (replace(now, output=value * math.exp(step)), depth)
        return lambda step: (replace(now, **{name: value + step}), depth)

    unknown = [_Parameter(step, math.inf, coefficient(a)) for a, step in enumerate((1e-3, 1e-2))]
    for name, prior_sd in prior_standard_deviations(beam.parameters).items():
        if prior_sd > KNOWN * STEPS[name]:
            unknown.append(_Parameter(STEPS[name], prior_sd, circumstance(name)))
    return unknown
