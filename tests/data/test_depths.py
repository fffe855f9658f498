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


@pytest.mark.parametrize("name", ["a.png|b.png", "a.png[0]"])
def test_pages_and_channels_have_the_depth_of_their_files(tmp_path, name):
    for one in ("a.png", "b.png"):
        write(tmp_path / one, np.uint16)
    depth = depth_of(tmp_path / name)
    assert (depth.dtype, depth.bits) == ("uint16", 16)


def test_a_file_of_one_bit_has_the_depth_of_its_image(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.eye(8, dtype=bool))
    assert depth_of(path).dtype == read_image(path).dtype.name == "uint8"


def test_a_lossless_jpeg_has_the_depth_of_its_header(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    path = tmp_path / "a.jpg"
    array = np.arange(64, dtype=np.uint16).reshape(8, 8) * 900
    path.write_bytes(imagecodecs.ljpeg_encode(array))
    depth = depth_of(path)
    assert (depth.dtype, depth.bits) == (read_image(path).dtype.name, 16)


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
