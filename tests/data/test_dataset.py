"""Folders and manifests: every layout the users have, and every way to get one wrong."""

import csv
import os
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alloyk.data import load_dataset
from alloyk.data.dataset import RECORD, read_table
from alloyk.errors import AlloykError


def touch(root, *paths):
    """Make files with the names of images; nothing here opens one."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


def class_folders(root, labels=("1050", "2017"), images=20, above=""):
    touch(root, *(f"{above}{label}/{i:03}.png" for label in labels for i in range(images)))
    return root


def manifest(root, rows, header=("path", "label"), make=True):
    root.mkdir(exist_ok=True)
    with open(root / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    if make:
        touch(root, *(row[0] for row in rows))
    return root


def plate_rows(plates=10, images=4):
    return [
        (f"{label}/p{label}_{plate}_{i}.png", label, f"p{label}_{plate}", "1")
        for label in ("1050", "2017")
        for plate in range(plates)
        for i in range(images)
    ]


PLATE_HEADER = ("path", "label", "plate_id", "thickness_mm")


def refused(data, message, **options):
    with pytest.raises(AlloykError, match=message) as error:
        load_dataset(data, **options)
    assert "\n" not in str(error.value)


# --- Layouts ----------------------------------------------------------------------------------


def test_class_folders_are_split_when_loaded(tmp_path):
    dataset = load_dataset(class_folders(tmp_path))
    assert dataset.classes == ("1050", "2017")
    assert dataset.grouped_by is None
    assert list(dataset.table.columns) == ["path", "label", "split"]
    assert dataset.table["split"].value_counts().to_dict() == {"train": 28, "val": 6, "test": 6}
    assert all(path.is_absolute() and path.is_file() for path in dataset.paths("train"))
    labels = [dataset.classes[i] for i in dataset.labels("test")]
    assert labels == [path.parent.name for path in dataset.paths("test")]
    assert dataset.notes == ()
    assert not dataset.simulated


def test_given_splits_are_kept(tmp_path):
    for split, images in (("train", 7), ("val", 2), ("test", 3)):
        class_folders(tmp_path, images=images, above=f"{split}/")
    dataset = load_dataset(tmp_path, seed=5)
    assert dataset.grouped_by == "folders"
    tops = dataset.table["path"].str.split("/").str[0]
    assert (tops == dataset.table["split"]).all()
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == [14, 4, 6]
    with pytest.raises(AlloykError, match="train, val, test, got 'valid'"):
        dataset.split("valid")


def test_a_missing_val_is_taken_out_of_train_and_said(tmp_path):
    class_folders(tmp_path, images=34, above="train/")
    class_folders(tmp_path, images=6, above="test/")
    dataset = load_dataset(tmp_path)
    # 0.15 of 0.85 of the 68 training images.
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == [56, 12, 12]
    assert set(dataset.split("test")["path"].str[:5]) == {"test/"}
    assert set(dataset.split("val")["path"].str[:6]) == {"train/"}
    (note,) = dataset.notes
    assert "has no val: 12 of its 68 training images were taken for it, image by image" in note


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("castings", (1856, 398, 562)), ("threatobjects", (453, 97, 300)), ("fishbones", None)],
)
def test_real_data_sets_without_val_load(shared_data, name, sizes):
    dataset = load_dataset(shared_data / name)
    assert sizes is None or tuple(map(len, map(dataset.split, ("train", "val", "test")))) == sizes
    assert "has no val" in dataset.notes[0]


def test_real_series_are_grouped_by_a_regular_expression(shared_data):
    dataset = load_dataset(shared_data / "threatobjects", group_by=r"^(B\d+)_")
    series = dataset.table["path"].str.extract(r"/(B\d+)_", expand=False)
    train, val = (set(series[dataset.table["split"] == name]) for name in ("train", "val"))
    assert not train & val
    assert any("test shares" in note and "groups" in note for note in dataset.notes)


def test_a_manifest_in_the_folder_groups_by_plate(tmp_path):
    manifest(tmp_path, plate_rows(), PLATE_HEADER)
    dataset = load_dataset(tmp_path)
    assert dataset.grouped_by == "plate_id"
    assert (dataset.table.groupby("plate_id")["split"].nunique() == 1).all()
    assert list(dataset.table.columns) == ["path", "label", "split", "plate_id", "thickness_mm"]
    assert dataset.notes == ()
    same = load_dataset(tmp_path / "manifest.csv")
    pd.testing.assert_frame_equal(same.table, dataset.table)


def test_a_split_by_image_of_known_plates_says_so(tmp_path):
    manifest(tmp_path, plate_rows(), PLATE_HEADER)
    dataset = load_dataset(tmp_path, group_by="none")
    assert dataset.grouped_by is None
    assert any("groups (by plate_id) with train" in n for n in dataset.notes)
    # Also when somebody else made the split.
    dataset.table.to_csv(tmp_path / "manifest.csv", index=False)
    again = load_dataset(tmp_path)
    assert again.grouped_by == "manifest"
    assert again.notes == dataset.notes


def test_one_plate_per_class_is_refused(tmp_path):
    manifest(tmp_path, plate_rows(plates=1, images=20), PLATE_HEADER)
    refused(tmp_path, r'needs at least 3 groups .* has 1 .*group_by="none"')
    assert len(load_dataset(tmp_path, group_by="none").split("test")) == 6


def test_labels_are_text_even_when_they_look_like_something_else(tmp_path):
    labels = ["1050", "0123", "NA", "1e3", "nan", "None", "True", "Al 2017"]
    rows = [(f"{i}_{j}.png", label) for i, label in enumerate(labels) for j in range(4)]
    dataset = load_dataset(manifest(tmp_path, rows))
    assert dataset.classes == tuple(sorted(labels))
    assert all(type(label) is str for label in dataset.table["label"])


def test_names_that_differ_in_spelling_alone_are_pointed_out(tmp_path):
    labels = ["Al 1050", "al-1050", "2017", "2017.0"]
    plates = ["P1", "p 1", "1-11", "11-1", "2"]
    rows = [(f"{i}.png", labels[i % 4], plates[i % 5]) for i in range(20)]
    _, _, _, notes = read_table(manifest(tmp_path / "a", rows, ("path", "label", "plate_id")))
    assert notes == [
        "'2017' and '2017.0', 'Al 1050' and 'al-1050' are different classes; if they are not, "
        "spell them alike.",
        "'P1' and 'p 1' are different plates; if they are not, spell them alike.",
    ]
    for number, name in enumerate(["Al 1050", "al1050"]):
        touch(tmp_path / "b", f"{name}/{number}.png")
    assert "'Al 1050' and 'al1050' are different classes" in read_table(tmp_path / "b")[3][0]


def test_numbers_and_gaps_in_other_columns_survive(tmp_path):
    rows = [(f"{i}.png", "ab"[i % 2], i / 2, "" if i else "7", f"{i:02}") for i in range(8)]
    header = ("path", "label", "thickness_mm", "remark_id", "plate_id")
    table = load_dataset(manifest(tmp_path, rows, header), group_by="none").table
    assert table["thickness_mm"].tolist() == [str(i / 2) for i in range(8)]
    assert table["remark_id"].tolist() == ["7", *[""] * 7]
    assert table["plate_id"].tolist() == [f"{i:02}" for i in range(8)]


def test_folders_in_a_class_are_read_and_odd_files_named(tmp_path):
    class_folders(tmp_path)
    touch(tmp_path, "1050/session 2/deep/x.TIFF", "1050/notes.txt", "README", ".DS_Store")
    touch(tmp_path, "1050/.hidden.png", "1050/@eaDir/thumb.png", "flat.png", "dark.tif")
    dataset = load_dataset(tmp_path)
    assert len(dataset.table) == 41
    assert "1050/session 2/deep/x.TIFF" in set(dataset.table["path"])
    assert dataset.notes == ("Ignored 2 non-image files: 1050/notes.txt, README.",)


@pytest.mark.parametrize("above", ["", "train/"])
def test_folders_of_flat_and_dark_frames_are_no_classes(tmp_path, above):
    class_folders(tmp_path, above=above)
    touch(tmp_path, "flat/f0.png", "Darks/60kv/d0.png", "dark.png")
    (tmp_path / "dark").mkdir()
    dataset = load_dataset(tmp_path)
    assert dataset.classes == ("1050", "2017")
    assert len(dataset.table) == 40
    assert any("Left out 2 images in Darks, flat" in note for note in dataset.notes)


def test_a_class_called_flat_is_explained(tmp_path):
    class_folders(tmp_path, labels=("flat", "bent"))
    refused(tmp_path, r"got 'bent' alone \(beside flat, which is for flat and dark frames")


def test_dicom_files_without_a_suffix_are_found(tmp_path):
    class_folders(tmp_path)
    (tmp_path / "1050" / "IM0001").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "1050" / "1.2.840.5").write_bytes(b"\0" * 128 + b"DICM")
    assert len(load_dataset(tmp_path).table) == 42


@pytest.mark.parametrize("name", ["a b.png", "it's.png", 'q"q.png', "два.png", "n\nl.png", ",.png"])
def test_odd_names_survive_folders_and_manifests(tmp_path, name):
    class_folders(tmp_path / "a")
    touch(tmp_path / "a", f"1050/{name}")
    dataset = load_dataset(tmp_path / "a")
    assert f"1050/{name}" in set(dataset.table["path"])
    dataset.table.to_csv(tmp_path / "a" / "manifest.csv", index=False)
    again = load_dataset(tmp_path / "a")
    assert set(again.table["path"]) == set(dataset.table["path"])
    assert again.fingerprint() == dataset.fingerprint()


def test_the_same_seed_gives_the_same_split_and_another_another(tmp_path):
    class_folders(tmp_path)
    one, same, other = (load_dataset(tmp_path, seed=seed).table["split"] for seed in (1, 1, 2))
    assert one.equals(same)
    assert not one.equals(other)


def test_a_simulated_data_set_is_known_by_its_recipe(tmp_path):
    class_folders(tmp_path)
    (tmp_path / "simulation.yaml").write_text("seed: 0\n")
    assert load_dataset(tmp_path).simulated


# --- Fingerprint ------------------------------------------------------------------------------


def test_the_fingerprint_changes_with_every_change_and_only_then(tmp_path):
    class_folders(tmp_path)
    first = load_dataset(tmp_path).fingerprint()
    assert load_dataset(tmp_path).fingerprint() == first
    assert load_dataset(tmp_path, seed=1).fingerprint() != first
    file = tmp_path / "1050" / "000.png"
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert load_dataset(tmp_path).fingerprint() != first
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert load_dataset(tmp_path).fingerprint() == first
    file.write_bytes(b"xy")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert load_dataset(tmp_path).fingerprint() != first
    file.unlink()
    gone = load_dataset(tmp_path)
    (tmp_path / "1050" / "001.png").unlink()
    with pytest.raises(AlloykError, match=r"001\.png is no longer there"):
        gone.fingerprint()


def test_the_fingerprint_sees_the_files_that_an_image_links_to(tmp_path):
    h5py = pytest.importorskip("h5py")
    scans = tmp_path / "scans.h5"
    for pixel in (0, 999):
        with h5py.File(scans, "w") as file:
            file["data"] = np.full((4, 4), pixel, "u2")
        if not pixel:
            class_folders(tmp_path / "data")
            for image in (tmp_path / "data").rglob("*.png"):
                with h5py.File(image.with_suffix(".h5"), "w") as file:
                    file["data"] = h5py.ExternalLink("../../scans.h5", "/data")
                image.unlink()
            before = load_dataset(tmp_path / "data").fingerprint()
    assert load_dataset(tmp_path / "data").fingerprint() != before
    scans.unlink()
    assert load_dataset(tmp_path / "data").fingerprint() != before


def test_the_record_of_a_split_is_not_that_of_another_manifest(tmp_path):
    manifest(tmp_path, GOOD)
    rows = [
        (*row, split)
        for row, split in zip(GOOD, ["train", "val", "test", "train"] * 5, strict=True)
    ]
    other = tmp_path / "other.csv"
    lines = [",".join(row) for row in [("path", "label", "split"), *rows]]
    other.write_text("\n".join(lines) + "\n")
    (tmp_path / RECORD).write_text('{"group_by": "plate_id"}')
    assert load_dataset(other).grouped_by != "plate_id"
    (tmp_path / "manifest.csv").write_text(other.read_text())
    assert load_dataset(tmp_path).grouped_by == "plate_id"
    assert load_dataset(tmp_path / "manifest.csv").grouped_by == "plate_id"


# --- Wrong folders ----------------------------------------------------------------------------


def test_missing_and_empty_folders_are_named(tmp_path):
    refused(tmp_path / "absent", "absent does not exist")
    touch(tmp_path, "notes.txt")
    refused(tmp_path / "notes.txt", r"notes\.txt is a file")
    refused(tmp_path, r"no image in .*other files: notes\.txt")


def test_one_class_and_empty_classes_are_named(tmp_path):
    class_folders(tmp_path, labels=("1050",))
    refused(tmp_path, "must have two or more classes, got '1050' alone")
    (tmp_path / "2017").mkdir()
    refused(tmp_path, r"no image in .*/2017")
    class_folders(tmp_path, labels=("2017",))
    touch(tmp_path, "5083/readme.txt")
    refused(tmp_path, r"no image in .*/5083; .*remove the empty class folder")


def test_images_in_the_wrong_place_are_named(tmp_path):
    class_folders(tmp_path)
    touch(tmp_path, "stray.png")
    refused(tmp_path, r"must be in a class folder, got 1 outside \(stray\.png\)")
    (tmp_path / "stray.png").unlink()
    for split in ("train", "val", "test"):
        class_folders(tmp_path / "splits", above=f"{split}/")
    touch(tmp_path / "splits", "train/stray.png")
    refused(tmp_path / "splits", r"got 1 outside \(train/stray\.png\)")


def test_an_unlabelled_folder_is_explained(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    refused(tmp_path, "has 2 images but no class folders")


def test_mixed_up_levels_are_explained(tmp_path):
    class_folders(tmp_path / "a", above="train/")
    class_folders(tmp_path / "a", above="more/")
    refused(
        tmp_path / "a", r"must be splits \(train, val, test\) or classes, got more beside train"
    )
    for label in ("1050", "2017"):
        class_folders(tmp_path / "b", labels=("train", "test"), above=f"{label}/")
    refused(tmp_path / "b", "splits inside its classes")


def test_a_test_class_that_training_lacks_is_named(tmp_path):
    class_folders(tmp_path, above="train/")
    class_folders(tmp_path, labels=("1050", "7075"), above="test/")
    refused(tmp_path, "has the class '7075' in test but not in train")


def test_images_of_unknown_plates_are_plates_of_their_own_where_the_split_is_completed(tmp_path):
    rows = [
        (
            f"{label}/{n}.png",
            label,
            "test" if n < 4 else "train",
            "" if n % 3 else f"{label}-{n // 6}",
        )
        for label in ("1050", "2017")
        for n in range(40)
    ]
    manifest(tmp_path, rows, ("path", "label", "split", "plate_id"))
    table = load_dataset(tmp_path).table
    assert set(table["split"]) == {"train", "val", "test"}
    assert set(table.loc[table["split"] == "test", "path"]) == {
        row[0] for row in rows if row[2] == "test"
    }
    drawn = table[(table["plate_id"] != "") & (table["split"] != "test")]
    assert (drawn.groupby("plate_id")["split"].nunique() == 1).all()


def test_an_empty_split_and_a_missing_train_are_named(tmp_path):
    class_folders(tmp_path, above="test/")
    refused(tmp_path, "must have images in train, got none")
    class_folders(tmp_path, above="train/")
    (tmp_path / "val").mkdir()
    refused(tmp_path, r"no image in .*/val")


def test_links_are_followed_and_said_or_refused(tmp_path):
    class_folders(tmp_path / "data")
    touch(tmp_path, "elsewhere/x.png", "elsewhere/y.png", "single.png")
    (tmp_path / "data/1050/link.png").symlink_to(tmp_path / "single.png")
    (tmp_path / "data/2017/more").symlink_to(tmp_path / "elsewhere")
    dataset = load_dataset(tmp_path / "data")
    assert len(dataset.table) == 43
    assert any("to outside the data set" in note for note in dataset.notes)
    (tmp_path / "data/1050/again").symlink_to("../../data")
    refused(tmp_path / "data", "leads in a circle")
    (tmp_path / "data/1050/again").unlink()
    (tmp_path / "data/1050/dead.png").symlink_to("nothing.png")
    refused(tmp_path / "data", r"dead\.png is a link that leads nowhere")
    (tmp_path / "data/1050/dead.png").unlink()
    os.mkfifo(tmp_path / "data/1050/pipe.png")
    refused(tmp_path / "data", r"pipe\.png is not a regular file")
    (tmp_path / "data/1050/pipe.png").unlink()
    (tmp_path / "data/1050/self.png").symlink_to("self.png")
    refused(tmp_path / "data", r"self\.png")


def test_an_image_that_links_list_again_is_used_once(tmp_path):
    data = tmp_path / "data"
    class_folders(data)
    touch(tmp_path, *(f"data/1050/s1/{i}.png" for i in range(10)), "out/x.png", "out/y/z.png")
    (data / "1050/latest").symlink_to("s1")
    (data / "1050/first.png").symlink_to("s1/0.png")
    (data / "2017/b").symlink_to(tmp_path / "out")
    (data / "2017/c").symlink_to(tmp_path / "out/y")
    dataset = load_dataset(data)
    assert len(dataset.table) == 52
    assert dataset.table["path"].map(lambda path: (data / path).resolve()).is_unique
    note = "Left out 12 images that links list a second time (first: 1050/first.png is 1050/s1/0"
    assert any(note in text for text in dataset.notes)
    assert any("to outside the data set" in text for text in dataset.notes)


@pytest.mark.parametrize(
    ("link", "to"),
    [("2017/same", "../1050"), ("5083", "1050"), ("2017/x.png", "../1050/000.png")],
)
def test_a_link_that_gives_an_image_a_second_class_is_refused(tmp_path, link, to):
    class_folders(tmp_path)
    (tmp_path / link).symlink_to(to)
    refused(tmp_path, rf"second one \(first: {link}.* is 1050/000.png\)")


def test_a_split_that_is_a_link_to_another_is_refused(tmp_path):
    for split in ("train", "val"):
        class_folders(tmp_path, above=f"{split}/")
    (tmp_path / "test").symlink_to("val")
    refused(tmp_path, "must have one class and one split")


@pytest.mark.parametrize("name", ["", "manifest.csv"])
def test_a_manifest_that_names_a_file_by_two_paths_is_refused(tmp_path, name):
    rows = [(f"{label}/{i}.png", label) for label in ("1050", "2017") for i in range(9)]
    manifest(tmp_path, rows)
    (tmp_path / "1050/again").symlink_to("../2017")
    manifest(tmp_path, [*rows, ("1050/again/3.png", "1050")], make=False)
    refused(tmp_path / name, r"links give 1 image several rows \(first: .*3.png")


def test_a_name_that_no_table_can_hold_is_refused(tmp_path):
    class_folders(tmp_path)
    try:
        (tmp_path / "1050" / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes only valid Unicode names")
    refused(tmp_path, "not valid UTF-8")


# --- Wrong manifests --------------------------------------------------------------------------

GOOD = [(f"{i}.png", "ab"[i % 2]) for i in range(20)]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (GOOD, ("file", "label"), "got 'file', 'label'; add path$"),
        (GOOD, ("path", "class"), "add label$"),
        (
            GOOD,
            ("path;label", "x"),
            "2 cells like its header, got 1 in line 2; add the semicolons$",
        ),
        ([("1.png", "a", "b")], ("path", "label"), "got 3 in line 2; quote a cell that holds comm"),
        (GOOD, ("path", "path"), "must have different names, got 'path' twice"),
        ([], ("path", "label"), "names no image"),
        ([*GOOD, ("1.png", "a"), ("./2.png", "a")], None, r"2 more than once \(1.png, 2"),
        ([*GOOD, ("../x.png", "a")], None, r"got 1 outside \(\.\./x\.png\)"),
        ([*GOOD, ("a/../../x.png", "a")], None, "got 1 outside"),
        ([*GOOD, ("/etc/x.png", "a")], None, "got 1 outside"),
        ([*GOOD, ("", "a")], None, r"a path in every row, got none in 1 \(the first is image 21\)"),
        ([*GOOD, ("x.png", "")], None, r"a label in every row, got none in 1 \(the first"),
        ([(*r, "train") for r in GOOD], ("path", "label", "spilt"), None),
        (
            [(*r, s) for r, s in zip(GOOD, ["train", "vali"] * 10, strict=True)],
            ("path", "label", "split"),
            "must be train, val, test, got 'vali'",
        ),
        (
            [(*r, s) for r, s in zip(GOOD, ["train", ""] * 10, strict=True)],
            ("path", "label", "split"),
            "must be train, val, test, got ''",
        ),
    ],
)
def test_wrong_manifests_are_explained(tmp_path, rows, header, message):
    root = manifest(tmp_path / "data", rows, header or ("path", "label"), make=False)
    touch(root, *(row[0] for row in GOOD))
    if message is None:
        load_dataset(root)  # an unknown column is only a column
    else:
        refused(root, message)


def test_missing_and_unlisted_files_are_named(tmp_path):
    manifest(tmp_path, GOOD)
    for name in ("3.png", "4.png", "5.png", "6.png", "7.png"):
        (tmp_path / name).unlink()
    refused(tmp_path, r"got none for 5 of 20 \(3\.png, 4\.png, 5\.png and 2 more\)")
    refused(tmp_path / "manifest.csv", "got none for 5 of 20")
    touch(tmp_path, *(path for path, _ in GOOD), "7075/new.png", "flat.png", "flats/flat_01.png")
    refused(tmp_path, r"must be in its manifest.csv, got 1 without a row \(7075/new\.png\)")
    assert len(load_dataset(tmp_path / "manifest.csv").table) == 20
    (tmp_path / "7075/new.png").unlink()
    assert len(load_dataset(tmp_path).table) == 20


def test_a_manifest_that_contradicts_the_folders_is_refused(tmp_path):
    rows = [(f"{s}/{i}.png", "ab"[i % 2], s) for s in ("train", "val", "test") for i in range(4)]
    rows[0] = ("train/0.png", "a", "test")
    refused(manifest(tmp_path, rows, ("path", "label", "split")), r"\(train/0\.png\); make them")


def test_a_manifest_with_a_link_to_outside_is_followed_and_said(tmp_path):
    manifest(tmp_path / "data", GOOD)
    touch(tmp_path, "x.png")
    (tmp_path / "data/3.png").unlink()
    (tmp_path / "data/3.png").symlink_to(tmp_path / "x.png")
    for data in (tmp_path / "data", tmp_path / "data/manifest.csv"):
        assert "to outside the data set" in load_dataset(data).notes[0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00p",
        b"\x00",
        b'path,label\n"a.png,b',
        b"path,label\na.png",
        b"path,label\n\n",
    ],
)
def test_files_that_are_no_tables_are_explained(tmp_path, content):
    touch(tmp_path, "a.png")
    (tmp_path / "manifest.csv").write_bytes(content)
    refused(tmp_path, r"manifest\.csv")


def test_a_manifest_from_a_spreadsheet_with_a_byte_order_mark_is_read(tmp_path):
    manifest(tmp_path, GOOD)
    file = tmp_path / "manifest.csv"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert len(load_dataset(tmp_path).table) == 20


def test_empty_rows_that_a_spreadsheet_leaves_are_no_images(tmp_path):
    manifest(tmp_path, GOOD)
    file = tmp_path / "manifest.csv"
    file.write_text(file.read_text().replace(",", ";") + ";\n;\n")
    assert len(load_dataset(tmp_path).table) == 20


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.binary(max_size=200), header=st.sampled_from([b"", b"path,label\n"]))
def test_any_bytes_as_a_manifest_load_or_are_refused(tmp_path, content, header):
    touch(tmp_path, "a.png")
    (tmp_path / "manifest.csv").write_bytes(header + content)
    with pytest.raises(AlloykError):
        load_dataset(tmp_path)


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=12), seed=st.integers(0, 9))
def test_any_table_as_a_manifest_loads_or_is_refused(tmp_path, rows, seed):
    good = [(f"{i}.png", "ab"[i % 2], str(i)) for i in range(20)]
    header = ("path", "label", "plate_id")
    if not (tmp_path / "0.png").exists():
        touch(tmp_path, *(row[0] for row in good))
    manifest(tmp_path, good + rows, header, make=False)
    try:
        dataset = load_dataset(tmp_path, seed=seed)
    except AlloykError as error:
        refusal = str(error)
    else:
        listed = good + [row for row in rows if any(row)]
        assert len(dataset.table) == len(listed)
        assert set(dataset.classes) == {row[1] for row in listed}
        return
    assert "\n" not in refusal


def test_a_large_manifest_opens_in_seconds(tmp_path):
    # 5,000 rows stand for a million, which took 6 s of one core.
    manifest(tmp_path, [(f"{i % 7}/{i}.png", str(i % 7)) for i in range(5_000)])
    load_dataset(class_folders(tmp_path / "warm"))  # pandas is loaded
    start = time.process_time()
    load_dataset(tmp_path / "manifest.csv")
    assert time.process_time() - start < 0.5
