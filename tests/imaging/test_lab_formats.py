"""What laboratories write: each format whole, as a stack, and broken."""

import io
import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

from alloyk.errors import AlloykError
from alloyk.imaging import (
    FileSettings,
    assume_files,
    image_format,
    image_size,
    is_image_name,
    page_count,
    read_image,
)

fabio = pytest.importorskip("fabio")
fits_files = pytest.importorskip("astropy.io.fits")
h5py = pytest.importorskip("h5py")
hdf5plugin = pytest.importorskip("hdf5plugin")

RNG = np.random.default_rng(4)
STACK = RNG.integers(0, 65536, (3, 9, 7), dtype=np.uint16)


def npy(path, frames):
    np.save(path, frames)


def npz(path, frames):
    with path.open("wb") as file:
        np.savez_compressed(file, image=frames)


def edf(path, frames):
    frames = frames if frames.ndim == 3 else frames[None]
    image = fabio.edfimage.EdfImage(data=frames[0], header={"ExposureTime": "0.5"})
    for frame in frames[1:]:
        image.append_frame(data=frame)
    image.write(str(path))


def fits(path, frames):
    fits_files.PrimaryHDU(frames).writeto(path, overwrite=True)


def his(path, frames):
    """The header as PerkinElmer's manual lists it, and an image header of 32 bytes."""
    frames = frames if frames.ndim == 3 else frames[None]
    count, height, width = frames.shape
    size = 68 + 32 + frames.nbytes
    head = struct.pack(
        "<HHHIHHHHHHHdH34x", 0x7000, 68, 100, size, 32, 1, 1, width, height, count, 0, 133.0, 4
    )
    path.write_bytes(head + bytes(32) + frames.astype("<u2").tobytes())


def hdf5(path, frames):
    with h5py.File(path, "w") as file:
        file["entry/note"] = "text"
        file["entry/time"] = np.arange(3.0)
        file.create_dataset("entry/data/image", data=frames, **hdf5plugin.Bitshuffle())


def raw(path, frames):
    path.write_bytes(bytes(10) + frames.astype(">u2").tobytes())
    (path.parent / "raw.yaml").write_text(
        "{dtype: uint16, shape: [9, 7], offset: 10, byte_order: big}"
    )


WRITERS = {
    ".npy": npy, ".npz": npz, ".edf": edf, ".fits": fits, ".his": his, ".h5": hdf5, ".raw": raw,
}  # fmt: skip


@pytest.mark.parametrize("suffix", WRITERS)
def test_one_image_and_a_stack(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, STACK[0])
    image = read_image(path)
    assert image.dtype == np.uint16
    assert image.dtype.isnative
    np.testing.assert_array_equal(image[..., 0], STACK[0])
    assert image_size(path) == (9, 7)
    assert is_image_name(path.name)
    WRITERS[suffix](path, STACK)
    assert page_count(path) == 3
    np.testing.assert_array_equal(read_image(f"{path}[2]")[..., 0], STACK[2])
    np.testing.assert_allclose(read_image(f"{path}[mean]")[..., 0], STACK.mean(axis=0), rtol=1e-6)
    with pytest.raises(AlloykError, match="one page, got 3"):
        read_image(path)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_cut_file_is_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, STACK[0])
    content = path.read_bytes()
    for length in (len(content) - 1, len(content) - 40, len(content) // 2, 30):
        path.write_bytes(content[:length])
        with pytest.raises(AlloykError, match=rf"a\{suffix}") as error:
            read_image(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".edf", ".fits", ".his", ".h5"])
def test_the_content_decides_and_bytes_are_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, STACK[1])
    np.testing.assert_array_equal(read_image(path.read_bytes())[..., 0], STACK[1])
    other = tmp_path / "really.png"
    other.write_bytes(path.read_bytes())
    np.testing.assert_array_equal(read_image(other)[..., 0], STACK[1])
    assert image_format(other) == {".h5": "hdf5"}.get(suffix, suffix[1:])


def test_numpy_shapes(tmp_path):
    for array, expected in (
        (STACK[0] > 9, (STACK[0] > 9)[..., None] * 255),
        (np.moveaxis(STACK, 0, -1), np.moveaxis(STACK, 0, -1)),
        (STACK[0][..., None].astype(">f4"), STACK[0][..., None]),
    ):
        buffer = io.BytesIO()
        np.save(buffer, array)
        np.testing.assert_array_equal(read_image(buffer.getvalue()), expected)
    for array, message in (
        (np.zeros((2, 2, 2, 2)), r"its shape must be .*, got \(2, 2, 2, 2\)"),
        (np.zeros((4, 4), complex), "must be integers or floats, got complex128"),
        (np.full((4, 4), np.nan), "16 values are NaN"),
    ):
        buffer = io.BytesIO()
        np.save(buffer, array)
        with pytest.raises(AlloykError, match=message):
            read_image(buffer.getvalue())


def test_numpy_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(AlloykError, match=r"a\.npy: its values must be .*, got object"):
        read_image(tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", first=STACK[0], second=STACK[1])
    with pytest.raises(AlloykError, match="must contain one array, got first, second"):
        read_image(tmp_path / "b.npz")


def test_fits_of_every_kind(tmp_path):
    scaled = fits_files.ImageHDU((STACK[0] >> 4).astype(np.int16))
    scaled.scale("int16", bscale=0.5, bzero=100)
    for parts, expected in (
        ([fits_files.PrimaryHDU(STACK[0].astype(np.uint8))], STACK[0].astype(np.uint8)),
        ([fits_files.PrimaryHDU(STACK[0].astype(np.int32) - 40000)], STACK[0] - 40000.0),
        ([fits_files.PrimaryHDU(STACK[0] / 7)], STACK[0] / 7),
        ([fits_files.PrimaryHDU(STACK[None, :1])], STACK[0]),
        ([fits_files.PrimaryHDU(), fits_files.ImageHDU(STACK[0])], STACK[0]),
        ([fits_files.PrimaryHDU(), fits_files.CompImageHDU(STACK[0])], STACK[0]),
        ([fits_files.PrimaryHDU(), scaled], STACK[0] >> 4),
    ):
        fits_files.HDUList(parts).writeto(tmp_path / "a.fits", overwrite=True)
        image = read_image(tmp_path / "a.fits")
        assert image.dtype.isnative
        np.testing.assert_array_equal(image[..., 0], expected)
    for parts, message in (
        (
            [fits_files.PrimaryHDU(STACK[0]), fits_files.ImageHDU(STACK[1])],
            "one image or .*, got 2",
        ),
        ([fits_files.PrimaryHDU()], "FITS file without an image; remove it"),
        ([fits_files.PrimaryHDU(STACK[0][0])], "FITS file without an image"),
        ([fits_files.PrimaryHDU(np.zeros((2, 3, 4, 5)))], r"\(frames, height, width\), got \(2, 3"),
    ):
        fits_files.HDUList(parts).writeto(tmp_path / "a.fits", overwrite=True)
        with pytest.raises(AlloykError, match=message):
            read_image(tmp_path / "a.fits")


def test_fits_blocks_that_are_missing_or_damaged_are_named(tmp_path):
    path = tmp_path / "a.fits"
    fits(path, np.zeros((2, 50, 70), np.uint16))
    content = path.read_bytes()
    path.write_bytes(content[:-2880])  # a whole block: the first frame is complete
    with pytest.raises(AlloykError, match=r"a\.fits: the file is cut short"):
        read_image(f"{path}[0]")
    for old, new, reason in (
        (
            b"= " + b"16".rjust(20),
            b"= " + b"17".rjust(20),
            r"numbers of an unknown kind \(BITPIX 17",
        ),
        (b"= " + b"70".rjust(20), b"= " + b"-70".rjust(20), "its header is damaged"),
        (b"= " + b"70".rjust(20), b"= " + b"700000".rjust(20), "the file is cut short"),
        (b"NAXIS   = ", b"NAXIS   x ", "its header is damaged"),
    ):
        assert old in content
        path.write_bytes(content.replace(old, new, 1))
        with pytest.raises(AlloykError, match=rf"a\.fits: .*{reason}") as error:
            read_image(f"{path}[0]")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [fits_files.ImageHDU, fits_files.CompImageHDU])
def test_the_checksum_of_fits_data_is_verified(tmp_path, kind):
    path = tmp_path / "a.fits"
    parts = fits_files.HDUList([fits_files.PrimaryHDU(), kind(STACK)])
    parts.writeto(path, checksum=True)
    np.testing.assert_array_equal(read_image(f"{path}[1]")[..., 0], STACK[1])
    content = bytearray(path.read_bytes())
    content[content.rindex(b"END  ") // 2880 * 2880 + 2880 + 50] ^= 1  # among the pixels
    path.write_bytes(content)
    with pytest.raises(AlloykError, match=r"a\.fits: the checksum of its data is wrong"):
        read_image(f"{path}[1]")


def test_nexus_default_and_ambiguous_hdf5(tmp_path):
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        file["entry/data/image"] = STACK[0]
        file["entry/raw/dark"] = STACK[1]
    message = r"got entry/data/image, entry/raw/dark; choose one with --hdf5-path \(data\.hdf5_path"
    with pytest.raises(AlloykError, match=message):
        read_image(path)
    with h5py.File(path, "a") as file:
        file.attrs["default"] = "entry"
        file["entry"].attrs["default"] = "data"
        file["entry/data"].attrs["signal"] = "image"
    np.testing.assert_array_equal(read_image(path)[..., 0], STACK[0])


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        (None, "a raw file has no header: set data.raw, or write a raw.yaml"),
        ("{dtype: uint16}", "raw.yaml must give dtype.*got {'dtype': 'uint16'}; correct it"),
        ("{dtype: text, shape: [9, 7]}", "raw.yaml must give dtype"),
        ("{dtype: uint16, shape: [9, 7], endian: big}", "raw.yaml must give dtype.*endian"),
        (
            "{dtype: uint16, shape: [9, 8]}",
            r"144 bytes from byte 0, got 126 bytes there; correct raw\.yaml or data\.raw",
        ),
        ("[", "raw.yaml must give dtype"),
    ],
)
def test_a_raw_file_without_a_true_sidecar_says_what_to_write(tmp_path, sidecar, message):
    path = tmp_path / "a.raw"
    path.write_bytes(STACK[0].tobytes())
    if sidecar:
        (tmp_path / "raw.yaml").write_text(sidecar)
    with pytest.raises(AlloykError, match=message):
        read_image(path)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"NRRD0005", "NRRD is not read; convert"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "TXRM"),
        (b"\x1f\x8b\x08", "it is compressed with gzip; decompress it"),
    ],
)
def test_what_is_not_read_says_how_to_convert_it(head, message):
    with pytest.raises(AlloykError, match=message) as error:
        read_image(head + bytes(600))
    assert "replace or remove" not in str(error.value)


@pytest.mark.parametrize(
    ("module", "suffix"),
    [("fabio.edfimage", ".edf"), ("astropy.io", ".fits"), ("hdf5plugin", ".h5")],
)
def test_without_the_extra_the_message_names_it(tmp_path, monkeypatch, module, suffix):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, STACK[0])
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(AlloykError, match=r'pip install "alloyk\[lab\]"'):
        read_image(path)


def test_virtual_hdf5_is_read_from_its_sources_or_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    counts = np.arange(30, dtype=np.uint16).reshape(5, 6) + 1
    with h5py.File(tmp_path / "part.h5", "w") as part:
        part["data"] = counts
    layout = h5py.VirtualLayout((5, 6), "u2")
    layout[:] = h5py.VirtualSource("part.h5", "data", (5, 6))
    with h5py.File(tmp_path / "master.h5", "w") as master:
        master.create_virtual_dataset("data", layout)
    np.testing.assert_array_equal(read_image(tmp_path / "master.h5")[..., 0], counts)
    with pytest.raises(AlloykError, match=r"in other files \(part\.h5\), which are found"):
        read_image((tmp_path / "master.h5").read_bytes())
    (tmp_path / "part.h5").unlink()
    with pytest.raises(AlloykError, match=r"in other files, of which part\.h5 is missing; put it"):
        read_image(tmp_path / "master.h5")


def test_frames_that_were_never_written_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "aborted.h5", "w") as file:
        frames = file.create_dataset("data", (4, 5, 6), "u2", chunks=(1, 5, 6))
        frames[:2] = 7
    assert (read_image(tmp_path / "aborted.h5[1]") == 7).all()
    with pytest.raises(AlloykError, match="a part of it was never written"):
        read_image(tmp_path / "aborted.h5[2]")
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file.create_dataset("data", (5, 6), "u2")
    with pytest.raises(AlloykError, match="a part of it was never written"):
        read_image(tmp_path / "empty.h5")


@pytest.mark.parametrize("default", [".", "/", "entry", b"entry"])
def test_a_nexus_default_is_followed_and_ends(tmp_path, default):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data"] = np.full((5, 6), 3, np.uint16)
        file.attrs["default"] = default
        file["entry"].attrs["default"] = "."
        file["entry"].attrs["signal"] = "data"
    assert (read_image(tmp_path / "a.h5") == 3).all()


def edf(array, before=""):
    """A block of an EDF file, written by hand."""
    dims = "".join(f"Dim_{n} = {side} ;\n" for n, side in enumerate(array.shape[::-1], 1))
    text = f"{{\n{before}ByteOrder = LowByteFirst ;\nDataType = UnsignedShort ;\n{dims}"
    text += f"Size = {array.nbytes} ;\n"
    return (text + " " * (-(len(text) + 2) % 512) + "}\n").encode() + array.astype("<u2").tobytes()


def test_edf_with_late_keywords_a_third_dimension_or_frames_of_two_sizes():
    pytest.importorskip("fabio")
    frames = np.arange(5 * 20 * 24, dtype=np.uint16).reshape(5, 20, 24)
    late = edf(frames[0], before=f"Title = {'x' * 700} ;\n")
    np.testing.assert_array_equal(read_image(late)[..., 0], frames[0])
    stack = edf(frames[:2]) + edf(frames[2:])
    assert page_count(stack) == 5
    for page in range(5):
        np.testing.assert_array_equal(read_image(stack, page=page)[..., 0], frames[page])
    np.testing.assert_allclose(read_image(stack, page="mean")[..., 0], frames.mean(axis=0))
    with pytest.raises(AlloykError, match="its header is damaged: it gives no height"):
        read_image(edf(frames[0]).replace(b"Dim_2", b"Dam_2"))
    with pytest.raises(AlloykError, match="its frames must have one size, got 10 × 24 and 20 × 24"):
        read_image(edf(frames[0]) + edf(frames[1][:10]), page=0)


def test_an_edf_header_that_gives_too_few_bytes_is_refused(tmp_path):
    fabio = pytest.importorskip("fabio")
    path = tmp_path / "a.edf"
    fabio.edfimage.EdfImage(data=np.ones((40, 48), np.uint16)).write(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"EDF_BinarySize = 3840", b"EDF_BinarySize = 100 "))
    with pytest.raises(AlloykError, match="gives 100 bytes for 40 × 48 uint16, which need 3840"):
        read_image(path)


@pytest.mark.parametrize(
    "sidecar",
    ["{dtype: '>u2', shape: [4, 5]}", "{dtype: uint16, shape: [4.9, 5]}",
     "{dtype: uint16, shape: '45'}", "{dtype: uint16, shape: [4, 5], offset: 0.5}"],
)  # fmt: skip
def test_a_layout_that_could_mean_two_things_is_refused(tmp_path, sidecar):
    (tmp_path / "a.raw").write_bytes(bytes(40))
    (tmp_path / "a.raw.yaml").write_text(sidecar)
    with pytest.raises(AlloykError, match=r"must give dtype .* without byte order"):
        read_image(tmp_path / "a.raw")


def with_several_arrays(path):
    with h5py.File(path, "w") as file:
        file["entry/data/frames"] = STACK
        file["entry/raw/dark"] = STACK[1]
        file["entry/title"] = "plate 7"
        file["entry/time"] = np.arange(3.0)
        file["entry/cube"] = np.zeros((2, 2, 3, 4))
        file["entry/same"] = h5py.SoftLink("/entry/raw/dark")
    return path


@pytest.mark.parametrize("inside", ["entry/raw/dark", "/entry/raw/dark", "entry/same"])
def test_the_array_at_the_path_is_read(tmp_path, inside):
    path = with_several_arrays(tmp_path / "a.h5")
    with assume_files(FileSettings(hdf5_path=inside)):
        np.testing.assert_array_equal(read_image(path)[..., 0], STACK[1])
        np.testing.assert_array_equal(read_image(path.read_bytes())[..., 0], STACK[1])
    with assume_files(FileSettings(hdf5_path="entry/data/frames")):
        assert page_count(path) == 3
        np.testing.assert_array_equal(read_image(f"{path}[2]")[..., 0], STACK[2])


@pytest.mark.parametrize(
    ("inside", "fault"),
    [
        ("entry/data/image", "which does not exist"),
        ("entry/data/frames/more", "which does not exist"),
        ("entry/data", "which is a group"),
        ("entry/title", "whose values are not integers or floats"),
        ("entry/time", r"whose shape is \(3,\)"),
        ("entry/cube", r"whose shape is \(2, 2, 3, 4\)"),
    ],
)
def test_a_path_to_no_image_says_which_there_are(tmp_path, inside, fault):
    path = with_several_arrays(tmp_path / "a.h5")
    message = rf"a\.h5: --hdf5-path .* got {inside}, {fault}; the file has .*entry/data/frames"
    with assume_files(FileSettings(hdf5_path=inside)), pytest.raises(AlloykError, match=message):
        read_image(path)


@pytest.mark.parametrize("of_group", [True, False])
def test_the_only_signal_is_the_default(tmp_path, of_group):
    path = with_several_arrays(tmp_path / "a.nxs")
    with h5py.File(path, "a") as file:
        if of_group:
            file["entry/raw"].attrs["signal"] = "dark"
        else:  # as before NeXus 3.1
            file["entry/raw/dark"].attrs["signal"] = np.int32(1)
    np.testing.assert_array_equal(read_image(path)[..., 0], STACK[1])
    with h5py.File(path, "a") as file:
        file["entry/data/frames"].attrs["signal"] = "1"
    with pytest.raises(AlloykError, match="must contain one array of images or a NeXus default"):
        read_image(path)


def npy_file(shape, content, dtype="<f4"):
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + content


def zipped(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", content)
    return buffer.getvalue()


@pytest.mark.parametrize("packed", [bytes, zipped])
@pytest.mark.parametrize("shape", ["(100000, 100000)", "(10000000, 1000, 1000)", "(4, 5)"])
def test_a_header_that_gives_more_than_the_file_is_cut_short(packed, shape):
    with pytest.raises(
        AlloykError, match=r"cut short: its header gives .* need \d+ bytes, got 64;"
    ):
        read_image(packed(npy_file(shape, bytes(64))), page=0)


@pytest.mark.parametrize("packed", [bytes, zipped])
def test_numpy_of_python_2_is_read_without_a_warning(packed):
    content = packed(npy_file("(4L, 4L)", np.arange(16, dtype="<f4").tobytes()))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = read_image(content)
    np.testing.assert_array_equal(image[..., 0], np.arange(16).reshape(4, 4))
    assert not caught


def test_the_order_of_fortran_and_new_versions_are_read():
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(STACK))
    assert b"'fortran_order': True" in buffer.getvalue()
    np.testing.assert_array_equal(read_image(buffer.getvalue(), page=1)[..., 0], STACK[1])
    for version in ((2, 0), (3, 0)):
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, STACK[0], version=version)
        np.testing.assert_array_equal(read_image(buffer.getvalue())[..., 0], STACK[0])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_pages_in_any_order_and_damage_behind_the_page(save, order):
    stack = np.asarray(np.arange(5 * 40 * 60, dtype=np.uint16).reshape(5, 40, 60), order=order)
    file = io.BytesIO()
    save(file, stack)
    for page in (3, 0, 4):
        np.testing.assert_array_equal(read_image(file.getvalue(), page=page)[..., 0], stack[page])
    mean = read_image(file.getvalue(), page="mean")
    np.testing.assert_allclose(mean[..., 0], stack.mean(axis=0))
    broken = bytearray(file.getvalue())
    broken[-200] ^= 0xFF  # in the last page
    with pytest.raises(AlloykError):
        read_image(bytes(broken), page=0)


def test_a_page_of_npz_takes_the_memory_of_a_page():
    stack = np.zeros((200, 500, 500), np.uint8)
    stack[7] = 3
    file = io.BytesIO()
    np.savez_compressed(file, stack)
    content = file.getvalue()
    tracemalloc.start()
    try:
        assert read_image(content, page=7).min() == 3
        assert tracemalloc.get_traced_memory()[1] < 10e6  # the stack has 50 MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("page", [None, 0, "mean", "channels"])
def test_an_array_without_pages_says_so(page):
    file = io.BytesIO()
    np.save(file, np.zeros((0, 4, 5)))
    with pytest.raises(AlloykError, match=r"it has no pages \(shape \(0, 4, 5\)\); remove it"):
        read_image(file.getvalue(), page=page)
    with pytest.raises(AlloykError, match="it has no pages"):
        page_count(file.getvalue())


def test_reasons_of_damaged_files_are_short_and_readable():
    array = io.BytesIO()
    np.savez_compressed(array, np.arange(800, dtype=np.uint16).reshape(20, 40))
    broken = bytearray(array.getvalue())
    broken[27] = 2  # a name of 521 bytes
    with pytest.raises(AlloykError) as caught:
        read_image(bytes(broken))
    assert len(str(caught.value)) < 300
    assert "\\x" not in str(caught.value)
    assert str(caught.value).isprintable()
    plain = io.BytesIO()
    np.save(plain, np.zeros((4, 5)))
    with pytest.raises(AlloykError, match="its header is damaged; replace or remove it"):
        read_image(plain.getvalue().replace(b"(4, 5)", b"(4, \xe9\x15"))


@pytest.mark.parametrize("page", [0, "mean"])
def test_values_beyond_float32_are_refused(page):
    for value, refused in ((3.4e38, False), (-3.5e38, True), (1e308, True)):
        buffer = io.BytesIO()
        stack = np.zeros((2, 4, 4))
        stack[:, 0, 0] = value
        np.save(buffer, stack)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if not refused:
                image = read_image(buffer.getvalue(), page=page)
                assert image.astype(np.float32).max() == np.float32(value)
                continue
            with pytest.raises(AlloykError, match=r"1 value is (beyond ±3.4e.38|NaN)"):
                read_image(buffer.getvalue(), page=page)


@pytest.mark.parametrize(("count", "width"), [(0, 7), (1, 0)])
def test_a_his_file_without_frames_says_so(tmp_path, count, width):
    path = tmp_path / "a.his"
    his(path, STACK[0])
    content = bytearray(path.read_bytes())
    struct.pack_into("<HHH", content, 16, width, 9, count)
    path.write_bytes(content)
    with pytest.raises(AlloykError, match=rf"header gives {count} frames of 9 × {width} pixels;"):
        read_image(path)
