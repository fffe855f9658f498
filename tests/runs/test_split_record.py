"""What a run keeps about its data, and what it says when the data are not those any more."""

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_run import CLASSES, raw_image, write_dataset, write_run

from alloyk.config import resolve_config, write_config
from alloyk.data.source import open_dataset
from alloyk.errors import AlloykError
from alloyk.evaluation.split_predictions import evaluate_split
from alloyk.runs.folder import RunFolder
from alloyk.runs.predictions import read_predictions
from alloyk.runs.run_data import (
    is_run_data,
    open_other_data,
    open_run_data,
    refuse_changed_data,
    training_image_notes,
)
from alloyk.runs.split_record import read_split_record, write_split_record

pytestmark = pytest.mark.usefixtures("unrendered", "untraced")

PLATES = 30


def write_images(root, plates=range(PLATES), seed=0):
    """Two images of each plate, all of them different, in class folders."""
    rows = []
    for plate in plates:
        label = ("1050", "2017")[plate % 2]
        (root / label).mkdir(parents=True, exist_ok=True)
        for shot in "ab":
            pixels = np.random.default_rng([seed, plate, ord(shot)]).integers(0, 255, (8, 8))
            path = f"{label}/{plate:02}{shot}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(root / path)
            rows.append((path, label, f"P{plate}"))
    return pd.DataFrame(rows, columns=["path", "label", "plate_id"])


@pytest.fixture(params=["class folders", "manifest"])
def data(request, tmp_path):
    """A data set that is split when it is loaded, as the path that names it."""
    root = tmp_path / "data"
    table = write_images(root)
    if request.param == "class folders":
        return root
    table.to_csv(root / "set.csv", index=False)
    return root / "set.csv"


def folder(data):
    return data if data.is_dir() else data.parent


def begun_run(run, data, **settings):
    """What training writes before its first epoch."""
    config = resolve_config(None, {"data": {"path": str(data), **settings}})
    dataset = open_dataset(config.data_settings())
    run.mkdir()
    write_config(config, run / "config.yaml")
    write_split_record(RunFolder(run).split_file, dataset)
    return run, dataset


def grow(data, plates):
    """Add images of further plates, some of them of classes' own plates seen before."""
    root = folder(data)
    table = write_images(root, plates)
    if data.is_file():
        pd.concat([pd.read_csv(data, dtype=str), table]).to_csv(data, index=False)
    return set(table["path"])


@pytest.mark.parametrize("name", ["a\rb.png", 'a,"b".png', " a .png", "a\nb.png"])
def test_any_file_name_and_plate_reads_back_as_it_is(tmp_path, name):
    root = tmp_path / "data"
    table = write_images(root)
    (root / table.loc[0, "path"]).rename(root / "1050" / name)
    dataset = open_dataset(resolve_config(None, {"data": {"path": str(root)}}).data_settings())
    plates = dataset.table.assign(plate_id="NA\r007")
    write_split_record(tmp_path / "split.csv", replace(dataset, table=plates))
    found = read_split_record(tmp_path / "split.csv").table
    assert set(found.index) == set(dataset.table["path"])
    assert f"1050/{name}" in found.index
    assert set(found["plate_id"]) == {"NA\r007"}


@pytest.mark.parametrize("text", ["", "path\n", "path,label,split,sha256\na,b\n", 'path,"label\n'])
def test_a_damaged_record_is_refused_by_name(tmp_path, text):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(
        AlloykError, match=r"split\.csv(: row 2 must have 4 | must have the col|: )"
    ):
        read_split_record(tmp_path / "split.csv")


def test_the_file_has_each_image_with_its_split_and_the_hash_of_its_bytes(data, tmp_path):
    run, dataset = begun_run(tmp_path / "run", data)
    found = pd.read_csv(run / "split.csv", dtype=str)
    plates = ["plate_id"] if data.is_file() else []
    assert list(found.columns) == ["path", "label", "split", *plates, "sha256"]
    given = ["path", "label", "split"]
    pd.testing.assert_frame_equal(found[given], dataset.table[given], check_dtype=False)
    expected = [hashlib.sha256((folder(data) / p).read_bytes()).hexdigest() for p in found["path"]]
    assert list(found["sha256"]) == expected


def test_unchanged_data_come_back_as_they_were_loaded(data, tmp_path):
    run, dataset = begun_run(tmp_path / "run", data)
    again = open_run_data(run)
    pd.testing.assert_frame_equal(again.table, dataset.table, check_dtype=False)
    assert (again.root, again.classes, again.grouped_by, again.notes) == (
        dataset.root, dataset.classes, dataset.grouped_by, dataset.notes,
    )  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [{"fold": "2/3"}, {"group_by": r"(\d+)[ab]"}, {"split_seed": 3, "ratios": [0.5, 0.2, 0.3]}],
)
def test_so_do_folds_and_groups_by_a_regular_expression(data, tmp_path, settings):
    run, dataset = begun_run(tmp_path / "run", data, **settings)
    again = open_run_data(run)
    pd.testing.assert_frame_equal(again.table, dataset.table, check_dtype=False)
    assert (again.grouped_by, again.notes) == (dataset.grouped_by, dataset.notes)


def test_so_does_a_test_split_that_was_taken_out_of_train(tmp_path):
    for split, plates in (("train", range(20)), ("val", range(20, 26))):
        write_images(tmp_path / "data" / split, plates)
    run, dataset = begun_run(tmp_path / "run", tmp_path / "data")
    again = open_run_data(run)
    assert len(dataset.notes) == 1
    assert "has no test: " in dataset.notes[0]
    assert again.notes == dataset.notes
    pd.testing.assert_frame_equal(again.table, dataset.table, check_dtype=False)


def test_a_grown_data_set_keeps_its_test_images_and_none_that_taught(data, tmp_path):
    run, dataset = begun_run(tmp_path / "run", data)
    grow(data, range(PLATES, PLATES + 20))
    drawn_again = set(
        open_dataset(resolve_config(run / "config.yaml").data_settings()).split("test")["path"]
    )
    before = set(dataset.split("test")["path"])
    assert drawn_again != before  # or the trap would not be there
    again = open_run_data(run)
    assert set(again.split("test")["path"]) == before
    pd.testing.assert_frame_equal(again.table, dataset.table, check_dtype=False)
    assert [note for note in again.notes if note not in dataset.notes] == [
        "40 images were added after training and left out: "
        "1050/30a.png, 1050/30b.png, 1050/32a.png and 37 more."
        if data.is_dir()
        else "40 images were added after training and left out: "
        "1050/30a.png, 1050/30b.png, 2017/31a.png and 37 more."
    ]


def test_an_edited_seed_changes_no_split(data, tmp_path):
    run, dataset = begun_run(tmp_path / "run", data)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("split_seed: 0", "split_seed: 7"))
    pd.testing.assert_frame_equal(open_run_data(run).table, dataset.table, check_dtype=False)


def test_a_split_column_that_was_edited_moves_no_image(tmp_path):
    table = write_images(tmp_path / "data")
    table["split"] = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    file = tmp_path / "data" / "manifest.csv"
    table.to_csv(file, index=False)
    run, dataset = begun_run(tmp_path / "run", file)
    table.loc[[0, 1], "split"] = "test"
    table.to_csv(file, index=False)
    again = open_run_data(run)
    pd.testing.assert_frame_equal(again.table, dataset.table, check_dtype=False)
    assert again.notes == (
        "2 images have another split now than in training, which is kept: "
        "1050/00a.png, 1050/00b.png.",
    )


def test_a_corrected_label_is_taken_and_said(tmp_path):
    root = tmp_path / "data"
    table = write_images(root)
    table.to_csv(root / "manifest.csv", index=False)
    run, dataset = begun_run(tmp_path / "run", root)
    path = dataset.split("test")["path"][0]
    other = {"1050": "2017", "2017": "1050"}[dataset.split("test")["label"][0]]
    table.loc[table["path"] == path, "label"] = other
    table.to_csv(root / "manifest.csv", index=False)
    again = open_run_data(run)
    assert again.split("test")["label"][0] == other
    assert again.notes == (f"1 image has another label than in training: {path}.",)


def remove(data, path):
    (folder(data) / path).unlink()
    if data.is_file():
        table = pd.read_csv(data, dtype=str)
        table[table["path"] != path].to_csv(data, index=False)


def test_a_missing_test_image_stops_and_a_missing_training_image_is_said(data, tmp_path):
    run, dataset = begun_run(tmp_path / "run", data)
    taught, tested = dataset.split("train")["path"][0], dataset.split("test")["path"][0]
    remove(data, taught)
    again = open_run_data(run)
    assert again.notes[-1] == f"1 image is missing since training: {taught}."
    assert len(again.split("train")) == len(dataset.split("train")) - 1
    remove(data, tested)
    n = len(dataset.split("test"))
    with pytest.raises(AlloykError) as stopped:
        open_run_data(run)
    assert str(stopped.value).startswith(
        f"the {n} test images of {run} must be there unchanged, got 1 missing ({tested}); restore "
    )
    assert str(stopped.value).endswith(f"alloyk evaluate {run} --data {data} --split all")
    assert len(open_run_data(run, split="val").split("val")) == len(dataset.split("val"))


def test_a_test_image_overwritten_by_one_of_the_same_size_and_time_stops(data, tmp_path):
    run, dataset = begun_run(tmp_path / "run", data)
    taught, tested = dataset.paths("train")[0], dataset.paths("test")[0]
    shutil.copy2(taught, tested)
    n = len(dataset.split("test"))
    with pytest.raises(AlloykError, match=f"the {n} test images .* got 1 with different content"):
        open_run_data(run)
    open_run_data(run, split=None)


def test_a_copy_elsewhere_is_the_run_s_data_and_other_images_of_the_same_names_are_not(
    data, tmp_path
):
    run, dataset = begun_run(tmp_path / "run", data)
    moved = tmp_path / "moved"
    shutil.copytree(folder(data), moved, copy_function=shutil.copyfile)  # with times of its own
    other = tmp_path / "other"
    write_images(other, seed=1)
    if data.is_file():
        shutil.copy(data, other)
        moved, other = moved / data.name, other / data.name
    grow(moved, range(PLATES, PLATES + 5))
    assert is_run_data(run, moved)
    again = open_run_data(run, moved)
    assert again.root == folder(moved)
    assert list(again.table["path"]) == list(dataset.table["path"])
    assert not is_run_data(run, other)
    with pytest.raises(
        AlloykError, match=r"must be the data set that .*run was trained on, but .*other.* has none"
    ):
        open_run_data(run, other)
    assert training_image_notes(run, open_other_data(run, other), list(dataset.table["path"])) == []


def test_images_that_taught_are_found_among_others_under_any_name(tmp_path):
    root = tmp_path / "data"
    table = write_images(root)
    table.to_csv(root / "set.csv", index=False)
    run, dataset = begun_run(tmp_path / "run", root / "set.csv")
    other = tmp_path / "other"
    new = write_images(other, range(100, 120))
    for number, path in enumerate([*dataset.paths("train")[:3], *dataset.paths("test")[:2]]):
        shutil.copy(path, other / "1050" / f"copy{number}.png")
    dataset = open_other_data(run, other)
    (note,) = training_image_notes(run, dataset, list(dataset.table["path"]))
    assert note.startswith(
        "3 of the 45 images, or other images of their plates, were used to train "
    )
    assert "(1050/copy0.png, 1050/copy1.png, 1050/copy2.png)" in note
    assert training_image_notes(run, dataset, list(new["path"])) == []


def test_a_new_image_of_a_plate_that_taught_is_found_in_the_run_s_own_folder(tmp_path):
    root = tmp_path / "data"
    write_images(root).to_csv(root / "set.csv", index=False)
    run, dataset = begun_run(tmp_path / "run", root / "set.csv")
    new = write_images(root, range(100, 104))
    plates = [dataset.split(split)["plate_id"][0] for split in ("train", "val", "test")]
    new.loc[[0, 2, 4], "plate_id"] = plates
    new.to_csv(root / "new.csv", index=False)
    (note,) = training_image_notes(run, open_other_data(run, root / "new.csv"), list(new["path"]))
    assert note.startswith(
        "2 of the 8 images, or other images of their plates, were used to train "
    )


def test_images_left_out_as_unreadable_stay_out_without_being_read_again(data, tmp_path, caplog):
    bad = folder(data) / "1050" / "04a.png"
    bad.write_bytes(bad.read_bytes()[:60])
    run, dataset = begun_run(tmp_path / "run", data, on_bad_image="skip")
    assert dataset.skipped == ("1050/04a.png",)
    assert RunFolder(run).split_record.table["split"]["1050/04a.png"] == "skipped"
    caplog.clear()
    again = open_run_data(run)
    pd.testing.assert_frame_equal(again.table, dataset.table, check_dtype=False)
    assert (again.notes, again.skipped) == (dataset.notes, dataset.skipped)
    assert caplog.text == ""


def test_an_unreadable_image_of_a_given_split_has_not_moved(tmp_path):
    for split, plates in (("train", range(20)), ("val", range(20, 26)), ("test", range(26, 32))):
        write_images(tmp_path / "data" / split, plates)
    bad = tmp_path / "data" / "test" / "1050" / "26a.png"
    bad.write_bytes(bad.read_bytes()[:60])
    run, dataset = begun_run(tmp_path / "run", tmp_path / "data", on_bad_image="skip")
    assert dataset.notes == ("Left out 1 unreadable image.",)
    assert open_run_data(run).notes == dataset.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda data, paths: grow(data, [90]),
            r"in .* 2 images were added \(1050/90a.png, 1050/90b.png\)",
        ),
        (lambda data, paths: remove(data, paths[0]), r"in .* 1 image is missing"),
        (
            lambda data, paths: shutil.copy(folder(data) / paths[1], folder(data) / paths[0]),
            "in .* 1 image has different content",
        ),
    ],
)
def test_training_goes_on_with_the_same_images_only(data, tmp_path, change, message):
    run, dataset = begun_run(tmp_path / "run", data)
    config = resolve_config(run / "config.yaml")
    refuse_changed_data(run, open_dataset(config.data_settings()))
    change(data, list(dataset.split("train")["path"]))
    with pytest.raises(AlloykError, match=f"was started with, but {message}.*new folder"):
        refuse_changed_data(run, open_dataset(config.data_settings()))


def test_training_does_not_go_on_with_another_label_or_without_the_file(tmp_path):
    root = tmp_path / "data"
    table = write_images(root)
    table["split"] = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    table.to_csv(root / "manifest.csv", index=False)
    run, _ = begun_run(tmp_path / "run", root)
    table.loc[0, "label"] = "2017"
    table.to_csv(root / "manifest.csv", index=False)
    dataset = open_dataset(resolve_config(run / "config.yaml").data_settings())
    with pytest.raises(AlloykError, match=r"in .* 1 image has another label \(1050/00a.png\)"):
        refuse_changed_data(run, dataset)
    (run / "split.csv").unlink()
    with pytest.raises(AlloykError, match=r"has no split.csv, so the images of its epochs"):
        refuse_changed_data(run, dataset)


def test_a_run_without_the_file_says_that_nothing_is_proved(data, tmp_path):
    run, dataset = begun_run(tmp_path / "run", data)
    (run / "split.csv").unlink()
    assert open_run_data(run).notes == (
        *dataset.notes,
        f"{run} has no split.csv: which images it was trained on cannot be verified.",
    )


@pytest.mark.parametrize(
    "text", ["", "path,split\n", "path,label,split,sha256\na,b,c,d\na,b,c,d\n"]
)
def test_a_damaged_file_is_named(data, tmp_path, text):
    run, _ = begun_run(tmp_path / "run", data)
    (run / "split.csv").write_text(text)
    with pytest.raises(AlloykError, match=r"run/split\.csv"):
        open_run_data(run)


def test_a_run_finds_its_data_from_any_folder_and_says_where_they_lay(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, dataset = begun_run(tmp_path / "run", data.relative_to(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    write_images(tmp_path / "elsewhere" / "data", seed=1)  # of the same relative name
    pd.testing.assert_frame_equal(open_run_data(run).table, dataset.table, check_dtype=False)
    moved = folder(data).rename(tmp_path / "moved")
    with pytest.raises(AlloykError) as stopped:
        open_run_data(run)
    assert str(stopped.value) == (
        f"the data set of {run} is no longer at {data}, the path in {run}/config.yaml; give its "
        "new location with --data"
    )
    now = moved if data == tmp_path / "data" else moved / data.name
    assert len(open_run_data(run, now).table) == len(dataset.table)


@pytest.fixture
def trained(tmp_path):
    return write_run(tmp_path / "trained", write_dataset(tmp_path / "three"), arch="fnn")


def test_an_evaluation_judges_the_test_images_of_the_training_or_none(trained, tmp_path):
    before = read_predictions(trained / "predictions.csv").table["path"]
    further = tmp_path / "three" / "test" / "1050" / "later.png"
    Image.fromarray(raw_image(99)).save(further)
    evaluate_split(trained)
    after = read_predictions(trained / "predictions.csv").table["path"]
    assert list(after) == list(before)
    report = (trained / "report.txt").read_text()
    assert "1 image was added after training and left out: test/1050/later.png." in report

    kept = (trained / "predictions.csv").read_bytes()
    Image.fromarray(raw_image(100)).save(tmp_path / "three" / before[0])
    with pytest.raises(AlloykError, match=r"the 18 test images .* got 1 with different content"):
        evaluate_split(trained)
    assert (trained / "predictions.csv").read_bytes() == kept


def test_images_that_taught_are_no_test_but_may_be_looked_at_with_all(trained, tmp_path):
    more, other = tmp_path / "more", tmp_path / "other"
    write_dataset(more, per_class=1, sizes=((24, 24),))
    for label in CLASSES:  # two of each class under the names that they had, but as test images
        taught = tmp_path / "three" / "train" / label
        shutil.copytree(taught, more / "test" / label, dirs_exist_ok=True)
        shutil.copytree(taught, other / label)
        shutil.copytree(tmp_path / "three" / "test" / label, other / label, dirs_exist_ok=True)
    with pytest.raises(
        AlloykError,
        match=r"must have no image that .* was trained on, got .*more: 6 of the 9 images",
    ):
        evaluate_split(trained, data=more)
    out = evaluate_split(trained, data=other, split="all")
    assert (
        "6 of the 24 images, or other images of their plates, were used to train"
        in (out / "report.txt").read_text()
    )
