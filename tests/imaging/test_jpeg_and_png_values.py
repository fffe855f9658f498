"""JPEG without its middle, and PNG whose orientation lies in a text part."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from alloyk.errors import AlloykError
from alloyk.imaging import image_size, plain_format, read_image

RNG = np.random.default_rng(5)
SMOOTH = np.add.outer(np.arange(160), np.arange(120)) / 2
GRAY = (SMOOTH + RNG.normal(0, 8, SMOOTH.shape)).clip(0, 255).astype(np.uint8)
COLOUR = np.dstack([GRAY, GRAY[::-1], GRAY[:, ::-1]])


def jpeg_bytes(array, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("array", [GRAY, COLOUR], ids=["gray", "colour"])
@pytest.mark.parametrize(
    "options",
    [{}, {"optimize": True}, {"progressive": True}, {"restart_marker_rows": 1}],
    ids=["baseline", "optimized", "progressive", "restart"],
)
def test_jpeg_without_its_middle_is_refused(tmp_path, array, options):
    content = jpeg_bytes(array, **options)
    np.testing.assert_array_equal(
        read_image(content).squeeze(), np.asarray(Image.open(io.BytesIO(content)))
    )
    start, end = content.index(b"\xff\xda") + 20, len(content) - 2
    path = tmp_path / "a.jpg"
    accepted = 0
    for first in np.linspace(start, end * 7 // 8, 64).astype(int):
        path.write_bytes(content[:first] + content[min(first + (end - start) // 8, end) :])
        assert plain_format(path) is None
        try:
            read_image(path)
        except AlloykError:
            continue
        accepted += 1
    # A cut may leave as many codes by chance, for a garbled image without a trace of the cut.
    assert accepted <= 1


@pytest.mark.parametrize("array", [GRAY, COLOUR], ids=["gray", "colour"])
@pytest.mark.parametrize("optimize", [False, True])
def test_a_few_bytes_missing_in_the_middle_of_jpeg_are_found(array, optimize):
    content = jpeg_bytes(np.tile(array, (3, 4) + (1,) * (array.ndim - 2)), optimize=optimize,
                         **({"subsampling": 0} if array.ndim == 3 else {}))  # fmt: skip
    accepted = 0
    draw = np.random.default_rng(2)
    for _ in range(50):
        lost = int(draw.integers(4, 41))
        first = int(draw.integers(content.index(b"\xff\xda") + 20, len(content) - 2 - lost))
        try:
            read_image(content[:first] + content[first + lost :])
        except AlloykError:
            continue
        accepted += 1
    # The rest have as many codes by chance; a third and more were accepted before.
    assert accepted <= 8


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("options", [{"restart_marker_rows": 1}, {"restart_marker_blocks": 3}, {}])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_complete_jpeg_is_read(subsampling, options, progressive):
    content = jpeg_bytes(COLOUR, progressive=progressive, subsampling=subsampling, **options)
    expected = np.asarray(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(read_image(content), expected)
    padded = content[:-2] + b"\xff" * 40 + content[-2:]
    np.testing.assert_array_equal(read_image(padded), expected)


def test_jpeg_with_comments_profiles_and_fill_bytes_is_whole():
    content = jpeg_bytes(COLOUR, comment="x" * 300, icc_profile=b"y" * 900, progressive=True)
    assert read_image(content).shape == COLOUR.shape
    filled = jpeg_bytes(GRAY)
    filled = filled[:-2] + b"\xff" * 5 + filled[-2:]
    np.testing.assert_array_equal(
        read_image(filled)[..., 0], np.asarray(Image.open(io.BytesIO(filled)))
    )


def test_jpeg_in_cmyk_is_whole_or_refused():
    cmyk = Image.fromarray(COLOUR).convert("CMYK")
    buffer = io.BytesIO()
    cmyk.save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(read_image(content), expected)
    with pytest.raises(AlloykError, match="pixels are missing in its middle"):
        read_image(content[: len(content) // 2] + content[len(content) * 3 // 4 :])


@pytest.mark.parametrize("part", ["tEXt", "zTXt", "iTXt", "xmp"])
def test_png_orientation_in_a_text_part_is_applied(tmp_path, part):
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = exif.tobytes()
    text = PngImagePlugin.PngInfo()
    profile = f"\nexif\n{len(raw):8}\n{raw.hex()}\n"
    if part == "xmp":
        text.add_itxt(
            "XML:com.adobe.xmp",
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>',
        )
    elif part == "iTXt":
        text.add_itxt("Raw profile type exif", profile)
    else:
        text.add_text("Raw profile type exif", profile, zip=part == "zTXt")
    path = tmp_path / "a.png"
    Image.fromarray(GRAY).save(path, pnginfo=text)
    np.testing.assert_array_equal(read_image(path)[..., 0], np.rot90(GRAY, -1))
    assert image_size(path) == GRAY.shape[::-1]
    assert plain_format(path) is None


def test_png_with_another_text_part_stays_plain(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "XML:com.adobe.xmp")
    path = tmp_path / "a.png"
    Image.fromarray(GRAY).save(path, pnginfo=text)
    assert plain_format(path) == "png8"
