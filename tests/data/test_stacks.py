"""Files with several pages and raw files, as images of a data set."""

import numpy as np
import pytest
import tifffile

from alloyk.auditing.source import read_for_audit, series_of
from alloyk.config import resolve_config
from alloyk.data import load_dataset
from alloyk.data.depths import depth_of
from alloyk.data.reorganize.plan import plan_split
from alloyk.data.source import open_dataset
from alloyk.errors import AlloykError, ConfigError, DataError
from alloyk.files import sha256
from alloyk.imaging import (
    NO_SETTINGS,
    FileSettings,
    RawLayout,
    assume_files,
    describe_files,
    page_paths,
    read_image,
)
from alloyk.runs.split_record import image_digests

RNG = np.random.default_rng(7)


def write_stacks(folder, per_class=6, frames=3):
    """`folder`/<class>/*.tif of several pages, and one image of a single page in each class."""
    for label in ("1050", "2017"):
        (folder / label).mkdir(parents=True)
        for number in range(per_class):
            stack = RNG.integers(0, 60000, (frames, 9, 7), dtype=np.uint16)
            tifffile.imwrite(folder / label / f"p_{number}.tif", stack, photometric="minisblack")
        single = RNG.integers(0, 60000, (9, 7), dtype=np.uint16)
        tifffile.imwrite(folder / label / "single.tif", single)
    return folder


def test_each_page_is_an_image_of_one_plate(tmp_path):
    data = write_stacks(tmp_path / "data")
    dataset = load_dataset(data, page="each")
    assert len(dataset.table) == 2 * (6 * 3 + 1)
    assert dataset.grouped_by == "plate_id"
    splits = dataset.table.groupby("plate_id")["split"].agg(["nunique", "size"])
    assert set(splits["nunique"]) == {1}
    assert splits["size"].value_counts().to_dict() == {3: 12, 1: 2}
    assert set(dataset.table["split"]) == {"train", "val", "test"}
    path = data / "1050" / "p_2.tif"
    row = dataset.table[dataset.table["path"] == "1050/p_2.tif[1]"]
    assert list(row["plate_id"]) == ["1050/p_2.tif"]
    np.testing.assert_array_equal(
        read_image(data / "1050" / "p_2.tif[1]")[..., 0], tifffile.imread(path)[1]
    )


@pytest.mark.parametrize("page", [1, "mean"])
def test_one_page_or_the_mean_of_each_file(tmp_path, page):
    data = write_stacks(tmp_path / "data", per_class=4)
    for single in data.glob("*/single.tif"):
        single.unlink()
    dataset = load_dataset(data, page=page)
    assert set(dataset.table["path"].str.rpartition("[")[2]) == {f"{page}]"}
    assert "plate_id" not in dataset.table


def test_a_page_that_is_not_there_is_named_by_the_reader(tmp_path):
    dataset = load_dataset(write_stacks(tmp_path / "data"), page=1)
    (path,) = [path for path in dataset.table["path"] if path.startswith("1050/single")]
    with pytest.raises(
        AlloykError, match=r"single\.tif: the page must be 0, the only one, got 1; omit it"
    ):
        read_image(dataset.root / path)


def test_the_given_plate_stays_and_a_blank_one_is_the_file(tmp_path):
    data = write_stacks(tmp_path / "data", per_class=3)
    paths = sorted(str(path.relative_to(data)) for path in data.glob("*/p_*.tif"))
    rows = [f"{path},{path[:4]},{'' if i == 0 else f'plate{i}'}" for i, path in enumerate(paths)]
    for single in data.glob("*/single.tif"):
        single.unlink()
    (data / "manifest.csv").write_text("path,label,plate_id\n" + "\n".join(rows) + "\n")
    table = load_dataset(data, page="each").table
    assert set(table.loc[table["path"].str.startswith(paths[0]), "plate_id"]) == {paths[0]}
    assert set(table.loc[table["path"].str.startswith(paths[1]), "plate_id"]) == {"plate1"}


def test_a_manifest_may_name_pages_and_they_share_a_plate(tmp_path):
    data = write_stacks(tmp_path / "data", per_class=4)
    files = sorted(str(path.relative_to(data)) for path in data.glob("*/*.tif"))
    rows = [f"{name},{file[:4]}" for file in files for name in page_paths(file, 3, "each")]
    rows = [row for row in rows if "single.tif[1]" not in row and "single.tif[2]" not in row]
    (data / "manifest.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    dataset = load_dataset(data)
    assert dataset.grouped_by == "plate_id"
    assert set(dataset.table.groupby("plate_id")["split"].nunique()) == {1}
    with pytest.raises(DataError, match=r"26 rows name a page of a file .*use --mode manifest"):
        plan_split(data, tmp_path / "out")
    planned = plan_split(data, data / "split.csv", mode="manifest")
    assert len(planned.table) == 26


def test_names_are_grouped_without_the_page(tmp_path):
    data = write_stacks(tmp_path / "data")
    dataset = load_dataset(data, page="each", group_by=r"^([a-z]+_?\d*)\.tif$")
    assert set(dataset.table["path"].str.count(r"\[")) == {0, 1}
    table = dataset.table.drop(columns="plate_id")
    names, _, _ = series_of(table, None)
    assert set(names) == {"p", ""}


def test_fingerprint_and_digests_know_pages(tmp_path):
    data = write_stacks(tmp_path / "data")
    first = load_dataset(data, page="each").fingerprint()
    assert first == load_dataset(data, page="each").fingerprint()
    assert first != load_dataset(data, page="mean").fingerprint()
    file = data / "1050" / "p_0.tif"
    digests = image_digests(data, ["1050/p_0.tif[0]", "1050/p_0.tif[mean]", "1050/p_1.tif"])
    assert list(digests[:2]) == [sha256(file)] * 2
    assert digests[2] != digests[0]
    assert depth_of(data / "1050" / "p_0.tif[1]").dtype == "uint16"
    assert depth_of(data / "1050" / "p_0.tif[mean]").dtype == "float32"


def test_audit_takes_pages_of_a_flat_folder(tmp_path):
    data = write_stacks(tmp_path / "data") / "1050"
    _, table, _ = read_for_audit(data, page="each")
    assert len(table) == 19
    names, told_by, _ = series_of(table, None)
    assert told_by == "plate_id"
    assert len(set(names)) == 7


def test_raw_settings_of_a_data_set(tmp_path):
    image = RNG.integers(0, 60000, (9, 7), dtype=np.uint16)
    # The first count is 0x4D42: the file begins with BMP's mark.
    image[0, 0] = 0x4D42
    for label in ("1050", "2017"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(6):
            content = bytes(10) * (number % 2) + image.astype("<u2").tobytes()
            (tmp_path / "data" / label / f"{number}.raw").write_bytes(content)
            if number % 2:  # a sidecar describes it otherwise
                (tmp_path / "data" / label / f"{number}.raw.yaml").write_text(
                    "{dtype: uint16, shape: [9, 7], offset: 10}"
                )
    settings = {"path": str(tmp_path / "data"), "raw": {"dtype": "uint16", "shape": [9, 7]}}
    dataset = open_dataset(resolve_config(None, {"data": settings}).data_settings())
    for path in dataset.paths("train"):
        np.testing.assert_array_equal(read_image(path)[..., 0], image)
    before = dataset.fingerprint()
    settings["raw"] = {"dtype": "int16", "shape": [9, 7]}
    dataset = open_dataset(resolve_config(None, {"data": settings}).data_settings())
    assert dataset.fingerprint() != before
    plain = next(path for path in dataset.paths("train") if path.stem in "024")
    assert read_image(plain).dtype == np.int16
    with assume_files(FileSettings(RawLayout("uint16", (7, 9), byte_order="big"))):
        np.testing.assert_array_equal(read_image(plain)[..., 0], image.byteswap().reshape(7, 9))
    describe_files(tmp_path / "data", NO_SETTINGS)
    plain.write_bytes(bytes(126))  # which begins like no other format
    with pytest.raises(AlloykError, match=r"set data\.raw, or write a raw\.yaml"):
        read_image(plain)


def test_the_path_inside_hdf5_files_of_a_data_set(tmp_path):
    h5py = pytest.importorskip("h5py")
    pytest.importorskip("hdf5plugin")
    frames = RNG.integers(0, 60000, (2, 9, 7), dtype=np.uint16)
    for label in ("1050", "2017"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(6):
            with h5py.File(tmp_path / "data" / label / f"{number}.h5", "w") as file:
                file["entry/frames"], file["2017"] = frames, frames[0]
    settings = {"path": str(tmp_path / "data"), "page": "each"}
    fingerprints, images = set(), {}
    for inside in ("entry/frames", 2017):
        settings["hdf5_path"] = inside
        dataset = open_dataset(resolve_config(None, {"data": settings}).data_settings())
        fingerprints.add(dataset.fingerprint())
        images[inside] = [read_image(path)[..., 0] for path in dataset.paths("train")]
    assert len(fingerprints) == 2
    assert len(images["entry/frames"]) == 2 * len(images[2017])
    np.testing.assert_array_equal(images["entry/frames"][:2], frames)
    np.testing.assert_array_equal(images[2017][0], frames[0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"page": -1}, r"data.page must be a page number \(0 or more\), mean or each, got -1"),
        ({"page": "all"}, r"data.page must be a page number .*, mean or each, got 'all'"),
        ({"raw": {"shape": [9, 7]}}, "data.raw.dtype"),
        *(
            ({"raw": {"dtype": dtype, "shape": [9, 7]}}, "data.raw.dtype must be a type of integ")
            for dtype in ("text", ">u2", "U5", "object", "bool", "complex64")
        ),
        ({"raw": {"dtype": "uint16", "shape": [9, 0]}}, r"data.raw.shape.1 must be >= 1, got 0"),
        ({"raw": {"dtype": "uint16", "shape": [9, 7], "endian": "big"}}, "unknown key .*endian"),
    ],
)
def test_wrong_settings_are_refused(data, message):
    with pytest.raises(ConfigError, match=message):
        resolve_config(None, {"data": data})


def test_a_folder_of_files_that_are_not_read_says_how_to_convert_them(tmp_path):
    (tmp_path / "1050").mkdir()
    (tmp_path / "1050" / "scan.txrm").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(60))
    with pytest.raises(DataError, match=r"scan\.txrm\); Zeiss TXRM is not read; export TIFF"):
        load_dataset(tmp_path)
