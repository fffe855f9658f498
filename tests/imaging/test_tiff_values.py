"""TIFF whose values are easily read wrong: compression, byte order, sign, channels, lengths."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from alloyk.errors import AlloykError, DataError
from alloyk.imaging import decoded_pixels, image_size, page_count, read_image

RNG = np.random.default_rng(11)


def extremes(dtype, shape=(17, 13)):
    """Numbers over the whole range of a type, its ends among them."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (RNG.normal(size=shape) * 1e4).astype(dtype)
    limits = np.iinfo(dtype)
    array = RNG.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    array.flat[:2] = limits.min, limits.max
    return array


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4"])
def test_compressed_samples_keep_sign_order_and_type(
    tmp_path, dtype, compression, predictor, order
):
    array = extremes(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, compression=compression, predictor=predictor, byteorder=order)
    image = read_image(path)
    assert image.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(image[..., 0], array)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_channels_without_a_meaning_are_refused(tmp_path, channels, planar):
    path = tmp_path / "a.tif"
    shape = (9, 7, channels) if planar == "contig" else (channels, 9, 7)
    extra = ["unspecified"] * (channels - 1)
    tifffile.imwrite(
        path, np.ones(shape, "u2"), photometric="minisblack", planarconfig=planar,
        extrasamples=extra, metadata=None,
    )  # fmt: skip
    with pytest.raises(AlloykError, match=rf"got {channels} channels marked as gray.*; save each"):
        read_image(path)


@pytest.mark.parametrize("kind", ["assocalpha", "unassalpha"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_alpha_is_dropped_alike_in_every_compression(tmp_path, kind, compression):
    rgba = RNG.integers(0, 256, (9, 7, 4), dtype=np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=[kind], compression=compression)
    np.testing.assert_array_equal(read_image(path), rgba[..., :3])
    gray = np.ascontiguousarray(rgba[..., :2])
    tifffile.imwrite(
        path, gray, photometric="minisblack", planarconfig="contig", extrasamples=[kind],
        compression=compression,
    )  # fmt: skip
    np.testing.assert_array_equal(read_image(path), gray[..., :1])


@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4"])
def test_white_is_zero_is_turned_whatever_the_type(tmp_path, dtype, compression):
    array = extremes(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, photometric="miniswhite", compression=compression)
    if dtype[0] == "f":
        expected = -array
    else:  # the ends of the range change places
        limits = np.iinfo(dtype)
        expected = (limits.min + limits.max - array.astype("i8")).astype(dtype)
    np.testing.assert_array_equal(read_image(path)[..., 0], expected)


def test_a_cut_in_the_values_of_a_tag_is_found(tmp_path):
    # Pixels first, the directory behind them, BitsPerSample (8, 8, 8) last in the file.
    rgb = RNG.integers(1, 255, (4, 5, 3), dtype=np.uint8)
    pixels = rgb.tobytes()
    start = 8 + len(pixels)
    tags = [(256, 4, 1, 5), (257, 4, 1, 4), (258, 3, 3, start + 2 + 9 * 12 + 4),
            (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8), (277, 3, 1, 3), (278, 4, 1, 4),
            (279, 4, 1, len(pixels))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    content = struct.pack("<2sHI", b"II", 42, start) + pixels
    content += struct.pack("<H", len(tags)) + entries + bytes(4) + struct.pack("<3H", 8, 8, 8)
    np.testing.assert_array_equal(read_image(content), rgb)
    for length in range(len(pixels), len(content)):
        with pytest.raises(AlloykError, match=r"cut short|header|tag|damaged|corrupted"):
            read_image(content[:length])


@pytest.mark.parametrize("options", [{"truncate": True}, {"imagej": True}])
def test_a_stack_in_one_page_has_every_plane(tmp_path, options):
    stack = RNG.integers(0, 65536, (3, 9, 7), dtype=np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", **options)
    if "imagej" in options:  # as ImageJ writes stacks beyond 4 GB: one page, pixels behind it
        with tifffile.TiffFile(path) as tiff:
            place = tiff.pages[0].offset
            entries = len(tiff.pages[0].tags)
        content = bytearray(path.read_bytes())
        order = ">" if content[:2] == b"MM" else "<"
        struct.pack_into(order + "I", content, place + 2 + 12 * entries, 0)
        path.write_bytes(content)
    with pytest.raises(AlloykError, match="one page, got 3"):
        read_image(path)
    for number in range(3):
        np.testing.assert_array_equal(read_image(path, page=number)[..., 0], stack[number])
    if "truncate" in options:
        path.write_bytes(path.read_bytes()[:-2])
        with pytest.raises(AlloykError, match="cut short"):
            read_image(path, page=2)


def changed_counts(path, count):
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tag = tiff.pages[0].tags["StripByteCounts"]
        tag.overwrite([count] * tag.count if tag.count > 1 else count)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
@pytest.mark.parametrize("count", [0, 60000])
def test_wrong_strip_lengths_of_a_complete_file_do_no_harm(tmp_path, compression, count):
    array = RNG.integers(0, 9, (12, 7)).astype("u1")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, rowsperstrip=5, compression=compression)
    changed_counts(path, count)
    np.testing.assert_array_equal(read_image(path)[..., 0], array)
    tifffile.imwrite(path, array, compression=compression)
    changed_counts(path, count)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(AlloykError, match=r"a\.tif"):
        read_image(path)


def packed(values, bits):
    text = "".join(f"{value:0{bits}b}" for value in values)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def bare_tiff(rows, width, bits, photometric, extra=(), predictor=1, sample_format=1):
    """A TIFF written from the standard alone: packed rows, one strip, big-endian."""
    pixels = b"".join(rows)
    tags = [(256, 4, 1, width), (257, 4, 1, len(rows)), (258, 3, 1, bits << 16),
            (259, 3, 1, 1 << 16), (262, 3, 1, photometric << 16), (273, 4, 1, 8),
            (277, 3, 1, 1 << 16), (278, 4, 1, len(rows)), (279, 4, 1, len(pixels)),
            (317, 3, 1, predictor << 16), (339, 3, 1, sample_format << 16)]  # fmt: skip
    behind = 8 + len(pixels) + 2 + 12 * (len(tags) + len(extra)) + 4
    values = b""
    for code, content in extra:
        tags.append((code, 3, len(content) // 2, behind + len(values)))
        values += content
    entries = b"".join(struct.pack(">HHII", *tag) for tag in tags)
    head = struct.pack(">2sHI", b"MM", 42, 8 + len(pixels)) + pixels
    return head + struct.pack(">H", len(tags)) + entries + bytes(4) + values


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_detector_samples_are_unpacked(bits):
    values = RNG.integers(0, 2**bits, (6, 7))
    content = bare_tiff([packed(row, bits) for row in values], 7, bits, 1)
    image = read_image(content)
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image[..., 0], values)
    turned = read_image(bare_tiff([packed(row, bits) for row in values], 7, bits, 0))
    np.testing.assert_array_equal(turned[..., 0], 2**bits - 1 - values)


def test_24_bit_samples_of_big_endian_files_and_no_others_are_read():
    values = np.array([[0xA0E030, 1, 2], [3, 0xFFFFFF, 0x123456]])
    big = bare_tiff([packed(row, 24) for row in values], 3, 24, 1)
    np.testing.assert_array_equal(read_image(big)[..., 0], values)
    little = io.BytesIO()
    tifffile.imwrite(little, values.astype("<u4"), byteorder="<", bitspersample=24)
    with pytest.raises(AlloykError, match="byte order of its 24-bit samples is not certain"):
        read_image(little.getvalue())


@pytest.mark.parametrize("bits", [4, 10, 12, 14, 24])
def test_packed_samples_with_a_predictor_are_refused(bits):
    rows = [packed(row, bits) for row in np.ones((6, 8), int)]
    content = bare_tiff(rows, 8, bits, 1, predictor=2)
    with pytest.raises(AlloykError, match=rf"samples of {bits} bit must be without a predictor"):
        read_image(content)


@pytest.mark.parametrize(
    ("bits", "signed", "kind"),
    [(12, True, "signed integers of 12 bit"), (33, False, "unsigned integers of 33 bit")],
)
def test_numbers_that_are_not_read_are_named(bits, signed, kind):
    rows = [packed(row, bits) for row in np.ones((6, 8), int)]
    content = bare_tiff(rows, 8, bits, 1, sample_format=2 if signed else 1)
    with pytest.raises(AlloykError, match=f"signed ones of 8, 16, 32 or 64 bit, .* got {kind}"):
        read_image(content)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_strips_that_were_never_written_are_named(tmp_path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((8, 8), np.uint16), compression=compression, rowsperstrip=4)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("StripOffsets", "StripByteCounts"):
            tag = tiff.pages[0].tags[name]
            tag.overwrite((tag.value[0], 0))
    with pytest.raises(AlloykError, match=r"never written \(a sparse TIFF"):
        read_image(path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_every_depth(bits):
    values = RNG.integers(0, 2**bits, (6, 16))
    colours = RNG.integers(0, 256, (3, 2**bits))
    colours[0, 0] = 255
    table = (colours * 257).astype(">u2").tobytes()
    content = bare_tiff([packed(row, bits) for row in values], 16, bits, 3, [(320, table)])
    np.testing.assert_array_equal(read_image(content), np.moveaxis(colours[:, values], 0, -1))
    table = colours.astype(">u2").tobytes()  # 8-bit colours, as some programs write
    content = bare_tiff([packed(row, bits) for row in values], 16, bits, 3, [(320, table)])
    np.testing.assert_array_equal(read_image(content), np.moveaxis(colours[:, values], 0, -1))


def test_jpeg_in_tiff_and_cmyk_equal_pillow(tmp_path):
    smooth = np.add.outer(np.arange(64), np.arange(48)).astype(np.uint8)
    path = tmp_path / "a.tif"
    Image.fromarray(np.dstack([smooth, smooth[::-1], smooth])).save(path, compression="jpeg")
    difference = read_image(path).astype(int) - np.asarray(Image.open(path).convert("RGB"))
    assert np.abs(difference).max() <= 1  # two builds of libjpeg
    cmyk = RNG.integers(0, 256, (9, 7, 4), dtype=np.uint8)
    Image.fromarray(cmyk, "CMYK").save(path, compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(path), np.asarray(Image.open(path).convert("RGB")))


def test_a_compression_without_decoder_says_how_to_save_it(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RNG.integers(0, 9, (8, 8)).astype("u1"))
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["Compression"].overwrite(34676)  # SGILOG
    with pytest.raises(AlloykError, match=r"SGILOG.* has no decoder here; save it") as error:
        read_image(path)
    assert "replace or remove" not in str(error.value)


def test_bytes_are_read_like_a_file(tmp_path):
    array = extremes("u2")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array)
    np.testing.assert_array_equal(read_image(buffer.getvalue())[..., 0], array)
    with pytest.raises(AlloykError, match=r"^cannot read the image on standard input: .* is empty"):
        read_image(b"", name="on standard input")


def tiff_of(width, height, *entries):
    """A TIFF of one deflated strip of zeros; entries are tags of 32-bit values."""
    strip = zlib.compress(bytes(4096))
    tags = {256: width, 257: height, 258: 16, 259: 8, 262: 1, 273: 8, 277: 1, 278: height,
            279: len(strip), **dict(entries)}  # fmt: skip
    directory = struct.pack("<H", len(tags))
    for tag, value in sorted(tags.items()):
        directory += struct.pack("<HHII", tag, 4, 1, value)
    start = 8 + len(strip) + len(strip) % 2
    head = b"II*\0" + struct.pack("<I", start) + strip
    return head.ljust(start, b"\0") + directory + bytes(4)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([(277, 60000)], "got 60000 channels marked as gray"),
        ([(277, 60000), (262, 3)], "must be gray, RGB, palette or 8-bit CMYK, got PALETTE with"),
        ([(32997, 2**20)], "guards against decompression bombs"),
        ([(322, 2**16), (323, 2**16), (324, 8), (325, 4)], "guards against decompression bombs"),
    ],
)
def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch, entries, message):
    def decode(*_, **__):
        raise AssertionError("decoded")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", decode)
    with pytest.raises(DataError, match=message):
        read_image(tiff_of(48, 40, *entries), page=0)


def test_planes_and_tiles_count_as_decoded():
    assert decoded_pixels(tiff_of(48, 40)) == 48 * 40
    assert decoded_pixels(tiff_of(48, 40, (32997, 7)), page=2) == 7 * 48 * 40
    assert decoded_pixels(tiff_of(48, 40, (322, 512), (323, 256))) == 512 * 256


def test_images_outside_of_the_pages_are_refused(tmp_path):
    image = np.arange(40 * 48, dtype=np.uint16).reshape(40, 48)
    with tifffile.TiffWriter(tmp_path / "thumbnail.tif") as tiff:
        tiff.write(image[::4, ::4], subfiletype=1, subifds=1)
        tiff.write(image)
    with pytest.raises(DataError, match="its first page is a thumbnail of an image in a sub-page"):
        read_image(tmp_path / "thumbnail.tif")
    planes = np.zeros(6, "<u4")
    extratags = [(33629, 5, 1, planes.tobytes(), True), (33628, 4, 2, (0, 0), True)]
    tifffile.imwrite(tmp_path / "stack.tif", image, extratags=extratags, metadata=None)
    with pytest.raises(DataError, match="it is a MetaMorph stack"):
        read_image(tmp_path / "stack.tif")


def without_tag(path, code):
    """Turn a tag of the first page into a private one."""
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    places = [start + 2 + 12 * number for number in range(count)]
    (place,) = [place for place in places if struct.unpack_from("<H", content, place)[0] == code]
    struct.pack_into("<H", content, place, 65000)
    path.write_bytes(content)


@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize(
    ("code", "name"),
    [(256, "ImageWidth"), (257, "ImageLength"), (258, "BitsPerSample"),
     (262, "PhotometricInterpretation")],
)  # fmt: skip
def test_a_missing_tag_is_named(tmp_path, compression, code, name):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, extremes("u2"), compression=compression, metadata=None)
    without_tag(path, code)
    for read in (read_image,) if code == 258 else (read_image, image_size, page_count):
        with pytest.raises(AlloykError, match=rf"a\.tif: its header lacks the tag {name};"):
            read(path)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
def test_one_bit_is_the_default(tmp_path, compression):
    path = tmp_path / "a.tif"
    bits = RNG.integers(0, 2, (9, 16), dtype=np.uint8)
    tifffile.imwrite(path, bits.astype(bool), photometric="minisblack", compression=compression)
    with tifffile.TiffFile(path) as tiff:
        assert "BitsPerSample" not in tiff.pages[0].tags
    np.testing.assert_array_equal(read_image(path)[..., 0], 255 * bits)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
def test_strips_are_found_without_their_lengths(tmp_path, compression):
    array = extremes("u2")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, compression=compression, rowsperstrip=5, metadata=None)
    without_tag(path, 279)
    np.testing.assert_array_equal(read_image(path)[..., 0], array)


def test_packed_colours_of_unequal_bits_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((9, 7, 3), "u1"), photometric="rgb", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["BitsPerSample"].overwrite((5, 6, 5))
    with pytest.raises(DataError, match="must have one number of bits, got 5-6-5; save it as RGB"):
        read_image(path)
