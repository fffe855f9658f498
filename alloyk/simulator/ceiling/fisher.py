"""Fisher information of one image about its plate, from the forward model.

A plate affects an image through its optical depth at each energy. Between 10 and 60 keV the
attenuation of the nine elements is, to a few 1e-4 in ln(I), a mixture of two curves, so a plate is
reduced to two coefficients: the amounts of aluminium and copper of equal attenuation. The
information about them is limited by noise and by unknown output, voltage, pose and scatter.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from alloyk.alloys import ELEMENT_DENSITY_G_CM3
from alloyk.simulator.physics.beam import Beam, voltage_limits
from alloyk.simulator.physics.forward import Expectation, expected_image, open_beam_photons
from alloyk.simulator.physics.scene import Circumstances
from alloyk.simulator.settings.parameters import Parameters

BASIS = (("Al", 1.0), ("Cu", 1e-3))
"""Element and the thickness in mm of one unit: mm of aluminium, µm of copper."""

PLATES_MM = (0.5, 2.0, 8.0)
"""Aluminium thicknesses for which the reduction to two coefficients is optimised."""


class Reduction:
    """Maps optical depths to the two coefficients of a plate.

    Args:
        beam: The beam; energies are weighted by their signal behind wedge and plate.

    Attributes:
        basis_per_unit: Optical depth of one unit of each coefficient, shape `(2, bins)`.
    """

    def __init__(self, beam: Beam) -> None:
        attenuation = beam.attenuation.mu_over_rho
        self.basis_per_unit = np.stack(
            [attenuation[e] * ELEMENT_DENSITY_G_CM3[e] / 10 * mm for e, mm in BASIS]
        )
        # Weight of each energy in the signal behind many wedges and plates: the weighted mean of
        # an optical depth is, to first order, its contribution to ln(I).
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
        """Coefficients, `(…, 2)`, that fit ln(I) best for optical depths `(…, bins)`."""
        return np.asarray(depth) @ self._projection.T


Moved = Callable[[float], tuple[Circumstances, np.ndarray]]


@dataclass(frozen=True)
class _Parameter:
    """An unknown of an image: the step of its derivative, and its prior."""

    name: str
    step: float
    prior_sd: float  # inf without prior knowledge, 0 if known exactly
    moved: Moved


def prior_standard_deviations(parameters: Parameters) -> dict[str, float]:
    """Field of `Circumstances` → standard deviation of its prior.

    A uniform range of voltages is taken as a Gaussian of the same standard deviation. Stepped
    voltages are taken as known except for their drift, because an image distinguishes them.
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


COEFFICIENTS = ("a1", "a2")
"""Names of the two coefficients of a plate."""

OF_EXPOSURE = ("output", "tube_voltage_kvp")
"""Unknowns that each image has of its own, even in one pose."""

KNOWN = 1e-6
"""Circumstances with a prior narrower than this share of their step are taken as known."""

STEPS = {
    "output": 1e-3, "tube_voltage_kvp": 0.02, "wedge_shift_mm": 1e-3, "wedge_height_mm": 1e-3,
    "wedge_rotation_deg": 1e-3, "scatter_ratio": 1e-3, "plate_edge_mm": 1e-3,
}  # fmt: skip


def coefficient_covariance(
    beam: Beam,
    now: Circumstances,
    depth: np.ndarray,
    image_size: int,
    reduction: Reduction,
    pixels: np.ndarray | None = None,
) -> np.ndarray:
    """`joint_covariance` of one image.

    Args:
        beam: The beam.
        now: Circumstances at which the model is linearised.
        depth: Optical depth of the plate there, shape `(bins,)`.
        image_size: Pixels along each side.
        reduction: Reduction of the same beam.
        pixels: As in `joint_covariance`.
    """
    return joint_covariance(beam, [now], depth, image_size, reduction, pixels)


def joint_covariance(
    beam: Beam,
    exposures: Sequence[Circumstances],
    depth: np.ndarray,
    image_size: int,
    reduction: Reduction,
    pixels: np.ndarray | None = None,
) -> np.ndarray:
    """Minimum covariance of an estimate of a plate's two coefficients from images in one pose.

    The Fisher matrix of both coefficients and all unknown circumstances, from central differences
    of `alloyk.simulator.physics.forward.expected_image`,

        F_ij = Σ ∂s/∂i ∂s/∂j / v + ½ Σ ∂v/∂i ∂v/∂j / v²

    (signal s, its variance v, sums over all pixels), with Gaussian priors on the circumstances. The
    covariance is the inverse of the Schur complement of the coefficients.

    The noise of several images is independent, so that their matrices are added. They share plate,
    pose and scatter; `OF_EXPOSURE` are unknowns of each image.

    Blur, fixed pattern and flat field are taken as known; electronic noise and rounding to counts
    add to the variance.

    Args:
        beam: The beam.
        exposures: Circumstances of each image, at which the model is linearised.
        depth: Optical depth of the plate there, shape `(bins,)`.
        image_size: Pixels along each side.
        reduction: Reduction of the same beam.
        pixels: `(image_size, image_size)` bool, pixels that are seen; by default all but the
            detector's share of dead ones.

    Returns:
        Shape `(2, 2)`, in mm of aluminium and µm of copper.

    Source: S. M. Kay, Fundamentals of Statistical Signal Processing, vol. 1 (1993), eq. 3.31.
    """
    each = [_unknowns(beam, now, depth, reduction) for now in exposures]
    # The unknowns of all images: the coefficients, those of each exposure, those of the pose.
    keys = [[_key(number, one.name) for one in unknown] for number, unknown in enumerate(each)]
    ordered = sorted({key: None for of_image in keys for key in of_image}, key=lambda key: key[0])
    fisher = np.zeros((len(ordered), len(ordered)))
    priors = np.zeros(len(ordered))
    for now, unknown, of_image in zip(exposures, each, keys, strict=True):
        places = [ordered.index(key) for key in of_image]
        fisher[np.ix_(places, places)] += _information(
            beam, now, depth, image_size, unknown, pixels
        )
        priors[places] = [parameter.prior_sd**-2 for parameter in unknown]
    fisher += np.diag(priors)
    plate, circumstances, both = fisher[:2, :2], fisher[2:, 2:], fisher[:2, 2:]
    return np.linalg.inv(plate - both @ np.linalg.solve(circumstances, both.T))


def _key(image: int, name: str) -> tuple[int, int, str]:
    """Group of an unknown, its image if each has its own, and its name."""
    if name in COEFFICIENTS:
        return (0, 0, name)
    return (1, image, name) if name in OF_EXPOSURE else (2, 0, name)


def _information(
    beam: Beam,
    now: Circumstances,
    depth: np.ndarray,
    image_size: int,
    unknown: Sequence[_Parameter],
    pixels: np.ndarray | None,
) -> np.ndarray:
    """Fisher matrix of one image about its unknowns, without priors."""
    detector, layout = beam.parameters.detector, beam.parameters.layout
    extra = (detector.electronic_noise_per_mm * layout.field_mm / image_size) ** 2
    # One count in photon equivalents, for the rounding to counts.
    count = open_beam_photons(beam, image_size) / (detector.full_scale * detector.greatest_count)
    extra += count**2 / 12

    def image(circumstances: Circumstances, depth: np.ndarray) -> Expectation:
        return expected_image(beam, circumstances, depth, image_size, np.float64)

    variance = image(now, depth).variance.ravel() + extra
    by_signal, by_variance = [], []
    for parameter in unknown:
        high, low = (image(*parameter.moved(sign * parameter.step)) for sign in (1, -1))
        by_signal.append((high.signal - low.signal).ravel() / (2 * parameter.step))
        by_variance.append((high.variance - low.variance).ravel() / (2 * parameter.step))
    signals = np.stack(by_signal) / np.sqrt(variance)
    variances = np.stack(by_variance) / variance
    if pixels is not None:
        signals, variances = signals[:, pixels.ravel()], variances[:, pixels.ravel()]
    fisher: np.ndarray = signals @ signals.T + variances @ variances.T / 2
    return fisher if pixels is not None else fisher * (1 - detector.dead_pixels)


def _unknowns(
    beam: Beam, now: Circumstances, depth: np.ndarray, reduction: Reduction
) -> list[_Parameter]:
    """The two coefficients, then every circumstance that is not known exactly."""
    # The steps in voltage must stay inside the tables.
    first, last = beam.tube_table.voltages_kvp[[0, -1]]
    inside = np.clip(now.tube_voltage_kvp, first + STEPS["tube_voltage_kvp"],
                     last - STEPS["tube_voltage_kvp"])  # fmt: skip
    now = replace(now, tube_voltage_kvp=float(inside))

    def coefficient(axis: int) -> Moved:
        return lambda step: (now, depth + step * reduction.basis_per_unit[axis])

    def circumstance(name: str) -> Moved:
        value = getattr(now, name)
        if name == "output":  # its logarithm is normal
            return lambda step: (replace(now, output=value * math.exp(step)), depth)
        return lambda step: (replace(now, **{name: value + step}), depth)

    unknown = [
        _Parameter(name, step, math.inf, coefficient(axis))
        for axis, (name, step) in enumerate(zip(COEFFICIENTS, (1e-3, 1e-2), strict=True))
    ]
    for name, prior_sd in prior_standard_deviations(beam.parameters).items():
        if prior_sd > KNOWN * STEPS[name]:
            unknown.append(_Parameter(name, STEPS[name], prior_sd, circumstance(name)))
    return unknown
