"""Uneven plates: waviness, grains and scratches, as relative changes of the optical depth.

All values are assumptions, off by default; see `Texture` of the settings.
"""

import math

import numpy as np

from alloyk.simulator.settings.parameters import Texture


def texture_map(
    texture: Texture,
    thickness_mm: float,
    pixel_mm: float,
    image_size: int,
    scan_mm: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Relative deviation of a plate's optical depth from its mean, in the plate's frame.

    Args:
        texture: Strengths and lengths.
        thickness_mm: Thickness of the plate; waviness and scratches are absolute depths.
        pixel_mm: Side of a pixel.
        image_size: Pixels along each side of an image.
        scan_mm: Total sideways movement of the plate; the map is wider by this much.
        rng: Random generator.

    Returns:
        float32 `(image_size, image_size + scan pixels)`; periodic in both directions.
    """
    shape = (image_size, image_size + math.ceil(scan_mm / pixel_mm))
    depth = np.zeros(shape)
    if texture.waviness_um:
        waves = smooth_noise(shape, texture.waviness_mm / pixel_mm, rng)
        depth += texture.waviness_um / 1000 / thickness_mm * waves
    if texture.grain_contrast:
        # A pixel with several grains has their mean.
        contrast = texture.grain_contrast * min(1.0, texture.grain_mm / pixel_mm)
        depth += contrast * smooth_noise(shape, texture.grain_mm / 2 / pixel_mm, rng)
    if texture.scratches_per_cm2:
        depth -= scratches(texture, pixel_mm, shape, rng) / thickness_mm
    # A plate cannot lose more metal than it has.
    return np.maximum(depth, -1).astype(np.float32)


def smooth_noise(
    shape: tuple[int, int], length_pixels: float, rng: np.random.Generator
) -> np.ndarray:
    """Periodic Gaussian noise of unit variance, correlated as `exp(−(r / length)² / 2)`."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    # White noise is convolved with a kernel of 1/√2 of the correlation length.
    transfer = np.exp(-((math.pi * frequency * length_pixels) ** 2))
    both = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * transfer, shape)
    kernel = np.fft.irfft2(transfer, shape)
    return both / math.sqrt(np.sum(kernel**2))


def scratches(
    texture: Texture, pixel_mm: float, shape: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Depth of straight scratches with a Gaussian profile, in mm; the maximum where they cross."""
    height_mm, width_mm = shape[0] * pixel_mm, shape[1] * pixel_mm
    y = (np.arange(shape[0]) + 0.5)[:, None] * pixel_mm
    x = (np.arange(shape[1]) + 0.5)[None, :] * pixel_mm
    # A scratch narrower than a pixel is widened to it and made shallower by the same factor.
    sd_mm = max(texture.scratch_width_mm, pixel_mm) / 2
    deepest_mm = texture.scratch_depth_um / 1000 * texture.scratch_width_mm / (2 * sd_mm)
    depth = np.zeros(shape)
    for _ in range(rng.poisson(texture.scratches_per_cm2 * height_mm * width_mm / 100)):
        x0, y0, angle, share = rng.random(4) * (width_mm, height_mm, math.pi, 1.0)
        length_mm = rng.exponential(texture.scratch_length_mm)
        along = (x - x0) * math.cos(angle) + (y - y0) * math.sin(angle)
        across = (y - y0) * math.cos(angle) - (x - x0) * math.sin(angle)
        beyond = np.maximum(np.abs(along) - length_mm / 2, 0)
        profile = np.exp(-(across**2 + beyond**2) / (2 * sd_mm**2))
        np.maximum(depth, share * deepest_mm * profile, out=depth)
    return depth


def shifted(
    texture: np.ndarray, down_pixels: float, right_pixels: float, image_size: int
) -> np.ndarray:
    """The part of a map that an image shows after the plate has moved by whole pixels."""
    moved = np.roll(texture, (round(down_pixels), round(right_pixels)), axis=(0, 1))
    return moved[:, :image_size]
