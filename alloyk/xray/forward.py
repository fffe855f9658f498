"""The forward model: expected signal of one image and the variance of its quantum noise.

Both are smooth functions of the circumstances and of the plate's optical depth, so that a Fisher
matrix can be taken from their differences (ask for float64 then).
"""

import math
from dataclasses import dataclass

import numpy as np

from alloyk.xray.beam import Beam, Curves
from alloyk.xray.parameters import Parameters
from alloyk.xray.plate import Plate
from alloyk.xray.scene import Circumstances, Scene, build_scene


@dataclass(frozen=True, eq=False)
class Expectation:
    """What reaches the scintillator, in photon equivalents per pixel, before any blur.

    Attributes:
        signal: Expected value, shape ``(n, n)``. One photon equivalent is the mean signal of a
            photon absorbed in the open beam.
        variance: Of the quantum noise, shape ``(n, n)``.
    """

    signal: np.ndarray
    variance: np.ndarray


def open_beam_photons(beam: Beam, image_size: int, tube_voltage_kvp: float | None = None) -> float:
    """N0: photons absorbed in the open beam by one pixel at nominal output.

    ``photons_per_mm2 · (field_mm / image_size)²``, or from the tube's output at this voltage
    where the exposure is stated as a time. With no voltage given, the most that any image gets.
    """
    exposure, layout, tube = (
        beam.parameters.exposure, beam.parameters.layout, beam.parameters.tube,
    )  # fmt: skip
    per_mm2 = exposure.photons_per_mm2
    if exposure.exposure_time_s is not None:
        if tube_voltage_kvp is None:
            tube_voltage_kvp = max(
                tube.voltage_steps_kvp or tube.voltage_range_kvp or (tube.voltage_kvp,)
            )
        output = beam.absorbed_per_mm2_mas(tube_voltage_kvp, exposure.source_detector_mm)
        per_mm2 = output * exposure.tube_current_ma * exposure.exposure_time_s
    return per_mm2 * (layout.field_mm / image_size) ** 2


def plate_depth(beam: Beam, plate: Plate, tilt_deg: float = 0.0) -> np.ndarray:
    """Optical depth ``mu t / cos(tilt)`` of a plate in each energy bin, shape ``(bins,)``."""
    mu = beam.plate_mu_per_mm(plate.mass_fractions, plate.density_g_cm3)
    return mu * plate.true_thickness_mm / math.cos(math.radians(tilt_deg))


def expected_image(
    beam: Beam,
    now: Circumstances,
    depth: np.ndarray,
    image_size: int,
    dtype=np.float32,
) -> Expectation:
    """Expected signal and variance of one image.

        signal   = N0 g (A + ratio ⟨A⟩)
        variance = N0 g (V + weight · ratio ⟨A⟩)

    with g the tube's output, A and V the curves of :class:`alloyk.xray.beam.Beam` at each pixel,
    and ⟨A⟩ the mean over the field.

    Args:
        beam: The beam.
        now: Circumstances of the image.
        depth: Optical depth of the plate in each energy bin, tilt included, shape ``(bins,)``.
        image_size: Pixels along each side.
        dtype: float32 for images, float64 for derivatives.
    """
    parameters = beam.parameters
    scene = build_scene(parameters, now, image_size, dtype)
    bare = beam.curves(now.tube_voltage_kvp)
    behind = beam.curves(now.tube_voltage_kvp, depth)
    signal, variance = _paint(scene, bare, behind, beam.wedge_nodes_mm)
    photons = open_beam_photons(beam, image_size, now.tube_voltage_kvp) * now.output
    # In float64, because a float32 mean would depend on how the sum is split.
    pedestal = now.scatter_ratio * float(signal.mean(dtype=np.float64))
    signal += dtype(pedestal)
    signal *= dtype(photons)
    variance += dtype(pedestal * parameters.scatter.noise_weight)
    variance *= dtype(photons)
    return Expectation(signal, variance)


def _paint(
    scene: Scene, bare: Curves, behind: Curves, nodes_mm: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A and V at every pixel, by linear interpolation in the wedge thickness."""
    dtype = scene.wedge_mm.dtype
    position = scene.wedge_mm * dtype.type(1 / (nodes_mm[1] - nodes_mm[0]))
    node = position.astype(np.intp)
    np.minimum(node, len(nodes_mm) - 2, out=node)
    position -= node
    images = []
    for bare_curve, plate_curve in (
        (bare.signal, behind.signal),
        (bare.variance, behind.variance),
    ):
        image = np.empty_like(scene.wedge_mm)
        _lookup(scene, bare_curve, node, position, slice(0, scene.inside_row), image)
        below = slice(scene.edge_row, None)
        soft = scene.inside_row - scene.edge_row
        without_plate = image[scene.edge_row : scene.inside_row].copy()
        _lookup(scene, plate_curve, node, position, below, image)
        edge = image[scene.edge_row : scene.inside_row]
        if soft:
            edge += (1 - scene.covered) * (without_plate - edge)
        images.append(image)
    return images[0], images[1]


def _lookup(
    scene: Scene,
    curve: np.ndarray,
    node: np.ndarray,
    position: np.ndarray,
    rows: slice,
    image: np.ndarray,
) -> None:
    """Fill some rows of `image` from one curve over the wedge thickness."""
    curve = curve.astype(image.dtype)
    part = image[rows]
    np.take(np.diff(curve, append=curve[-1]), node[rows], out=part, mode="clip")
    part *= position[rows]
    part += curve[node[rows]]
    beyond = scene.beyond_face[rows]
    part[:, scene.face_column :] += beyond * (curve[0] - part[:, scene.face_column :])
