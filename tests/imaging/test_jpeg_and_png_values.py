"""JPEG without its middle, and PNG whose orientation lies in a text part."""

import io
import struct
import zlib

import imagecodecs
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


def with_chunk(image, name, content):
    """A PNG file with a chunk after its header."""
    plain = io.BytesIO()
    image.save(plain, "PNG")
    data, body = plain.getvalue(), name + content
    chunk = struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return data[:33] + chunk + data[33:]


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("cut", [0, 3, 7, 12, None])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # as in use
def test_orientation_that_cannot_be_read_is_ignored(cut, suffix):
    image = Image.fromarray(np.arange(80, dtype=np.uint8).reshape(8, 10))
    content = exif(6)[:cut]
    data = with_chunk(image, b"eXIf", content)
    if suffix == "jpg":
        file = io.BytesIO()
        image.save(file, "JPEG", exif=b"Exif\0\0" + content)
        data = file.getvalue()
    size = (10, 8) if cut is None else (8, 10)
    assert read_image(data).shape[:2] == image_size(data) == size


@pytest.mark.parametrize("text", [b"\0broken", b"\0" + zlib.compress(b"\nexif\n 10\nzz")])
def test_a_profile_in_a_text_part_that_cannot_be_read_is_ignored(text):
    image = Image.fromarray(np.arange(80, dtype=np.uint8).reshape(8, 10))
    data = with_chunk(image, b"zTXt", b"Raw profile type exif\0" + text)
    assert read_image(data).shape[:2] == image_size(data) == (8, 10)


def test_an_animation_is_refused_and_one_image_of_it_is_read():
    image = Image.fromarray(np.arange(80, dtype=np.uint8).reshape(8, 10))
    for read in (read_image, image_size):
        with pytest.raises(AlloykError, match="it is an animation of 3 images; save each"):
            read(with_chunk(image, b"acTL", struct.pack(">II", 3, 0)))
    alone = with_chunk(image, b"acTL", struct.pack(">II", 1, 0))
    np.testing.assert_array_equal(read_image(alone)[..., 0], np.asarray(image))


def test_the_first_image_of_mpo_is_read():
    first, second = (Image.fromarray(np.full((8, 10), value, np.uint8)) for value in (50, 200))
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=[second])
    np.testing.assert_array_equal(read_image(file.getvalue()), np.full((8, 10, 1), 50))


def test_a_pixel_beyond_the_palette_is_named():
    image = Image.fromarray(np.arange(80, dtype=np.uint8).reshape(8, 10)).convert("P")
    file = io.BytesIO()
    image.save(file, "PNG", bits=8)
    data = file.getvalue()
    start = data.index(b"PLTE") - 4
    (length,) = struct.unpack(">I", data[start : start + 4])
    body = b"PLTE" + data[start + 8 : start + 20]
    short = struct.pack(">I", 12) + body + struct.pack(">I", zlib.crc32(body))
    with pytest.raises(AlloykError, match="its pixels exceed the 4 colours of its palette"):
        read_image(data[:start] + short + data[start + 12 + length :])


DEEP = np.add.outer(20 * np.arange(40), 30 * np.arange(60)).astype(np.uint16)
OTHER_JPEG = {  # name: values, options of the writer
    "12 bit": (DEEP, {"bitspersample": 12, "level": 98}),
    "lossless 10 bit": (DEEP // 4, {"bitspersample": 10, "lossless": True}),
    "lossless 12 bit": (DEEP, {"bitspersample": 12, "lossless": True}),
    "lossless 16 bit": (DEEP * 20, {"bitspersample": 16, "lossless": True}),
    "lossless 8 bit": ((DEEP // 16).astype(np.uint8), {"lossless": True}),
    "LS 8 bit": ((DEEP // 16).astype(np.uint8), None),
    "LS 16 bit": (DEEP * 20, None),
    "LS colour": (np.dstack([DEEP // 16, DEEP // 32, DEEP // 64]).astype(np.uint8), None),
}


def other_jpeg(kind):
    values, options = OTHER_JPEG[kind]
    if options is None:
        return values, bytes(imagecodecs.jpegls_encode(values))
    return values, bytes(imagecodecs.jpeg8_encode(values, **options))


@pytest.mark.parametrize("kind", OTHER_JPEG)
def test_jpeg_of_other_kinds_equals_a_second_reader(kind):
    values, data = other_jpeg(kind)
    image = read_image(data)
    assert image.dtype == values.dtype
    assert image_size(data) == values.shape[:2]
    np.testing.assert_allclose(image.squeeze(), values, atol=4 if kind == "12 bit" else 0)
    if kind.startswith("lossless"):  # the image was written and read by libjpeg
        np.testing.assert_array_equal(image[..., 0], imagecodecs.jpegsof3_decode(data))
        np.testing.assert_array_equal(image[..., 0], imagecodecs.ljpeg_decode(data))
    turned = data[:2] + app1(b"Exif\0\0" + exif(6)) + data[2:]
    np.testing.assert_array_equal(read_image(turned), np.rot90(image, -1))
    assert image_size(turned) == values.shape[1::-1]


@pytest.mark.parametrize("kind", OTHER_JPEG)
def test_jpeg_of_other_kinds_without_its_middle_or_end_is_refused(kind):
    data = other_jpeg(kind)[1]
    half = len(data) // 2
    for broken in (data[:half], data[:half] + data[-2:], data[: half - 40] + data[half:]):
        with pytest.raises(AlloykError):
            read_image(broken)


def app1(content):
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def test_jpeg_with_its_height_behind_the_pixels_is_read():
    data = jpeg_bytes(GRAY)
    start = data.index(b"\xff\xc0") + 5
    lines = data[start : start + 2]
    moved = data[:start] + b"\0\0" + data[start + 2 : -2] + b"\xff\xdc\0\x04" + lines + data[-2:]
    np.testing.assert_array_equal(read_image(moved), read_image(data))
    assert image_size(moved) == GRAY.shape
    assert plain_format(moved) is None
    with pytest.raises(AlloykError, match="no pixels"):
        read_image(data[:start] + b"\0\0" + data[start + 2 :])


def test_a_kind_of_jpeg_that_is_not_read_is_named():
    data = jpeg_bytes(GRAY).replace(b"\xff\xc0", b"\xff\xc5")
    with pytest.raises(AlloykError, match=r"\(SOF5, 8 bit, 1 channel\) is not read; convert it"):
        read_image(data)
