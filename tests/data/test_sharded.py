"""`alloyk split --shards`: a data set in shards is read like the folders it was made of."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from tiny_run import write_dataset

import alloyk
from alloyk.cli import main
from alloyk.data import SPLITS, load_dataset
from alloyk.data.depths import depth_census
from alloyk.data.sameness import sample_digest
from alloyk.errors import DataError
from alloyk.imaging import channel_name, read_image
from alloyk.inference.image_files import find_images
from alloyk.runs.split_record import image_digests


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three classes of images, not split."""
    folder = tmp_path_factory.mktemp("data")
    sorted_ = write_dataset(folder / "sorted", per_class=8)
    for file in list(sorted_.glob("*/*/*.png")):
        target = folder / "plain" / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, target)
    return folder


@pytest.fixture(scope="module")
def packed(folders):
    """`plain` split into folders and into shards."""
    for out, further in (("copied", ()), ("packed", ("--shards", "2"))):
        command = ["split", str(folders / "plain"), str(folders / out), "--seed", "4", *further]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
    return folders / "packed"


def test_shards_of_a_given_split_record_how_it_was_drawn(folders, packed, tmp_path):
    copied = folders / "copied"

    def split(out, *options):
        command = ["split", str(copied), str(tmp_path / out), "--shards", "2", *options]
        return CliRunner().invoke(main, command)

    result = split("again")
    assert result.exit_code == 0, result.output
    assert "seed 4" in result.stdout
    before, after = (
        json.loads((one / "split.json").read_text()) for one in (copied, tmp_path / "again")
    )
    assert [after[key] for key in ("seed", "ratios", "group_by")] == [
        before[key] for key in ("seed", "ratios", "group_by")
    ]
    alloyk.split(copied, tmp_path / "listed", shards=2, ratios=[0.7, 0.15, 0.15])
    for option in (["--seed", "9"], ["--group-by", "plate_id"], ["--ratios", "0.5", "0.3", "0.2"]):
        refused = split("no", *option)
        assert refused.exit_code == 1
        assert "is split already, and shards keep that split; leave out" in refused.stderr


def test_images_labels_split_and_digests_are_those_of_the_folders(folders, packed):
    assert sorted(os.listdir(packed)) == ["manifest.csv", "shards", "split.json"]
    shards, files = (load_dataset(folder) for folder in (packed, folders / "copied"))
    rows = [one.table.sort_values("path")[["path", "label", "split"]] for one in (shards, files)]
    assert rows[0].to_numpy().tolist() == rows[1].to_numpy().tolist()
    for name in SPLITS:  # in one order, so that a training run draws the same batches
        assert list(shards.split(name)["path"]) == list(files.split(name)["path"])
    paths = files.table["path"]
    assert list(image_digests(shards.root, paths)) == list(image_digests(files.root, paths))
    for path in paths:
        np.testing.assert_array_equal(read_image(packed / path), read_image(files.root / path))
    assert sample_digest(shards) == sample_digest(files)
    assert depth_census(shards.paths("train")) == depth_census(files.paths("train"))
    assert shards.fingerprint() == load_dataset(packed).fingerprint() != files.fingerprint()


def test_a_given_split_is_kept_and_shards_are_made_of_shards(folders, packed):
    for number, source in enumerate(("sorted", "packed")):
        out = folders / f"again{number}"
        result = CliRunner().invoke(main, ["split", str(folders / source), str(out), "--shards=3"])
        assert result.exit_code == 0, result.output
        found, given = (
            load_dataset(data).table.sort_values("path") for data in (out, folders / source)
        )
        assert found[["path", "label", "split"]].to_numpy().tolist() == given.to_numpy().tolist()
        assert len(list((out / "shards").glob("*.tfrecord"))) == 3


def test_predict_finds_all_images_or_those_of_a_folder(packed):
    names = [os.path.relpath(path, packed) for path in find_images([str(packed)])]
    assert sorted(names) == sorted(load_dataset(packed).table["path"])
    test = find_images([f"{packed}/test/1050", f"{packed}/test/1050"])
    assert len(test) == 2 * len([name for name in names if name.startswith("test/1050/")]) > 0
    assert find_images([test[0]]) == [test[0]]
    with pytest.raises(DataError, match=r"no image in .*packed/tset"):
        find_images([f"{packed}/tset"])


def test_images_in_shards_can_be_channels_of_one_sample(packed):
    first, second = find_images([f"{packed}/train/1050"])[:2]
    both = read_image(channel_name([first, second]))
    np.testing.assert_array_equal(both[..., 1:], read_image(second))


def test_a_manifest_that_does_not_fit_its_shards_is_refused(packed, tmp_path):
    table = pd.read_csv(packed / "manifest.csv", dtype=str)
    one = packed / "fewer.csv"
    table.iloc[1:].to_csv(one, index=False)
    assert len(load_dataset(one).table) == len(table) - 1
    table.replace({"path": {table["path"][0]: "train/1050/none.png"}}).to_csv(one, index=False)
    with pytest.raises(
        DataError, match=r"must be in .*shards, got none for 1 of .*\(train/1050/none.png"
    ):
        load_dataset(one)
    one.unlink()
    os.symlink(packed / "shards", tmp_path / "shards")
    with pytest.raises(DataError, match=r"must have a manifest.csv beside its shards; restore it"):
        load_dataset(tmp_path)
    table.iloc[1:].to_csv(tmp_path / "manifest.csv", index=False)
    with pytest.raises(
        DataError, match=rf"has {len(table)} images, but .* names only {len(table) - 1}"
    ):
        load_dataset(tmp_path)


def test_an_interrupted_split_leaves_nothing_and_shards_need_the_mode_copy(folders, monkeypatch):
    command = ["split", str(folders / "plain"), str(folders / "out"), "--shards", "2"]
    result = CliRunner().invoke(main, [*command, "--mode", "link"])
    assert result.exit_code == 1
    assert "Error: the mode must be copy for shards, got link; leave out --mode" in result.stderr
    monkeypatch.setattr(
        "alloyk.imaging.store_writing._write_index",
        lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")),
    )
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "No space left; nothing was left there" in result.stderr
    assert not [name for name in os.listdir(folders) if "out" in name]
