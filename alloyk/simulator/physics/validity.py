"""Checks whether the model holds for a set-up, before any image is rendered."""

from dataclasses import replace

import numpy as np
from scipy.special import ndtr

from alloyk.errors import ConfigError
from alloyk.simulator.physics.beam import Beam
from alloyk.simulator.physics.detector import blur_kernel, smooth_gain
from alloyk.simulator.physics.forward import expected_image, open_beam_photons, plate_depth
from alloyk.simulator.physics.plate import draw_plate
from alloyk.simulator.physics.scene import nominal_circumstances

NOTED, REFUSED = 0.05, 0.5
"""Share of saturated pixels above which a set-up gets a note, and above which it is refused. Noise
alone never saturates half of them."""

FEW_PHOTONS = 1.0
"""Photons per pixel of the open beam below which the noise is far from normal."""

COARSE = 64
"""Pixels along each side of the mean image used here; the noise is that of the true size."""


def saturated_share(beam: Beam, image_size: int) -> float:
    """Share of the pixels of an image that saturate, behind the thinnest plates.

    The count of each pixel is taken as normal, with the spread of the tube's output and the noise
    of signal and read-out after the detector's blur.
    """
    parameters, now = beam.parameters, nominal_circumstances(beam.parameters)
    detector, plate = parameters.detector, parameters.plate
    # Full scale is set by the maximum over all images.
    now = replace(now, tube_voltage_kvp=max(parameters.tube.voltages_kvp))
    coarse = min(image_size, COARSE)
    photons = open_beam_photons(beam, image_size)
    finer = (image_size / coarse) ** 2  # true pixels in a coarse one
    pixel_mm = parameters.layout.field_mm / image_size
    kernel = blur_kernel(detector.psf_sd_mm / pixel_mm).astype(float)
    full = detector.full_scale * detector.greatest_count / (detector.greatest_count + 0.5)
    offset = detector.offset_counts / (detector.greatest_count + 0.5)
    shares = []
    for label in parameters.alloys:
        one = draw_plate(
            0, label, min(plate.nominal_thicknesses_mm), plate, np.random.default_rng(0)
        )
        expected = expected_image(beam, now, plate_depth(beam, one), coarse, np.float64)
        signal, variance = (
            part / (photons * finer) for part in (expected.signal, expected.variance)
        )
        level = signal * smooth_gain(parameters, coarse) * full
        noise = variance / photons * (kernel**2).sum() ** 2
        noise += (detector.electronic_noise_per_mm * pixel_mm / photons) ** 2
        spread = np.sqrt((parameters.exposure.output_sd * level) ** 2 + full**2 * noise)
        shares.append(ndtr((level + offset - 1) / np.maximum(spread, 1e-12)).mean())
    return float(np.mean(shares)) * (1 - detector.dead_pixels)


def refuse_saturation(beam: Beam, image_size: int) -> None:
    """Refuse a set-up in which most pixels saturate.

    Raises:
        ConfigError: More than half of the pixels saturate.
    """
    share = saturated_share(beam, image_size)
    if share > REFUSED:
        raise ConfigError(
            f"at most half of the pixels must saturate, got {100 * share:.0f} % at the greatest "
            f"count, {beam.parameters.detector.greatest_count}; lower detector.full_scale, "
            "detector.offset_counts, scatter.ratio or exposure.output_sd"
        )


def validity_notes(beam: Beam, image_size: int) -> list[str]:
    """One sentence for each way in which a set-up is outside the simulator's intended range."""
    notes, share = [], saturated_share(beam, image_size)
    if share > NOTED:
        notes.append(
            f"About {100 * share:.0f} % of the pixels saturate; more photons or a lower "
            "detector.full_scale would avoid this."
        )
    photons = open_beam_photons(beam, image_size)
    if photons < FEW_PHOTONS:
        notes.append(
            f"A pixel of the open beam gets {photons:.2g} photons. The simulated noise is normal, "
            "which is not realistic below one photon per pixel."
        )
    return notes
