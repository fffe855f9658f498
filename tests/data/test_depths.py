"""Bit depths from headers, held against the decoded arrays."""

import numpy as np
import pytest
from PIL import Image

from alloyk.data.depths import MAX_FILES, depth_census, depth_notes, depth_of
from alloyk.imaging import read_image


def write(path, dtype, **options):
    array = np.arange(64).reshape(8, 8).astype(dtype)
    if path.suffix == ".tif":
        import tifffile

        tifffile.imwrite(path, array, **options)
    else:
        Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize(
    ("name", "dtype", "bits", "shown"),
    [
        ("a.png", np.uint8, 8, "8-bit PNG"),
        ("a.png", np.uint16, 16, "16-bit PNG"),
        ("a.jpg", np.uint8, 8, "8-bit JPEG"),
        ("a.bmp", np.uint8, 8, "8-bit BMP"),
        ("a.tif", np.uint16, 16, "16-bit TIFF"),
        ("a.tif", np.float32, 32, "32-bit float TIFF"),
    ],
)
def test_the_header_says_what_decoding_gives(tmp_path, name, dtype, bits, shown):
    path = write(tmp_path / name, dtype)
    depth = depth_of(path)
    assert depth.bits == bits
    assert str(depth) == shown
    assert depth.dtype == read_image(path).dtype.name


def test_mixed_depths_are_noted_and_equal_ones_are_not(tmp_path):
    same = [write(tmp_path / f"{i}.png", np.uint16) for i in range(3)]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert depth_notes([*same, tmp_path / "broken.png"]) == []
    other = write(tmp_path / "x.png", np.uint8)
    (note,) = depth_notes([*same, other])
    assert "several depths (16-bit PNG 3, 8-bit PNG 1)" in note


def test_of_many_files_some_are_looked_at(tmp_path):
    path = write(tmp_path / "a.png", np.uint8)
    assert sum(depth_census([path] * (3 * MAX_FILES)).values()) == MAX_FILES
