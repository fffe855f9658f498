"""Every format of a laboratory goes through audit, split, train, predict and export."""

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

import alloyk
from alloyk.data.dataset import read_table
from alloyk.data.stacks import with_pages
from alloyk.errors import AlloykError
from alloyk.imaging import read_image

pytestmark = pytest.mark.usefixtures("unrendered", "untimed")

fabio = pytest.importorskip("fabio")
fits = pytest.importorskip("astropy.io.fits")
h5py = pytest.importorskip("h5py")

RAW = {"dtype": "uint16", "shape": [20, 24], "offset": 16, "byte_order": "big"}
HDF5_PATH = "entry/data/image"
FRAMES = 2
SETTINGS = {
    "preprocess.image_size": 16, "model.arch": "fnn", "model.hidden_units": 16,
    "model.depth": 1, "train.epochs": 1, "train.batch_size": 16, "data.page": "each",
    "data.raw": RAW, "data.hdf5_path": HDF5_PATH, "preprocess.repair": False,
}  # fmt: skip


def edf(path, frames):
    image = fabio.edfimage.EdfImage(data=frames[0])
    for frame in frames[1:]:
        image.append_frame(data=frame)
    image.write(str(path))


def his(path, frames):
    count, height, width = frames.shape
    size = 68 + frames.nbytes
    head = struct.pack(
        "<HHHIHHHHHHHdH34x", 0x7000, 68, 100, size, 0, 1, 1, width, height, count, 0, 0.0, 4
    )
    path.write_bytes(head + frames.astype("<u2").tobytes())


def hdf5(path, frames):
    with h5py.File(path, "w") as file:
        file["entry/data/image"] = frames
        file["entry/flat"] = frames * 0 + 9000


WRITERS = {
    ".edf": edf,
    ".fits": lambda path, frames: fits.PrimaryHDU(frames).writeto(path),
    ".his": his,
    ".h5": hdf5,
    ".raw": lambda path, frames: path.write_bytes(bytes(16) + frames.astype(">u2").tobytes()),
    ".npy": np.save,
    ".tif": lambda path, frames: tifffile.imwrite(path, frames, photometric="minisblack"),
}


def write_set(folder: Path, suffixes, files=4) -> Path:
    """`folder`/<class>/*: stacks of two frames, with a square that tells the classes apart."""
    rng = np.random.default_rng(1)
    for label, level in (("1050", 9000), ("2017", 3000)):
        (folder / label).mkdir(parents=True)
        for suffix in suffixes:
            for number in range(files):
                frames = rng.normal(6000, 300, (FRAMES, 20, 24))
                frames[:, 6:14, 8:16] = rng.normal(level, 300, (FRAMES, 8, 8))
                name = f"{suffix[1:]}{number}{suffix}"
                WRITERS[suffix](folder / label / name, frames.astype(np.uint16))
    return folder


def check_commands(folder: Path, suffixes) -> None:
    """Go through the commands with a data set of these formats."""
    data = write_set(folder / "data", suffixes)
    count = 2 * 4 * FRAMES * len(suffixes)
    audited = alloyk.audit(data, page="each", raw=RAW, hdf5_path=HDF5_PATH)
    unreadable = [found for found in audited.findings if found.name == "unreadable"]
    assert not unreadable
    planned = alloyk.split(data, folder / "sorted", ratios=(0.5, 0.25, 0.25), mode="link")
    assert len(planned.table) == count / FRAMES

    run = alloyk.train(data=folder / "sorted", run=folder / "run", set=SETTINGS)
    table = run.predictions.table
    assert len(table) == count / 4
    assert set(table.groupby("plate_id").size()) == {FRAMES}

    # The run knows how its files are read; the same probabilities as in its test split.
    sorted_test = folder / "sorted" / "test"
    found = alloyk.predict(run.path, sorted_test)
    assert [Path(path).name for path in found.paths] == [Path(path).name for path in table["path"]]
    np.testing.assert_allclose(found.probabilities, run.predictions.probabilities, atol=1e-5)
    exported = folder / "model.tflite"
    run.export(format="tflite", out=exported)
    of_run, of_file = (alloyk.predict(one, folder / "sorted") for one in (run.path, exported))
    np.testing.assert_allclose(of_file.probabilities, of_run.probabilities, atol=1e-4)
    assert {Path(path.partition("[")[0]).suffix for path in of_run.paths} == set(suffixes)


def test_every_command_takes_every_format(tmp_path):
    check_commands(tmp_path, list(WRITERS))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", WRITERS)
def test_every_command_takes_each_format(tmp_path, suffix):
    check_commands(tmp_path, [suffix])


def test_a_broken_file_of_each_format_is_named(tmp_path):
    data = write_set(tmp_path / "data", list(WRITERS), files=2)
    broken = []
    for suffix in WRITERS:
        path = data / "1050" / f"{suffix[1:]}1{suffix}"
        path.write_bytes(path.read_bytes()[:-300])
        broken.append(path.name)
    found = alloyk.audit(data, page="each", raw=RAW, hdf5_path=HDF5_PATH)
    (unreadable,) = [one for one in found.findings if one.name == "unreadable"]
    named = " ".join(unreadable.images)
    for name in broken:
        assert name in named
    _, table, _, _ = read_table(data, hdf5_path=HDF5_PATH)
    taken = with_pages(data, table, "each")
    for name in broken:
        row = [path for path in taken["path"] if f"1050/{name}" in path][-1]
        with pytest.raises(AlloykError, match=name):
            read_image(data / row)
