"""HDF5 whose data is in other arrays or files: read, or refused where it does not exist."""

import subprocess
import sys

import numpy as np
import pytest

from alloyk.errors import AlloykError
from alloyk.imaging import FileSettings, assume_files, is_image_file, page_count, read_image

h5py = pytest.importorskip("h5py")

SHAPE = (5, 24, 20)
COUNTS = np.arange(1, np.prod(SHAPE) + 1, dtype="u2").reshape(SHAPE)


def source(path, shape=SHAPE, array="data"):
    return h5py.VirtualSource(str(path), array, shape)


def virtual(path, fill, shape=SHAPE):
    layout = h5py.VirtualLayout(shape, "u2")
    fill(layout)
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("data", layout)
    return path


def everything(name, array="data"):
    def fill(layout):
        layout[:] = source(name, array=array)

    return fill


@pytest.fixture
def folder(tmp_path):
    with h5py.File(tmp_path / "src.h5", "w") as file:
        file["data"] = COUNTS
    return tmp_path


def test_frames_without_mapping_are_refused(folder):
    def first_three(layout):
        layout[0:3] = source("src.h5")[2:5]

    path = virtual(folder / "v.h5", first_three)
    for page in range(3):
        np.testing.assert_array_equal(read_image(path, page=page)[..., 0], COUNTS[2 + page])
    for page in (3, 4):
        with pytest.raises(AlloykError, match="a part of it is mapped to no data; leave it out"):
            read_image(path, page=page)
    with pytest.raises(AlloykError, match="mapped to no data"):
        read_image(f"{path}[mean]")


def test_frames_mapped_in_part_are_refused(folder):
    def all_but_a_column(layout):
        layout[:, :12] = source("src.h5")[:, :12]
        layout[:, 12:, :19] = source("src.h5")[:, 12:, :19]

    path = virtual(folder / "v.h5", all_but_a_column)
    with pytest.raises(AlloykError, match="mapped to no data"):
        read_image(path, page=1)

    def tiles(layout):
        layout[:, :12] = source("src.h5")[:, :12]
        layout[:, 12:, 7:] = source("src.h5")[:, 12:, 7:]
        layout[:, 12:, :7] = source("src.h5")[:, 12:, :7]

    path = virtual(folder / "w.h5", tiles)
    np.testing.assert_array_equal(read_image(path, page=4)[..., 0], COUNTS[4])


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("src.h5", "entry/none", r"entry/none does not exist in src\.h5"),
        ("src.h5", "/", r"/ is not an array in src\.h5"),
        (".", "none", r"none does not exist in the file"),
        (".", "data", r"mapped to itself at /data"),
        ("gone.h5", "data", r"in other files, of which gone\.h5 is missing; put it into"),
    ],
)
def test_missing_sources_are_named(folder, name, array, message):
    path = virtual(folder / "v.h5", everything(name, array))
    with pytest.raises(AlloykError, match=message):
        read_image(path, page=0)


def test_source_that_was_not_written_or_is_too_small_is_refused(folder):
    with h5py.File(folder / "half.h5", "w") as file:
        data = file.create_dataset("data", SHAPE, "u2", chunks=(1, 8, 20))
        data[0:3] = COUNTS[0:3]
        data[3, :8] = 1
        file.create_dataset("short", (4, 24, 20), "u2")[:] = 1
    path = virtual(folder / "v.h5", everything("half.h5"))
    np.testing.assert_array_equal(read_image(path, page=2)[..., 0], COUNTS[2])
    for page in (3, 4):
        with pytest.raises(AlloykError, match=r"a part of it was never written in half\.h5"):
            read_image(path, page=page)
    path = virtual(folder / "w.h5", everything("half.h5", "short"))
    with pytest.raises(AlloykError, match=r"short with the shape \(4, 24, 20\) is smaller"):
        read_image(path, page=4)


def test_virtual_source_of_a_virtual_array_is_followed(folder):
    def reversed_pair(layout):
        layout[0] = source("middle.h5")[4]
        layout[1] = source("middle.h5")[0]

    def first_and_last(layout):
        layout[0] = source("src.h5")[1]
        layout[4] = source("lost.h5")[0]

    virtual(folder / "middle.h5", first_and_last)
    path = virtual(folder / "v.h5", reversed_pair, (2, 24, 20))
    np.testing.assert_array_equal(read_image(path, page=1)[..., 0], COUNTS[1])
    with pytest.raises(AlloykError, match=r"lost\.h5 is missing"):
        read_image(path, page=0)
    virtual(folder / "a.h5", everything("b.h5"))
    virtual(folder / "b.h5", everything("a.h5"))
    with pytest.raises(AlloykError, match="mapped to itself"):
        read_image(folder / "a.h5", page=0)


def test_selections_with_steps_and_irregular_ones(folder):
    def interleaved(layout):
        layout[0::2] = source("src.h5", (3, 24, 20))[:]
        layout[1::2] = source("other.h5", (2, 24, 20))[:]

    with h5py.File(folder / "other.h5", "w") as file:
        file.create_dataset("data", (2, 24, 20), "u2", chunks=(1, 24, 20))[0] = 7
    with h5py.File(folder / "src.h5", "w") as file:
        file["data"] = COUNTS[:3]
    path = virtual(folder / "v.h5", interleaved)
    np.testing.assert_array_equal(read_image(path, page=4)[..., 0], COUNTS[2])
    assert (read_image(path, page=1) == 7).all()
    with pytest.raises(AlloykError, match=r"never written in other\.h5"):
        read_image(path, page=3)

    def irregular(layout):
        layout[[0, 1, 3]] = source("src.h5", (3, 24, 20))[:]

    path = virtual(folder / "w.h5", irregular)
    np.testing.assert_array_equal(read_image(path, page=3)[..., 0], COUNTS[2])
    for page in (2, 4):
        with pytest.raises(AlloykError, match="mapped to no data"):
            read_image(path, page=page)


def growing(path, name, block, *, of_source):
    """A virtual array along whose first axis blocks of `block` frames follow one another."""
    from h5py import h5d, h5p, h5s, h5t

    space = h5s.create_simple((block, 24, 20), (h5s.UNLIMITED, 24, 20))
    count = (h5s.UNLIMITED, 1, 1)
    space.select_hyperslab((0, 0, 0), count, (block, 1, 1), (block, 24, 20))
    inside = h5s.create_simple((block, 24, 20), (h5s.UNLIMITED, 24, 20))
    if of_source:
        inside.select_hyperslab((0, 0, 0), count, (block, 1, 1), (block, 24, 20))
    settings = h5p.create(h5p.DATASET_CREATE)
    settings.set_virtual(space, name.encode(), b"data", inside)
    with h5py.File(path, "w") as file:
        h5d.create(file.id, b"data", h5t.NATIVE_UINT16, space, settings)
    return path


def test_sources_with_a_number_in_their_names_are_read(tmp_path):
    for number in range(2):
        with h5py.File(tmp_path / f"blk_{number}.h5", "w") as file:
            data = file.create_dataset("data", (2, 24, 20), "u2", chunks=(1, 24, 20))
            data[: 2 - number] = COUNTS[2 * number : 2 * number + 2 - number]
    path = growing(tmp_path / "v.h5", "blk_%b.h5", 2, of_source=False)
    assert page_count(path) == 4
    for page in range(3):
        np.testing.assert_array_equal(read_image(path, page=page)[..., 0], COUNTS[page])
    with pytest.raises(AlloykError, match=r"never written in blk_1\.h5"):
        read_image(path, page=3)


def test_source_that_grows_is_read(folder):
    with h5py.File(folder / "src.h5", "w") as file:
        file.create_dataset("data", SHAPE, "u2", data=COUNTS, maxshape=(None, 24, 20))
    path = growing(folder / "v.h5", "src.h5", 1, of_source=True)
    assert page_count(path) == 5
    np.testing.assert_array_equal(read_image(path, page=4)[..., 0], COUNTS[4])


def test_damaged_source_is_named_and_not_the_virtual_file(folder):
    path = virtual(folder / "v.h5", everything("src.h5"))
    whole = (folder / "src.h5").read_bytes()
    (folder / "src.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AlloykError, match=r"src\.h5 cannot be read: .*; replace that file$"):
        read_image(path, page=0)


WRITER = """
import sys, h5py
file = h5py.File(sys.argv[1], "a")
print("open", flush=True)
sys.stdin.read()
"""


def test_file_that_is_being_written_is_refused_with_the_reason(folder):
    path = virtual(folder / "v.h5", everything("src.h5"))
    command = [sys.executable, "-c", WRITER, folder / "src.h5"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"open\n"
        message = "a program is writing, or did not close, %s; read it when the measurement"
        with pytest.raises(AlloykError, match=message % r"src\.h5"):
            read_image(path, page=0)
        with pytest.raises(AlloykError, match=message % "it"):
            read_image(folder / "src.h5", page=0)
        writer.stdin.close()
    np.testing.assert_array_equal(read_image(path, page=0)[..., 0], COUNTS[0])


def test_links_are_followed_by_default_and_by_path(folder):
    (folder / "deep").mkdir()
    with h5py.File(folder / "deep/master.h5", "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink("../src.h5", "/data")
        file["entry/soft"] = h5py.SoftLink("/entry/data/data_000001")
        file["entry/loop"] = h5py.SoftLink("/entry")
    path = folder / "deep/master.h5"
    np.testing.assert_array_equal(read_image(path, page=4)[..., 0], COUNTS[4])
    for inside in ("entry/data/data_000001", "/entry/soft", "entry/loop/soft"):
        with assume_files(FileSettings(hdf5_path=inside)):
            np.testing.assert_array_equal(read_image(path, page=4)[..., 0], COUNTS[4])
    with pytest.raises(AlloykError, match=r"leads to \.\./src\.h5, which is found only from a fi"):
        read_image(path.read_bytes(), page=4)


@pytest.mark.parametrize("by_path", [True, False])
@pytest.mark.parametrize(
    ("link", "message"),
    [
        (h5py.ExternalLink("gone.h5", "/data"), r"entry/image leads to gone\.h5, which is missing"),
        (h5py.ExternalLink("src.h5", "/no"), r"leads to /no in src\.h5, which does not exist"),
        (h5py.SoftLink("/nowhere"), r"leads to /nowhere, which does not exist"),
        (h5py.SoftLink("/entry/image"), "lead in a circle"),
    ],
)
def test_links_to_nothing_name_their_target(folder, link, message, by_path):
    with h5py.File(folder / "master.h5", "w") as file:
        file["entry/image"] = link
    settings = FileSettings(hdf5_path="entry/image" if by_path else None)
    with assume_files(settings), pytest.raises(AlloykError, match=message):
        read_image(folder / "master.h5", page=0)


@pytest.mark.parametrize("size", [512, 1024, 2048, 4096])
def test_bytes_before_the_mark_are_skipped(tmp_path, size):
    with h5py.File(tmp_path / "a", "w", userblock_size=size) as file:
        file["data"] = COUNTS[0]
    assert is_image_file(tmp_path / "a")
    np.testing.assert_array_equal(read_image(tmp_path / "a")[..., 0], COUNTS[0])
    np.testing.assert_array_equal(read_image((tmp_path / "a").read_bytes())[..., 0], COUNTS[0])


@pytest.mark.parametrize("signal", [1, 1.0, np.float32(1), True, "1"])
def test_signal_marks_an_array_as_number_or_truth(folder, signal):
    with h5py.File(folder / "src.h5", "a") as file:
        file["dark"] = np.zeros((4, 4), "u2")
        file["data"].attrs["signal"] = signal
    np.testing.assert_array_equal(read_image(folder / "src.h5", page=1)[..., 0], COUNTS[1])


def test_default_names_the_array_itself(folder):
    with h5py.File(folder / "src.h5", "a") as file:
        file["dark"] = np.zeros((4, 4), "u2")
        file.attrs["default"] = "data"
    np.testing.assert_array_equal(read_image(folder / "src.h5", page=1)[..., 0], COUNTS[1])


def test_default_that_is_no_image_names_the_others(folder):
    with h5py.File(folder / "src.h5", "a") as file:
        file["entry/sum"] = np.ones(5)
        file.attrs["default"] = "entry"
        file["entry"].attrs["signal"] = "sum"
    message = r"default /entry/sum must be an image, got the shape \(5,\) .* of data with --hdf5-pa"
    with pytest.raises(AlloykError, match=message):
        read_image(folder / "src.h5", page=0)


@pytest.mark.parametrize("value", [np.inf, np.nan, [1.0, 2.0], b"\xff"])
def test_attribute_that_is_no_name_is_no_default(folder, value):
    with h5py.File(folder / "src.h5", "a") as file:
        file.attrs["default"] = value
        file["data"].attrs["signal"] = value
    np.testing.assert_array_equal(read_image(folder / "src.h5", page=1)[..., 0], COUNTS[1])


def test_sources_in_the_same_file_are_read_from_bytes_too(folder):
    with h5py.File(folder / "src.h5", "a") as file:
        layout = h5py.VirtualLayout((2, 24, 20), "u2")
        layout[:] = h5py.VirtualSource(".", "data", SHAPE)[3:]
        file.create_virtual_dataset("last", layout)
    for given in (folder / "src.h5", (folder / "src.h5").read_bytes()):
        with assume_files(FileSettings(hdf5_path="last")):
            np.testing.assert_array_equal(read_image(given, page=1)[..., 0], COUNTS[4])


def test_attribute_in_another_encoding_is_no_error(folder):
    with h5py.File(folder / "src.h5", "a") as file:
        kind = h5py.string_dtype("utf-8", 4)
        for entry in (file, file["data"]):
            for name in ("default", "signal"):
                entry.attrs.create(name, np.array(b"\xff\xb5mA", kind), dtype=kind)
    np.testing.assert_array_equal(read_image(folder / "src.h5", page=1)[..., 0], COUNTS[1])


@pytest.mark.parametrize("dtype", ["u2", ">u2", "f4", "f8"])
def test_mean_decodes_each_chunk_once(tmp_path, monkeypatch, dtype):
    frames = np.random.default_rng(0).normal(1000, 30, (7, 25, 20)).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=frames, chunks=(4, 10, 20), compression="gzip")
    parts = []
    read = h5py.Dataset.__getitem__

    def counted(array, place, **options):
        parts.append(place)
        return read(array, place, **options)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    mean = read_image(tmp_path / "a.h5[mean]")
    assert len(parts) == 2 * 3  # of frames and of rows
    total = np.zeros((25, 20))
    for frame in frames:
        total += frame
    np.testing.assert_array_equal(mean[..., 0], (total / 7).astype(np.float32))


def test_mean_of_chunks_that_were_not_all_written_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("data", SHAPE, "u2", chunks=(2, 24, 20))
        data[:4] = COUNTS[:4]
    with pytest.raises(AlloykError, match="a part of it was never written"):
        read_image(tmp_path / "a.h5[mean]")
