"""Circumstances and geometry of one image."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from alloyk.simulator.physics.beam import DRIFT_LIMIT_SD, HEIGHT_LIMIT_SD
from alloyk.simulator.settings.parameters import Parameters

FloatType = type[np.floating[Any]]


@dataclass(frozen=True)
class Circumstances:
    """Quantities that differ from image to image, even of one plate.

    Attributes:
        set_voltage_kvp: Set tube voltage.
        tube_voltage_kvp: Actual tube voltage.
        output: Tube output relative to nominal.
        scatter_ratio: Pedestal divided by mean primary signal.
        wedge_shift_mm: Displacement of the wedge along x.
        wedge_rotation_deg: Rotation in the image plane, positive from x towards y (down).
        wedge_height_mm: Maximum thickness of the wedge.
        plate_edge_mm: Position of the plate's upper edge at x = 0, below the field's centre.
        tilt_deg: Tilt of the plate.
        scan_mm: Sideways movement of the plate since its first image.
    """

    set_voltage_kvp: float
    tube_voltage_kvp: float
    output: float
    scatter_ratio: float
    wedge_shift_mm: float
    wedge_rotation_deg: float
    wedge_height_mm: float
    plate_edge_mm: float
    tilt_deg: float
    scan_mm: float


EDGE_REACH = 5 / 12
"""Maximum distance of the plate's edge from the centre, as a share of the field: part of the field
always shows the plate, and part does not."""


def _inside(value: float, limit: float) -> float:
    return float(min(max(value, -limit), limit))


def nominal_circumstances(parameters: Parameters, nth_of_plate: int = 0) -> Circumstances:
    """The circumstances with every quantity at its mean.

    Args:
        parameters: All parameters.
        nth_of_plate: Number of the image among those of its plate; selects a stepped voltage.
    """
    tube, wedge = parameters.tube, parameters.wedge
    low, high = tube.voltage_range_kvp or (tube.voltage_kvp, tube.voltage_kvp)
    steps = tube.channels_kvp or tube.voltage_steps_kvp
    voltage = steps[nth_of_plate % len(steps)] if steps else (low + high) / 2
    return Circumstances(
        voltage, voltage, 1.0, parameters.scatter.ratio, 0.0, 0.0, wedge.height_mm,
        _inside(parameters.plate.edge_mm, parameters.layout.field_mm * EDGE_REACH), 0.0, 0.0,
    )  # fmt: skip


def nominal_exposures(parameters: Parameters, nth_of_plate: int = 0) -> list[Circumstances]:
    """`nominal_circumstances` of each image of a sample: one, or one for each channel."""
    now = nominal_circumstances(parameters, nth_of_plate)
    return [
        replace(now, set_voltage_kvp=kvp, tube_voltage_kvp=kvp)
        for kvp in parameters.tube.channels_kvp or (now.set_voltage_kvp,)
    ]


def draw_circumstances(
    parameters: Parameters, rng: np.random.Generator, nth_of_plate: int = 0
) -> Circumstances:
    """Draw the circumstances of one image.

    Args:
        parameters: All parameters.
        rng: Random generator; the number of draws does not depend on the parameters.
        nth_of_plate: Number of the image among those of its plate; selects a stepped voltage.
    """
    tube, wedge, plate, scatter = (
        parameters.tube, parameters.wedge, parameters.plate, parameters.scatter,
    )  # fmt: skip
    uniform = rng.random()
    drift, output, pedestal, shift, rotation, height, edge, tilt = rng.standard_normal(8).tolist()
    steps = tube.channels_kvp or tube.voltage_steps_kvp
    if steps:
        voltage = steps[nth_of_plate % len(steps)]
    elif tube.voltage_range_kvp:
        low, high = tube.voltage_range_kvp
        voltage = low + (high - low) * uniform
    else:
        voltage = tube.voltage_kvp
    return Circumstances(
        set_voltage_kvp=voltage,
        tube_voltage_kvp=voltage + tube.voltage_drift_sd_kv * _inside(drift, DRIFT_LIMIT_SD),
        output=math.exp(parameters.exposure.output_sd * output),
        scatter_ratio=max(0.0, scatter.ratio + scatter.ratio_sd * pedestal),
        wedge_shift_mm=wedge.shift_sd_mm * shift,
        wedge_rotation_deg=wedge.rotation_sd_deg * rotation,
        wedge_height_mm=wedge.height_mm * (1 + wedge.height_sd * _inside(height, HEIGHT_LIMIT_SD)),
        plate_edge_mm=_inside(
            plate.edge_mm + plate.edge_sd_mm * edge, parameters.layout.field_mm * EDGE_REACH
        ),
        tilt_deg=abs(plate.tilt_sd_deg * _inside(tilt, 4.0)),
        scan_mm=nth_of_plate * plate.scan_step_mm,
    )


def draw_channel(
    parameters: Parameters, pose: Circumstances, voltage_kvp: float, rng: np.random.Generator
) -> Circumstances:
    """Draw the circumstances of another exposure in the same pose.

    Plate, wedge and scatter stay; the tube's output and the error of its voltage are drawn.

    Args:
        parameters: All parameters.
        pose: The circumstances of the pose.
        voltage_kvp: The set voltage.
        rng: Random generator.
    """
    drift, output = rng.standard_normal(2).tolist()
    error = parameters.tube.voltage_drift_sd_kv * _inside(drift, DRIFT_LIMIT_SD)
    return replace(
        pose,
        set_voltage_kvp=voltage_kvp,
        tube_voltage_kvp=voltage_kvp + error,
        output=math.exp(parameters.exposure.output_sd * output),
    )


@dataclass(frozen=True, eq=False)
class Scene:
    """Geometry of one image at each pixel; y points down.

    Attributes:
        wedge_mm: Wedge thickness, kept at its maximum beyond the face, `(n, n)`.
        beyond_face: Share of each pixel beyond the wedge's vertical face, for the columns from
            `face_column` on, shape `(n, n − face_column)`. There is no wedge in that share.
        face_column: First column that the face touches; `n` if there is none.
        covered: Share of each pixel that the plate covers, for the rows from `edge_row` up to
            `inside_row`, shape `(inside_row − edge_row, n)`.
        edge_row: First row with plate in it.
        inside_row: First row that the plate covers completely.
    """

    wedge_mm: np.ndarray
    beyond_face: np.ndarray
    face_column: int
    covered: np.ndarray
    edge_row: int
    inside_row: int


def pixel_centres_mm(image_size: int, field_mm: float) -> np.ndarray:
    """Position of the pixel centres relative to the field's centre, shape `(image_size,)`."""
    return (np.arange(image_size) + 0.5 - image_size / 2) * (field_mm / image_size)


def build_scene(
    parameters: Parameters, now: Circumstances, image_size: int, dtype: FloatType = np.float32
) -> Scene:
    """Position of wedge and plate in one image.

    Edges are antialiased: a pixel that an edge crosses gets the mean of both sides, weighted by
    their shares.
    """
    field_mm = parameters.layout.field_mm
    pixel_mm = field_mm / image_size
    axis = pixel_centres_mm(image_size, field_mm)
    full = parameters.layout.name == "full"
    turn = math.radians(now.wedge_rotation_deg)
    length_mm = field_mm if full else parameters.wedge.length_mm
    # Distance along the ramp from its foot: linear in x and y.
    along_x = (math.cos(turn) * axis - now.wedge_shift_mm + length_mm / 2).astype(dtype)
    along_y = (math.sin(turn) * axis).astype(dtype)
    along = along_y[:, None] + along_x[None, :]

    face_column = image_size
    beyond_face = np.zeros((image_size, 0), dtype)
    if not full:
        reach = along_x + max(along_y[0], along_y[-1])
        touched = np.flatnonzero(reach > length_mm - pixel_mm / 2)
        face_column = int(touched[0]) if len(touched) else image_size
        beyond_face = np.clip((along[:, face_column:] - length_mm) / dtype(pixel_mm) + 0.5, 0, 1)
    np.clip(along, 0, length_mm, out=along)
    along *= dtype(now.wedge_height_mm / length_mm)

    if full:
        return Scene(along, beyond_face, face_column, np.zeros((0, image_size), dtype), 0, 0)
    edge_turn = turn * parameters.plate.edge_rotation_ratio
    across_y = (math.cos(edge_turn) / pixel_mm * (axis - now.plate_edge_mm) + 0.5).astype(dtype)
    across_x = (-math.sin(edge_turn) / pixel_mm * axis).astype(dtype)
    slant = max(across_x[0], across_x[-1])
    edge_row = int(np.searchsorted(across_y, -slant, side="right"))
    inside_row = int(np.searchsorted(across_y, 1 + slant, side="left"))
    covered = np.clip(across_y[edge_row:inside_row, None] + across_x[None, :], 0, 1)
    return Scene(along, beyond_face, face_column, covered, edge_row, inside_row)
