"""The forward model: expected signal of one image and the variance of its quantum noise.

Both are smooth functions of the circumstances and of the plate's optical depth, so a Fisher matrix
can be computed from their differences (in float64).
"""

import math
from dataclasses import dataclass

import numpy as np

from alloyk.simulator.physics.beam import Beam, Curves
from alloyk.simulator.physics.plate import Plate
from alloyk.simulator.physics.scene import Circumstances, FloatType, Scene, build_scene

TEXTURE_STEP = 0.01
"""Relative change of a plate's depth for the slope of ln(A)."""


@dataclass(frozen=True, eq=False)
class Expectation:
    """Expected exposure in photon equivalents per pixel, before blur.

    Attributes:
        signal: Expected value, shape `(n, n)`. One photon equivalent is the mean signal of a
            photon absorbed in the open beam.
        variance: Variance of the quantum noise, shape `(n, n)`.
    """

    signal: np.ndarray
    variance: np.ndarray


def open_beam_photons(beam: Beam, image_size: int, tube_voltage_kvp: float | None = None) -> float:
    """N0: photons absorbed in the open beam by one pixel at nominal output.

    `Beam.photons_per_mm2` times `(field_mm / image_size)²`. Without a voltage, the maximum over
    all images.
    """
    if tube_voltage_kvp is None:
        tube_voltage_kvp = max(beam.parameters.tube.voltages_kvp)
    pixel_mm = beam.parameters.layout.field_mm / image_size
    return beam.photons_per_mm2(tube_voltage_kvp) * pixel_mm**2


def plate_depth(beam: Beam, plate: Plate, tilt_deg: float = 0.0) -> np.ndarray:
    """Optical depth `mu t / cos(tilt)` of a plate in each energy bin, shape `(bins,)`."""
    mu = beam.plate_mu_per_mm(plate.mass_fractions, plate.density_g_cm3)
    return mu * plate.true_thickness_mm / math.cos(math.radians(tilt_deg))


def expected_image(
    beam: Beam,
    now: Circumstances,
    depth: np.ndarray,
    image_size: int,
    dtype: FloatType = np.float32,
    *,
    texture: np.ndarray | None = None,
) -> Expectation:
    """Expected signal and variance of one image.

        signal   = N0 g (A + ratio ⟨A⟩)
        variance = N0 g (V + weight · ratio ⟨A⟩)

    with the tube's output g, the curves A and V of `Beam` at each pixel, and the mean ⟨A⟩ over
    the field.

    Args:
        beam: The beam.
        now: Circumstances of the image.
        depth: Optical depth of the plate in each energy bin, tilt included, shape `(bins,)`.
        image_size: Pixels along each side.
        dtype: float32 for images, float64 for derivatives.
        texture: Relative change of the plate's depth at each pixel, to first order in ln(A),
            shape `(image_size, image_size)`; None for a uniform plate.
    """
    parameters = beam.parameters
    scene = build_scene(parameters, now, image_size, dtype)
    bare = beam.curves(now.tube_voltage_kvp)
    behind = beam.curves(now.tube_voltage_kvp, depth)
    slopes = None
    if texture is not None:
        thicker = beam.curves(now.tube_voltage_kvp, depth * (1 + TEXTURE_STEP))
        slopes = Curves(
            np.log(thicker.signal / behind.signal) / TEXTURE_STEP,
            np.log(thicker.variance / behind.variance) / TEXTURE_STEP,
        )
    nodes = _NodeMap(scene, beam.wedge_nodes_mm)
    signal, variance = (
        _paint(nodes, *curves, texture)
        for curves in (
            (bare.signal, behind.signal, slopes.signal if slopes else None),
            (bare.variance, behind.variance, slopes.variance if slopes else None),
        )
    )
    photons = open_beam_photons(beam, image_size, now.tube_voltage_kvp) * now.output
    # In float64: a float32 mean would depend on the order of the sum.
    pedestal = now.scatter_ratio * float(signal.mean(dtype=np.float64))
    signal += dtype(pedestal)
    signal *= dtype(photons)
    variance += dtype(pedestal * parameters.scatter.noise_weight)
    variance *= dtype(photons)
    return Expectation(signal, variance)


class _NodeMap:
    """Position of each pixel between the nodes of a curve over wedge thickness."""

    def __init__(self, scene: Scene, nodes_mm: np.ndarray) -> None:
        self.scene = scene
        scale = scene.wedge_mm.dtype.type(1 / (nodes_mm[1] - nodes_mm[0]))
        self.share = scene.wedge_mm * scale
        self.node = self.share.astype(np.intp)
        np.minimum(self.node, len(nodes_mm) - 2, out=self.node)
        self.share -= self.node

    def lookup(self, curve: np.ndarray, rows: slice) -> np.ndarray:
        """Value of a curve at each pixel of some rows, linear between nodes."""
        curve = curve.astype(self.share.dtype)
        node = self.node[rows]
        values = np.diff(curve)[node]
        values *= self.share[rows]
        values += curve[node]
        beyond_face = values[:, self.scene.face_column :]
        beyond_face += self.scene.beyond_face[rows] * (curve[0] - beyond_face)
        return values


def _paint(
    nodes: _NodeMap,
    bare: np.ndarray,
    behind: np.ndarray,
    slope: np.ndarray | None,
    texture: np.ndarray | None,
) -> np.ndarray:
    """A or V at every pixel: wedge alone above, plate below, a soft edge between them."""
    scene = nodes.scene
    image = np.empty_like(scene.wedge_mm)
    above, below = slice(0, scene.inside_row), slice(scene.edge_row, None)
    edge = slice(scene.edge_row, scene.inside_row)
    image[above] = nodes.lookup(bare, above)
    uncovered = (1 - scene.covered) * image[edge]
    with_plate = nodes.lookup(behind, below)
    if slope is not None and texture is not None:
        with_plate *= np.exp(nodes.lookup(slope, below) * texture[below])
    image[below] = with_plate
    image[edge] *= scene.covered
    image[edge] += uncovered
    return image
