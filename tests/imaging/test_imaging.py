"""Every format that real detectors write, byte for byte, and every way a file can be broken."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from alloyk.errors import AlloykError
from alloyk.imaging import (
    IMAGE_SUFFIXES,
    image_size,
    is_image_file,
    is_image_name,
    plain_format,
    read_image,
)

RNG = np.random.default_rng(7)
GRAY8 = RNG.integers(0, 256, (9, 7), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (9, 7), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)


def png_chunk(name, content):
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png_bytes(rows, width, height, depth, colour, extra=b"", change=lambda packed: packed):
    """A PNG file written by the standard alone: `rows` are the packed bytes of each row."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    packed = change(zlib.compress(b"".join(b"\0" + row for row in rows)))
    parts = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    chunks = [png_chunk(*part) for part in parts]
    return b"\x89PNG\r\n\x1a\n" + chunks[0] + extra + b"".join(chunks[1:])


def write(path, content):
    path.write_bytes(content)
    return path


# --- PNG --------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_every_bit_and_drops_alpha(tmp_path, channels, dtype):
    array = RNG.integers(0, np.iinfo(dtype).max, (5, 6, channels), endpoint=True).astype(dtype)
    rows = [row.astype(np.dtype(dtype).newbyteorder(">")).tobytes() for row in array]
    depth, colour = np.dtype(dtype).itemsize * 8, {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    path = write(tmp_path / "a.png", png_bytes(rows, 6, 5, depth, colour))
    image = read_image(path)
    assert image.dtype == dtype
    np.testing.assert_array_equal(image, array[..., : 3 if channels > 2 else 1])
    assert image_size(path) == (5, 6)


def filtered(rows, pixel_bytes):
    """Filter rows by each of PNG's five rules in turn (PNG specification, section 9)."""
    above, result = bytes(len(rows[0])), []
    for number, row in enumerate(rows):
        left = bytes(pixel_bytes) + row
        corner = bytes(pixel_bytes) + above
        out = bytearray([number % 5])
        for i, value in enumerate(row):
            a, b, c = left[i], above[i], corner[i]
            paeth = min((a, b, c), key=lambda x, p=a + b - c: abs(p - x))
            out.append((value - (0, a, b, (a + b) // 2, paeth)[number % 5]) % 256)
        result.append(bytes(out))
        above = row
    return b"".join(result)


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("shape", [(13, 17), (1, 1), (3, 2)])
def test_every_png_filter_and_interlaced_pass(tmp_path, interlaced, channels, dtype, shape):
    array = RNG.integers(0, 256 ** int(dtype[1]), (*shape, channels)).astype(dtype)
    steps = [(0, 0, 1, 1)]
    if interlaced:  # Adam7: row, column, row step, column step
        steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)]
        steps += [(2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    packed = b""
    for top, left, down, across in steps:
        part = array[top::down, left::across]
        if part.size:
            rows = [row.astype(">" + dtype).tobytes() for row in part]
            packed += filtered(rows, channels * int(dtype[1]))
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(
        ">IIBBBBB", shape[1], shape[0], int(dtype[1]) * 8, colour, 0, 0, interlaced
    )
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(packed)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)
    image = read_image(write(tmp_path / "a.png", content))
    np.testing.assert_array_equal(image, array[..., : 3 if channels > 2 else 1])


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_low_bit_depths_are_spread_over_8_bit(tmp_path, depth):
    values = np.arange(8) % 2**depth
    bits = "".join(f"{v:0{depth}b}" for v in values)
    row = int(bits, 2).to_bytes(len(bits) // 8, "big")
    path = write(tmp_path / "a.png", png_bytes([row], 8, 1, depth, 0))
    np.testing.assert_array_equal(read_image(path)[0, :, 0], values * 255 // (2**depth - 1))


def test_palette_png_becomes_its_colours(tmp_path):
    colours = bytes([10, 20, 30, 200, 100, 0])
    extra = png_chunk(b"PLTE", colours) + png_chunk(b"tRNS", bytes([0, 255]))
    path = write(tmp_path / "a.png", png_bytes([b"\1\0"], 2, 1, 8, 3, extra))
    np.testing.assert_array_equal(read_image(path), [[[200, 100, 0], [10, 20, 30]]])


@pytest.mark.parametrize("mode", ["gray8", "gray16", "rgb8", "rgb16"])
def test_png_cut_short_anywhere_is_refused(tmp_path, mode):
    array = {"gray8": GRAY8, "gray16": GRAY16, "rgb8": RGB8}.get(mode)
    if mode == "rgb16":
        content = png_bytes([r.tobytes() for r in RGB8[:, :6]], 3, 9, 16, 2)
    else:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "PNG")
        content = buffer.getvalue()
    path = write(tmp_path / "a.png", content)
    read_image(path)
    for length in range(len(content)):
        write(path, content[:length])
        with pytest.raises(AlloykError, match=r"a\.png: .*(cut short|empty|not a PNG)"):
            read_image(path)


def test_one_flipped_bit_in_the_pixels_of_a_png_is_found(tmp_path):
    content = bytearray(png_bytes([row.tobytes() for row in GRAY8], 7, 9, 8, 0))
    content[content.index(b"IDAT") + 12] ^= 4
    with pytest.raises(AlloykError, match="checksum of its 'IDAT'"):
        read_image(write(tmp_path / "a.png", bytes(content)))


def test_png_with_fewer_rows_than_its_header_says_is_refused(tmp_path):
    # Whole chunks and right checksums, but not enough pixels.
    for depth, colour in ((8, 0), (16, 0), (16, 2), (16, 4)):
        rows = [bytes(7 * depth // 8 * {0: 1, 2: 3, 4: 2}[colour])] * 5
        path = write(tmp_path / "a.png", png_bytes(rows, 7, 9, depth, colour))
        with pytest.raises(AlloykError, match=r"cannot read the image .*a\.png"):
            read_image(path)


@pytest.mark.parametrize("change", [lambda z: z[:-1], lambda z: z[:-4], lambda z: z[:-4] + b"????"])
def test_png_whose_pixels_have_a_wrong_end_is_refused(tmp_path, change):
    # The parts are whole, what is in them is not.
    rows = [row.tobytes() for row in GRAY8]
    path = write(tmp_path / "a.png", png_bytes(rows, 7, 9, 8, 0, change=change))
    with pytest.raises(AlloykError, match=r"a\.png: .*(no end|data check)"):
        read_image(path)


def test_png_with_more_rows_than_its_header_says_is_cut_to_size(tmp_path):
    rows = [row.tobytes() for row in GRAY8]
    path = write(tmp_path / "a.png", png_bytes(rows + rows, 7, 9, 8, 0))
    np.testing.assert_array_equal(read_image(path)[..., 0], GRAY8)


# --- JPEG and BMP -----------------------------------------------------------------------------


@pytest.mark.parametrize("array", [GRAY8, RGB8], ids=["gray", "rgb"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_jpeg_cut_short_anywhere_is_refused(tmp_path, array, options):
    path = tmp_path / "a.jpg"
    Image.fromarray(array).save(path, quality=95, **options)
    content = path.read_bytes()
    np.testing.assert_array_equal(read_image(path).squeeze(), np.asarray(Image.open(path)))
    for length in range(len(content)):
        write(path, content[:length])
        with pytest.raises(AlloykError, match=r"a\.jpg"):
            read_image(path)


def test_jpeg_end_marker_of_its_thumbnail_does_not_hide_a_cut(tmp_path):
    thumbnail = io.BytesIO()
    Image.fromarray(GRAY8).save(thumbnail, "JPEG")
    whole = io.BytesIO()
    Image.fromarray(RGB8).save(whole, "JPEG", exif=b"Exif\0\0" + thumbnail.getvalue())
    read_image(write(tmp_path / "a.jpg", whole.getvalue()))
    with pytest.raises(AlloykError, match="cut short"):
        read_image(write(tmp_path / "a.jpg", whole.getvalue()[:-2]))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_orientation_is_applied_as_pillow_does(tmp_path, orientation, suffix):
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    if suffix == ".tif":
        tag = (274, "H", 1, orientation, True)
        tifffile.imwrite(path, GRAY8, extratags=[tag])
    else:
        Image.fromarray(GRAY8).save(path, exif=exif)
    from PIL import ImageOps

    plain = np.asarray(Image.open(path)) if suffix != ".tif" else GRAY8
    turned = Image.fromarray(np.array(plain))
    turned.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(turned))
    np.testing.assert_array_equal(read_image(path)[..., 0], expected)
    assert image_size(path) == expected.shape


@pytest.mark.parametrize("name", ["a.bmp", "a"])
def test_text_that_begins_like_bmp_is_not_one(tmp_path, name):
    (tmp_path / name).write_bytes(b"BMtext is not an image, but text\n" * 20)
    with pytest.raises(AlloykError, match="it is not a PNG, JPEG, BMP"):
        read_image(tmp_path / name)
    assert is_image_file(tmp_path / name) == (name == "a.bmp")


def test_bmp_is_read_and_a_cut_one_never_changes_its_pixels(tmp_path):
    path = tmp_path / "a.bmp"
    Image.fromarray(RGB8).save(path)
    content = path.read_bytes()
    np.testing.assert_array_equal(read_image(path), RGB8)
    for length in range(len(content)):
        write(path, content[:length])
        try:
            np.testing.assert_array_equal(read_image(path), RGB8)  # only padding was cut
            assert length >= len(content) - 3
        except AlloykError:
            pass


def test_format_is_told_by_content_not_by_name(tmp_path):
    path = tmp_path / "really_a_tiff.png"
    tifffile.imwrite(path, GRAY16)
    np.testing.assert_array_equal(read_image(path)[..., 0], GRAY16)
    assert is_image_name("A.TIF")
    assert not is_image_name(".png")
    assert ".dcm" in IMAGE_SUFFIXES


# --- What every decoder reads alike -----------------------------------------------------------


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return {"exif": exif}


@pytest.mark.parametrize(
    ("name", "array", "options", "expected"),
    [
        ("a.png", GRAY8, {}, "png8"),
        ("a.png", GRAY16, {}, "png16"),
        ("a.png", RGB8, {}, "png8"),
        ("a.png", RGB8, {"dpi": (100, 100), "icc_profile": b"profile"}, "png8"),
        ("a.png", GRAY8, {"transparency": 3}, None),
        ("a.png", GRAY8, turned(), None),
        ("a.png", np.dstack([RGB8, GRAY8]), {}, None),
        ("a.png", GRAY8 > 99, {}, None),
        ("a.jpg", GRAY8, {}, "jpeg"),
        ("a.jpg", RGB8, {"icc_profile": b"profile"}, "jpeg"),
        ("a.jpg", RGB8, {"progressive": True}, None),
        ("a.jpg", RGB8, {"keep_rgb": True}, None),
        ("a.jpg", GRAY8, turned(), None),
        ("a.bmp", GRAY8, {}, None),
        ("a.tif", GRAY16, {}, None),
    ],
)
def test_only_gray_and_colour_with_nothing_to_mind_are_plain(
    tmp_path, name, array, options, expected
):
    Image.fromarray(array).save(tmp_path / name, **options)
    assert plain_format(tmp_path / name) == expected


def test_cut_absent_and_huge_files_are_not_plain(tmp_path):
    for name in ("a.png", "a.jpg"):
        Image.fromarray(RGB8).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        for length in range(len(content)):
            assert plain_format(write(tmp_path / "cut", content[:length])) is None
    assert plain_format(tmp_path / "absent") is None
    assert plain_format(write(tmp_path / "a", png_bytes([b"\0"], 20_000, 20_000, 8, 0))) is None


# --- TIFF -------------------------------------------------------------------------------------

TIFF_TYPES = ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", TIFF_TYPES)
def test_tiff_keeps_type_and_values_in_both_byte_orders(tmp_path, order, dtype):
    array = (RNG.normal(size=(9, 7)) * 100).astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, byteorder=order)
    image = read_image(path)
    assert image.dtype == np.dtype(dtype)
    assert image.dtype.isnative
    np.testing.assert_array_equal(image[..., 0], array)
    assert image_size(path) == (9, 7)


@pytest.mark.parametrize("compression", ["zlib", "packbits", "lzma", "tiff_lzw"])
@pytest.mark.parametrize("array", [GRAY8, GRAY16, RGB8], ids=["gray8", "gray16", "rgb8"])
def test_compressed_tiff_equals_what_was_written(tmp_path, compression, array):
    path = tmp_path / "a.tif"
    if compression in ("tiff_lzw", "packbits"):
        Image.fromarray(array).save(path, compression=compression)
    else:
        tifffile.imwrite(path, array, compression=compression)
    np.testing.assert_array_equal(read_image(path).squeeze(), array)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_tiff_predictor_is_undone(tmp_path, dtype):
    array = (RNG.normal(size=(40, 30)) * 1000 + 5000).astype(dtype)
    predictor = 2 if dtype == np.uint16 else 3
    path = tmp_path / "a.tif"
    Image.fromarray(array).save(path, compression="tiff_deflate", tiffinfo={317: predictor})
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages[0].predictor == predictor
    np.testing.assert_array_equal(read_image(path)[..., 0], array)


def test_tiff_colour_planes_alpha_and_palette(tmp_path):
    path = tmp_path / "a.tif"
    rgba = RNG.integers(0, 65536, (9, 7, 4), dtype=np.uint16)
    tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_image(path), rgba[..., :3])
    planes = np.moveaxis(rgba[..., :3], -1, 0)
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(path), rgba[..., :3])
    colours = RNG.integers(0, 256, (3, 256), dtype=np.uint16)
    tifffile.imwrite(path, GRAY8, photometric="palette", colormap=colours * 257)
    np.testing.assert_array_equal(read_image(path), colours.T[GRAY8])


@pytest.mark.parametrize("array", [GRAY8, GRAY16], ids=["8", "16"])
def test_white_is_zero_tiff_is_turned(tmp_path, array):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(path)[..., 0], np.iinfo(array.dtype).max - array)


def test_bilevel_tiff_is_black_and_white(tmp_path):
    path = tmp_path / "a.tif"
    array = GRAY8 > 127
    Image.fromarray(array).save(path)
    np.testing.assert_array_equal(read_image(path)[..., 0], array * 255)


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"ome": True}, {"bigtiff": True}])
def test_a_tiff_of_several_pages_needs_a_choice(tmp_path, options):
    path = tmp_path / "a.tif"
    stack = RNG.integers(0, 65536, (3, 9, 7), dtype=np.uint16)
    tifffile.imwrite(path, stack, photometric="minisblack", **options)
    with pytest.raises(
        AlloykError,
        match=r"a\.tif: it must have one page, got 3; choose with --page \(data\.page\)",
    ):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, page=2)[..., 0], stack[2])
    with pytest.raises(AlloykError, match="the page must be 0 to 2, got 3"):
        read_image(path, page=3)
    with pytest.raises(AlloykError, match="one page, got 3"):
        image_size(path)


def test_a_thumbnail_is_not_a_page(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(GRAY16)
        tiff.write(GRAY16[::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(read_image(path)[..., 0], GRAY16)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_values_that_are_no_numbers_are_refused(tmp_path, value, dtype):
    array = np.ones((9, 7), dtype)
    array[3, 4] = array[0, 0] = value
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array)
    with pytest.raises(AlloykError, match=r"a\.tif: 2 values are NaN or infinite"):
        read_image(path)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("writer", ["tifffile", "zlib", "lzw"])
def test_a_cut_tiff_is_refused_or_whole(tmp_path, order, writer):
    path = tmp_path / "a.tif"
    if writer == "lzw":
        Image.fromarray(GRAY16).save(path, compression="tiff_lzw")
    else:
        compression = "zlib" if writer == "zlib" else None
        tifffile.imwrite(path, GRAY16, byteorder=order, compression=compression)
    content = path.read_bytes()
    for length in range(len(content)):
        write(path, content[:length])
        try:
            image = read_image(path)
        except AlloykError:
            pass
        else:  # libtiff's own end mark of the page list may go
            np.testing.assert_array_equal(image[..., 0], GRAY16)
            assert length >= len(content) - 4


def test_tiff_without_some_of_its_pixels_is_refused(tmp_path):
    # tifffile fills a strip without a place in the file with zeros.
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GRAY16, rowsperstrip=3)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        offsets = tiff.pages[0].tags["StripOffsets"]
        offsets.overwrite((*offsets.value[:-1], 0))
    with pytest.raises(AlloykError, match="cut short"):
        read_image(path)


def test_tiff_whose_header_asks_for_more_strips_than_it_has_is_refused_at_once(tmp_path):
    # tifffile would go through eight million missing strips, for a minute.
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GRAY16, rowsperstrip=2)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["ImageLength"].overwrite(16_000_000)
    with pytest.raises(AlloykError, match="5 strips of pixels, but its header requires 8000000"):
        read_image(path)


@pytest.mark.parametrize("wrong", [b"MM*\0", b"II\0*"])
def test_wrong_byte_order_mark_is_refused(tmp_path, wrong):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GRAY16)
    write(path, wrong + path.read_bytes()[4:])
    with pytest.raises(AlloykError, match=r"cannot read the image .*a\.tif"):
        read_image(path)


def test_complex_and_many_channel_tiff_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GRAY8.astype("c8"))
    with pytest.raises(AlloykError, match="complex floats of 64 bit"):
        read_image(path)
    tifffile.imwrite(path, np.zeros((9, 7, 5), "u1"), photometric="rgb")
    with pytest.raises(AlloykError, match="5 channels"):
        read_image(path)


@pytest.mark.parametrize("folder", ["radiographs16", "slices16"])
def test_real_16_bit_radiographs_equal_tifffile(shared_data, folder):
    files = sorted((shared_data / folder).glob("*.tif"))
    orders = set()
    for file in files:
        with tifffile.TiffFile(file) as tiff:
            orders.add(tiff.byteorder)
            expected = tiff.asarray()
        image = read_image(file)
        assert image.dtype == np.uint16
        assert image.dtype.isnative
        np.testing.assert_array_equal(image[..., 0], expected)
        assert image_size(file) == expected.shape
    assert orders == {">" if folder == "radiographs16" else "<"}


# --- DICOM ------------------------------------------------------------------------------------


def dicom(path, array, syntax=ExplicitVRLittleEndian, bits_stored=None, **elements):
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = "1.2.3"
    dataset.SamplesPerPixel = 3 if array.ndim == 3 and array.shape[-1] == 3 else 1
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    shape = array.shape[:-1] if dataset.SamplesPerPixel == 3 else array.shape
    if len(shape) == 3:
        dataset.NumberOfFrames = shape[0]
    dataset.Rows, dataset.Columns = shape[-2:]
    dataset.PhotometricInterpretation = "RGB" if dataset.SamplesPerPixel == 3 else "MONOCHROME2"
    dataset.BitsAllocated = array.dtype.itemsize * 8
    dataset.BitsStored = bits_stored or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(array.dtype.kind == "i")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = array.astype(array.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
def test_dicom_keeps_type_and_values(tmp_path, syntax, dtype):
    array = RNG.integers(0, 100, (8, 6)).astype(dtype) - (50 if dtype == "i2" else 0)
    array = array.astype(dtype)
    path = dicom(tmp_path / "a.dcm", array, syntax, WindowCenter=10, WindowWidth=5)
    image = read_image(path)
    assert image.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(image[..., 0], array)  # the window would clip it
    assert image_size(path) == (8, 6)


def test_dicom_rescale_and_inversion(tmp_path):
    stored = RNG.integers(0, 4096, (8, 6)).astype(np.uint16)
    inverted = dicom(
        tmp_path / "a.dcm", stored, bits_stored=12, PhotometricInterpretation="MONOCHROME1"
    )
    np.testing.assert_array_equal(read_image(inverted)[..., 0], 4095 - stored)
    both = dicom(
        tmp_path / "b.dcm",
        stored,
        bits_stored=12,
        PhotometricInterpretation="MONOCHROME1",
        RescaleSlope="0.5",
        RescaleIntercept="-100",
    )
    image = read_image(both)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[..., 0], (4095 - stored.astype(float)) * 0.5 - 100)
    signed = (stored.astype(np.int16) - 2048).astype(np.int16)
    path = dicom(tmp_path / "c.dcm", signed, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_image(path)[..., 0], -1 - signed)


def test_dicom_colour_frames_and_run_length_coding(tmp_path):
    np.testing.assert_array_equal(read_image(dicom(tmp_path / "a.dcm", RGB8)), RGB8)
    stack = RNG.integers(0, 65536, (3, 8, 6), dtype=np.uint16)
    path = dicom(tmp_path / "b.dcm", stack)
    with pytest.raises(AlloykError, match=r"b\.dcm: .*one page, got 3"):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, page=1)[..., 0], stack[1])
    dataset = pydicom.dcmread(dicom(tmp_path / "c.dcm", stack[0]))
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "c.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "c.dcm")[..., 0], stack[0])


def compressed(path, array, syntax, frame):
    dataset = pydicom.dcmread(dicom(path, array))
    dataset.PixelData = pydicom.encaps.encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    return path


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEGLosslessSV1, imagecodecs.ljpeg_encode),
        (JPEGLSLossless, imagecodecs.jpegls_encode),
        (JPEG2000Lossless, lambda array: imagecodecs.jpeg2k_encode(array, codecformat="j2k")),
    ],
)
def test_losslessly_compressed_dicom_is_read_whole_or_not_at_all(tmp_path, syntax, encode):
    gray = np.random.default_rng(5).integers(0, 65536, (40, 30), dtype=np.uint16)
    frame = encode(gray)
    path = compressed(tmp_path / "a.dcm", gray, syntax, frame)
    np.testing.assert_array_equal(read_image(path)[..., 0], gray)
    for cut in (frame[:-9], frame[: len(frame) // 2], frame[:-200] + frame[-2:]):
        with pytest.raises(
            AlloykError, match=r"cannot read the image .*a\.dcm: .*replace or remov"
        ):
            read_image(compressed(path, gray, syntax, cut))


def test_dicom_of_12_bit_jpeg_and_near_lossless_equals_another_decoder():
    # Numbers from libjpeg of pylibjpeg 2.1.
    files = Path(pydicom.__file__).parent / "data" / "test_files"
    extended = read_image(files / "JPGExtended.dcm")
    assert (extended.shape, int(extended.max())) == ((1024, 256, 1), 264)
    assert abs(int(extended.sum()) - 3767007) < 1000  # rounding of the transform differs by 1
    near = read_image(files / "JPEGLSNearLossless_16.dcm")
    assert (near.shape, int(near.max())) == ((50, 10, 1), 65535)


def test_dicom_in_a_compression_without_decoder_says_what_to_do(tmp_path):
    path = compressed(tmp_path / "a.dcm", GRAY16[:8, :6], HTJ2KLossless, b"\xff\xd8\xff\xd9")
    with pytest.raises(AlloykError, match=r"needs another decoder; save it uncompressed"):
        read_image(path)


def test_dicom_without_an_image_and_of_absurd_size(tmp_path):
    path = dicom(tmp_path / "a.dcm", GRAY16[:8, :6])
    dataset = pydicom.dcmread(path)
    dataset.Rows = dataset.Columns = 20_000
    dataset.save_as(path)
    for read in (read_image, image_size):
        with pytest.raises(AlloykError, match="20000 × 20000 pixels"):
            read(path)
    del dataset.PixelData, dataset.Rows
    dataset.save_as(path)
    with pytest.raises(AlloykError, match="DICOM file without an image"):
        read_image(path)


def test_a_cut_dicom_is_refused(tmp_path):
    path = dicom(tmp_path / "a.dcm", GRAY16[:8, :6])
    content = path.read_bytes()
    for length in range(0, len(content)):
        write(path, content[:length])
        with pytest.raises(AlloykError, match=r"a\.dcm"):
            read_image(path)


# --- Bad input of every kind ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (
            b"this is text, not an image\n" * 20,
            "NumPy, EDF, FITS, HIS or HDF5 file",
        ),
        (b"\x89PNG\r\n\x1a\n", "cut short"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 200, "checksum"),
        (b"\xff\xd8\xff" + b"\0" * 200, "a.png"),
        (b"BM" + b"\0" * 200, "a.png"),
        (b"II*\0" + b"\0" * 200, "a.png"),
    ],
)
def test_files_that_are_no_images_are_named(tmp_path, content, message):
    with pytest.raises(AlloykError, match=message) as error:
        read_image(write(tmp_path / "a.png", content))
    assert "a.png" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["png", "png16", "tif", "bmp"])
def test_a_header_that_asks_for_too_many_pixels_is_refused(tmp_path, suffix):
    path = tmp_path / "a.img"
    if suffix.startswith("png"):
        depth, colour = (16, 2) if suffix == "png16" else (8, 0)
        write(path, png_bytes([b"\0"], 20_000, 20_000, depth, colour))
    elif suffix == "bmp":
        Image.fromarray(GRAY8).save(path, "BMP")
        content = bytearray(path.read_bytes())
        content[18:26] = struct.pack("<ii", 20_000, 20_000)
        write(path, bytes(content))
    else:
        tifffile.imwrite(path, GRAY8)
        with tifffile.TiffFile(path, mode="r+") as tiff:
            for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                tiff.pages[0].tags[name].overwrite(20_000)
    for read in (read_image, image_size):
        with pytest.raises(AlloykError, match=r"20000 × 20000 pixels|decompression bomb"):
            read(path)


def test_a_single_pixel_is_an_image(tmp_path):
    path = write(tmp_path / "a.png", png_bytes([b"\xab"], 1, 1, 8, 0))
    np.testing.assert_array_equal(read_image(path), [[[0xAB]]])


def test_no_pixels_are_no_image(tmp_path):
    path = write(tmp_path / "a.png", png_bytes([], 0, 9, 8, 0))
    with pytest.raises(AlloykError, match=r"a\.png"):
        read_image(path)


@pytest.mark.parametrize(
    "name", ["a b.png", "it's.png", 'q"q.png', "два.png", "铝.png", "n\nl.png"]
)
def test_odd_names_are_read_and_named_on_one_line(tmp_path, name):
    path = write(tmp_path / name, png_bytes([b"\xab"], 1, 1, 8, 0))
    assert read_image(path).shape == (1, 1, 1)
    write(path, b"")
    with pytest.raises(
        AlloykError, match=r"^cannot read the image .*: the file is empty; replace or"
    ) as error:
        read_image(path)
    assert "\n" not in str(error.value)


def test_what_is_not_a_regular_file_neither_hangs_nor_crashes(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "circle.png").symlink_to("circle.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for name, message in [
        ("pipe.png", "not a regular file"),
        ("folder.png", r"folder\.png"),
        ("circle.png", r"circle\.png"),
        ("device.png", "not a regular file"),
        ("absent.png", "no image at"),
    ]:
        with pytest.raises(AlloykError, match=message):
            read_image(tmp_path / name)


def test_an_unreadable_file_is_named(unprivileged, open_folder):
    path = write(open_folder / "a.png", png_bytes([b"\xab"], 1, 1, 8, 0))
    path.chmod(0)
    with unprivileged(), pytest.raises(AlloykError, match=r"a\.png: Permission denied"):
        read_image(path)


def _valid_files():
    files = {}
    for name, array, options in [
        ("PNG", GRAY16, {}),
        ("PNG", RGB8, {}),
        ("JPEG", RGB8, {"progressive": True}),
        ("BMP", GRAY8, {}),
        ("TIFF", GRAY16, {"compression": "tiff_lzw"}),
    ]:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, name, **options)
        files[f"{name}{array.ndim}"] = buffer.getvalue()
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, GRAY16, byteorder=">", rowsperstrip=2)
    files["tifffile"] = buffer.getvalue()
    buffer = io.BytesIO()
    dicom(buffer, GRAY16[:8, :6])
    files["dicom"] = buffer.getvalue()
    return files


VALID = _valid_files()
HEADS = [
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"\0" * 128 + b"DICM",
]


def _read_or_refuse(path):
    message = None
    try:
        image = read_image(path)
    except AlloykError as error:
        message = str(error)
    if message is not None:
        assert path.name in message
        assert "\n" not in message
        return
    assert image.ndim == 3
    assert image.shape[-1] in (1, 3)
    assert image.size > 0
    assert image.dtype.isnative
    assert np.isfinite(image).all()


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(head=st.sampled_from(HEADS), body=st.binary(max_size=400))
def test_random_bytes_are_refused_by_name(tmp_path, head, body):
    _read_or_refuse(write(tmp_path / "a.img", head + body))


@settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(VALID)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    keep=st.floats(0.2, 1.0),
)
def test_damaged_files_are_read_or_refused_by_name(tmp_path, name, changes, keep):
    content = bytearray(VALID[name])
    for place, value in changes:
        content[int(place * len(content))] = value
    _read_or_refuse(write(tmp_path / "a.img", bytes(content[: int(keep * len(content))])))


def test_importing_and_reading_png_needs_neither_tensorflow_nor_pandas(tmp_path):
    # `alloyk predict x.tflite image.png` answers in less than 1 s from a cold start.
    path = write(tmp_path / "a.png", png_bytes([b"\xab"], 1, 1, 8, 0))
    code = (
        "import sys; from alloyk.imaging import read_image; read_image(sys.argv[1]);"
        "heavy = {'tensorflow', 'keras', 'pandas', 'scipy', 'tifffile', 'pydicom', 'matplotlib'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
