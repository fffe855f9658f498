"""The flat panel: quantum noise, blur, fixed pattern, electronic noise, counts."""

import math

import numpy as np

from alloyk.simulator.physics.forward import Expectation
from alloyk.simulator.physics.scene import pixel_centres_mm
from alloyk.simulator.settings.parameters import Parameters


class Panel:
    """One detector; its fixed pattern and dead pixels are the same in every image.

    Args:
        parameters: All parameters; the panel reads `detector` and `layout`.
        image_size: Pixels along each side.
        counts_per_photon: Counts per photon equivalent.
        rng: Draws fixed pattern and dead pixels.

    Attributes:
        gain: Fixed pattern times smooth residual, float32 `(n, n)`.
        kernel: Blur along one axis, odd length, sum 1.
        electronic_noise: Standard deviation in photon equivalents per pixel.
    """

    def __init__(
        self,
        parameters: Parameters,
        image_size: int,
        counts_per_photon: float,
        rng: np.random.Generator,
    ) -> None:
        detector = parameters.detector
        pixel_mm = parameters.layout.field_mm / image_size
        self.image_size = image_size
        self.counts_per_photon = counts_per_photon
        self.greatest_count = detector.greatest_count
        self.offset_counts = detector.offset_counts
        self.electronic_noise = detector.electronic_noise_per_mm * pixel_mm
        self.kernel = blur_kernel(detector.psf_sd_mm / pixel_mm)
        smooth = smooth_gain(parameters, image_size)
        pattern = 1 + detector.fixed_pattern_sd * rng.standard_normal((image_size, image_size))
        self.dead = rng.random((image_size, image_size)) < detector.dead_pixels
        self.gain = (smooth * pattern).astype(np.float32)

    def record(self, expected: Expectation, rng: np.random.Generator) -> np.ndarray:
        """Record one exposure.

            round(gain · blur(signal + √variance n) + electronic · n′), clipped to the converter

        Returns:
            Counts, uint16 `(n, n)`.
        """
        shape = expected.signal.shape
        image = rng.standard_normal(shape, dtype=np.float32)
        image *= np.sqrt(expected.variance, dtype=np.float32)
        image += expected.signal
        image = blur(image, self.kernel)
        image *= self.gain
        noise = rng.standard_normal(shape, dtype=np.float32)
        noise *= np.float32(self.electronic_noise)
        image += noise
        image *= np.float32(self.counts_per_photon)
        image += np.float32(self.offset_counts)
        np.rint(image, out=image)
        np.clip(image, 0, self.greatest_count, out=image)
        counts = image.astype(np.uint16)
        counts[self.dead] = 0
        return counts


def smooth_gain(parameters: Parameters, image_size: int) -> np.ndarray:
    """Residual gain after flat-field correction, `(n, n)`.

    It is `1 + residual · (x / 30 + r² / 1800)`, mm from the centre.
    """
    axis = pixel_centres_mm(image_size, parameters.layout.field_mm)
    x, y = axis[None, :], axis[:, None]
    return 1 + parameters.detector.residual * (x / 30 + (x**2 + y**2) / 1800)


def blur_kernel(sd_pixels: float) -> np.ndarray:
    """Gaussian averaged over the pixel, to four standard deviations, float32, sum 1.

    Example:
        >>> blur_kernel(0.0)
        array([1.], dtype=float32)
    """
    if sd_pixels == 0:
        return np.ones(1, np.float32)
    radius = math.ceil(4 * sd_pixels)
    cumulative = [
        math.erf((k - 0.5) / (sd_pixels * math.sqrt(2))) for k in range(-radius, radius + 2)
    ]
    kernel = np.diff(cumulative)
    return (kernel / kernel.sum()).astype(np.float32)


def blur(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve a float32 image with a symmetric kernel along both axes; borders are mirrored."""
    radius = len(kernel) // 2
    if not radius:
        return image
    for axis in (0, 1):
        size = image.shape[axis]
        pad = [(radius, radius) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(image, pad, mode="symmetric")

        def window(
            start: int, padded: np.ndarray = padded, axis: int = axis, size: int = size
        ) -> np.ndarray:
            return padded[start : start + size] if axis == 0 else padded[:, start : start + size]

        image = window(radius) * kernel[radius]
        for k in range(1, radius + 1):
            pair = window(radius - k) + window(radius + k)
            pair *= kernel[radius + k]
            image += pair
    return image
