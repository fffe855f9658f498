"""Image files of a simulated data set: gray PNG and TIFF."""

import struct
import zlib
from pathlib import Path

import numpy as np

PNG_LEVEL = 1
"""zlib's fastest: the images are mostly noise, and level 6 saves 4 % in three times the time."""


def write_image(path: Path, counts: np.ndarray, bits: int = 16) -> None:
    """Write one image, PNG or TIFF by the suffix of its path.

    Args:
        path: With the suffix ``.png`` or ``.tif``.
        counts: Not negative, below ``2 ** bits``, shape ``(h, w)``.
        bits: Depth of the file; the counts are not scaled to it.
    """
    counts = counts.astype(f"uint{bits}", copy=False)
    if path.suffix == ".png":
        path.write_bytes(png_bytes(counts))
    else:
        import tifffile

        # Without a description, which would hold nothing but tifffile's own notes.
        tifffile.imwrite(
            path, counts, photometric="minisblack", compression="zlib", predictor=True,
            metadata=None, software="alloyk",
        )  # fmt: skip


def png_bytes(counts: np.ndarray) -> bytes:
    """A gray PNG of the array's own depth.

    Written here rather than by an imaging library, which tries five filters on each row: with
    noise the first of them alone compresses to the same size, in half the time.

    Args:
        counts: uint8 or uint16, shape ``(h, w)``.

    Source: W3C Recommendation Portable Network Graphics, chapters 5, 9 and 11.
    """
    height, width = counts.shape
    depth = counts.dtype.itemsize
    raw = counts.astype(counts.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    rows = np.empty((height, 1 + raw.shape[1]), np.uint8)
    rows[:, 0] = 1  # filter "Sub": each byte less the same byte of the pixel before
    rows[:, 1 : 1 + depth] = raw[:, :depth]
    np.subtract(raw[:, depth:], raw[:, :-depth], out=rows[:, 1 + depth :])
    header = struct.pack(">IIBBBBB", width, height, 8 * depth, 0, 0, 0, 0)
    body = zlib.compress(rows, PNG_LEVEL)
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
