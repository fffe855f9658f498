"""Measure one image: all quantities that the checks need, from reading it once."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from alloyk.auditing.defects import MEDIAN_OF_NORMAL, Defects, find_defects
from alloyk.errors import AlloykError
from alloyk.imaging import channel_files, image_format, read_image, split_page
from alloyk.imaging.gray import to_gray
from alloyk.imaging.pages import CHANNELS
from alloyk.messages import shown

THUMB = 16
"""Side of the thumbnail that represents the scene."""

DETAIL = 32
"""Side of the signature."""

# Detail beyond this many standard deviations is an edge, and is clipped to that.
EDGE = 3.0

BORDER_PIXELS = 2
STRIP_PIXELS = 2**20
LEVELS = 4096  # of the histogram, as in `alloyk.preprocessing.layers.Equalize`

# Channels that differ by less than this fraction of their range are gray.
GRAY_TOLERANCE = 0.01

# The median of |n| over the standard deviation of Gaussian noise, and the number of pixels that
# estimates it within 1 %.
ENOUGH = 16384


@dataclass(frozen=True, eq=False)
class Measures:
    """Measures of one readable image. Counts are those of the file, colour as luma.

    Attributes:
        height: Pixels.
        width: Pixels.
        mode: `gray`, `gray as RGB` or `colour`.
        dtype: Name of the file's number type, such as `uint16`.
        format: As of `alloyk.imaging.image_format`, such as `png` or `tiff`.
        low: Smallest count.
        high: Largest count.
        low_share: Fraction of pixels at `low`.
        high_share: Fraction of pixels at `high`.
        mean: Mean count.
        noise: Standard deviation of the pixel noise, in counts; 0 if counts are too coarse.
        sharpness: Root-mean-square gradient over the standard deviation, without noise, 1/pixel.
        border: Mean of the outermost two pixels at top, bottom, left and right, over `mean`.
        digest: 16 bytes that depend on size and counts only, not on format or depth.
        thumb: `(16, 16)` float16, block means over `mean`.
        equalized: `(16, 16)` float16, block means of the equalised image, 0 … 1.
        signature: `(1024,)` int8, noise and finest detail of the image reduced to 32 × 32
            blocks; all zero for an image without any.
        defects: Bad pixels, bad lines and borders.
    """

    height: int
    width: int
    mode: str
    dtype: str
    format: str
    low: float
    high: float
    low_share: float
    high_share: float
    mean: float
    noise: float
    sharpness: float
    border: tuple[float, float, float, float]
    digest: bytes
    thumb: np.ndarray
    equalized: np.ndarray
    signature: np.ndarray
    defects: Defects

    @property
    def snr(self) -> float:
        """Mean count over noise; infinite without noise."""
        return abs(self.mean) / self.noise if self.noise > 0 else np.inf


def measure_image(path: str | Path) -> Measures:
    """Read an image file and measure it; of a sample of several channels the first one.

    Raises:
        AlloykError: The file cannot be read.
    """
    try:
        return measure_array(audited_image(path), image_format(path))
    except MemoryError:
        raise AlloykError(
            f"cannot read the image {shown(path)}: it does not fit into memory; cut it into "
            "smaller images"
        ) from None


def audited_image(path: str | Path) -> np.ndarray:
    """Read an image `(height, width, 1 or 3)`; of a sample of several channels the first one.

    Raises:
        AlloykError: The file cannot be read.
    """
    first = channel_files(path)[0]
    image = read_image(first)
    return image[..., :1] if split_page(first)[1] == CHANNELS else image


def measure_array(image: np.ndarray, file_format: str) -> Measures:
    """Measure a decoded image `(height, width, 1 or 3)`."""
    mode = _mode(image)
    gray = _gray(image, mode)
    low, high = gray.min(), gray.max()
    mean = float(gray.mean(dtype=np.float64))
    unit = mean or 1.0
    differences = _second_differences(gray) if min(gray.shape) >= 3 else np.zeros((0, 0))
    noise = _noise(differences)
    top, bottom, left, right = (float(side.mean(dtype=np.float64) / unit) for side in _sides(gray))
    return Measures(
        height=image.shape[0],
        width=image.shape[1],
        mode=mode,
        dtype=image.dtype.name,
        format=file_format,
        low=float(low),
        high=float(high),
        low_share=float(np.count_nonzero(gray == low) / gray.size),
        high_share=float(np.count_nonzero(gray == high) / gray.size),
        mean=mean,
        noise=noise,
        sharpness=_sharpness(gray, noise),
        border=(top, bottom, left, right),
        digest=_digest(image if mode == "colour" else image[..., :1]),
        thumb=_half(_reduced(gray, THUMB) / unit),
        equalized=_half(_reduced(_equalized(gray, low, high), THUMB)),
        signature=_signature(gray),
        defects=find_defects(gray, differences, noise),
    )


def _mode(image: np.ndarray) -> str:
    if image.shape[2] == 1:
        return "gray"
    red, green, blue = (image[..., channel].astype(np.float32) for channel in range(3))
    spread = max(float(np.abs(red - green).max()), float(np.abs(green - blue).max()))
    extent = float(np.ptp(image)) or 1.0
    return "gray as RGB" if spread <= GRAY_TOLERANCE * extent else "colour"


def _gray(image: np.ndarray, mode: str) -> np.ndarray:
    """Counts `(height, width)` float32."""
    return to_gray(image if mode == "colour" else image[..., :1])[..., 0]


def _noise(differences: np.ndarray) -> float:
    """Noise by second differences.

    Source: Immerkær, "Fast noise variance estimation", Computer Vision and Image Understanding
    64 (1996), with the median in place of the mean, so that edges do not count.
    """
    # The weights 1 -2 1 in both directions: their squares sum to 36.
    return _deviation(differences) / 6 if differences.size else 0.0


def _second_differences(gray: np.ndarray) -> np.ndarray:
    """Second difference along both axes; 0 on a plane, a ramp or a bend along one axis."""
    across = gray[:, :-2] - 2 * gray[:, 1:-1] + gray[:, 2:]
    return across[:-2] - 2 * across[1:-1] + across[2:]


def _deviation(values: np.ndarray) -> float:
    """Standard deviation of the bulk around 0, robust against a few edges."""
    step = max(1, values.size // ENOUGH)
    return float(np.median(np.abs(values.ravel()[::step]))) / MEDIAN_OF_NORMAL


def _sharpness(gray: np.ndarray, noise: float) -> float:
    spread = float(gray.std(dtype=np.float64))
    if min(gray.shape) < 3 or not spread:
        return 0.0
    squares = sum(
        float(np.square(step, out=step).mean(dtype=np.float64)) / 4
        for step in (gray[2:] - gray[:-2], gray[:, 2:] - gray[:, :-2])
    )
    # A central difference has half the variance of the noise.
    return float(np.sqrt(max(squares - noise**2, 0.0))) / spread


def _sides(gray: np.ndarray) -> tuple[np.ndarray, ...]:
    n = BORDER_PIXELS
    return gray[:n], gray[-n:], gray[:, :n], gray[:, -n:]


def _digest(image: np.ndarray) -> bytes:
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    whole = image.min() >= 0 and image.max() < 2**16
    if image.dtype.kind == "f":
        whole = whole and bool((image == np.floor(image)).all())
    digest.update(np.ascontiguousarray(image, "<u2" if whole else "<f8").data)
    return digest.digest()


def _reduced(gray: np.ndarray, side: int) -> np.ndarray:
    """Block means, `(side, side)` float32; a pixel may be divided between blocks."""
    image = Image.fromarray(np.ascontiguousarray(gray, np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))


def _half(values: np.ndarray) -> np.ndarray:
    """As float16, clipped to its maximum of 65504."""
    return np.clip(values, -65000, 65000).astype(np.float16)


def _equalized(gray: np.ndarray, low, high) -> np.ndarray:
    """Each pixel's position in the cumulative histogram; 0 in a constant image."""
    if not high > low:
        return np.zeros_like(gray)
    unit = np.float32((LEVELS - 1) / (float(high) - float(low)))
    rows = max(STRIP_PIXELS // gray.shape[1], 1)
    strips = [slice(start, start + rows) for start in range(0, len(gray), rows)]
    bins = np.empty(gray.shape, np.uint16)
    counts = np.zeros(LEVELS, np.int64)
    for strip in strips:  # an index of NumPy takes eight bytes for each pixel
        bins[strip] = (gray[strip] - low) * unit
        counts += np.bincount(bins[strip].ravel(), minlength=LEVELS)
    position = (np.cumsum(counts) / gray.size).astype(np.float32)
    equalized = np.empty_like(gray)
    for strip in strips:
        equalized[strip] = position[bins[strip]]
    return equalized


def _signature(gray: np.ndarray) -> np.ndarray:
    detail = _second_differences(_reduced(gray, DETAIL + 2))
    spread = _deviation(detail) or float(np.abs(detail).mean())
    if spread <= 1e-6 * float(np.abs(gray).max()):  # rounding
        return np.zeros(DETAIL * DETAIL, np.int8)
    parts = np.clip(detail / spread, -EDGE, EDGE) * (127 / EDGE)
    return np.rint(parts).astype(np.int8).ravel()
