"""Rows of a manifest as the channels of one sample."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from alloyk.data import load_dataset
from alloyk.data.channels import with_channels
from alloyk.errors import AlloykError
from alloyk.imaging import ChannelChoice, read_image

CHOICE = ChannelChoice("kv", ("40", "50"))


def table(*rows, columns=("path", "label", "plate_id", "kv")):
    return pd.DataFrame(rows, columns=list(columns), dtype=object)


PLATES = (
    ("a/1_50.png", "a", "1", "50"), ("a/1_40.png", "a", "1", "40.0"),
    ("a/1_60.png", "a", "1", "60"),
    ("b/2_40.png", "b", "2", "40"), ("b/2_50.png", "b", "2", "50,0"),
)  # fmt: skip


def test_rows_of_a_plate_become_one_sample_in_the_order_of_the_values():
    found, notes = with_channels(table(*PLATES), CHOICE)
    assert found["path"].tolist() == ["a/1_40.png|1_50.png", "b/2_40.png|2_50.png"]
    assert found["label"].tolist() == ["a", "b"]
    assert found["kv"].tolist() == ["40.0|50", "40|50,0"]
    assert notes == ["Left out 1 image with kv 60, which no channel has."]


def test_one_value_takes_its_images_alone():
    found, _ = with_channels(table(*PLATES), ChannelChoice("KV", ("50",)))
    assert found["path"].tolist() == ["a/1_50.png", "b/2_50.png"]
    assert found["kv"].tolist() == ["50", "50,0"]


def test_without_a_choice_nothing_changes():
    rows = table(*PLATES)
    assert with_channels(rows, None)[0] is rows


def test_rows_of_several_channels_are_refused_by_name(tmp_path):
    """Two channels ended in a traceback, three were taken for colour, of six three were used."""
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", np.ones((2, 8, 9), np.uint16))
    lines = [f"{number}.npy[channels],{'ab'[number % 2]}" for number in range(4)]
    (tmp_path / "m.csv").write_text("\n".join(["path,label", *lines]))
    message = r"^4 rows name images of several channels \(0\.npy\[.* join them by data\.channels$"
    with pytest.raises(AlloykError, match=message):
        load_dataset(tmp_path / "m.csv")


def test_poses_tell_the_samples_of_one_plate_apart():
    columns = ("path", "label", "plate_id", "pose_id", "kv")
    rows = [(f"{pose}_{kv}.png", "a", "1", pose, kv) for pose in "xy" for kv in ("40", "50")]
    found, _ = with_channels(table(*rows, columns=columns), CHOICE)
    assert found["path"].tolist() == ["x_40.png|x_50.png", "y_40.png|y_50.png"]
    by_plate = ChannelChoice("kv", ("40", "50"), "plate_id")
    with pytest.raises(
        AlloykError,
        match=r"^every plate_id must have one image for each of kv 40, 50, but 1 has 2 images with "
        r"kv 40 \(x_40.png, y_40.png\); take all but one of them out, or, in training, "
        r"set data.channels.by to another column, such as pose_id$",
    ):
        with_channels(table(*rows, columns=columns), by_plate)
    twice = table(*rows, ("z.png", "a", "1", "x", "40"), columns=columns)
    with pytest.raises(AlloykError, match=r"take all but one of them out$"):
        with_channels(twice, CHOICE)


@pytest.mark.parametrize(
    ("rows", "choice", "message"),
    [
        (PLATES[1:], CHOICE,
         r"^every plate_id must have one image for each of kv 40, 50, but 1 has no image with kv "
         r"50 \(a/1_40.png\); add the image"),
        (PLATES, ChannelChoice("kv", ("40", "45")),
         r"^data.channels.values must be values of the column kv \(40, 40.0, 50, 50,0, 60\), "
         r"got 45"),
        (PLATES, ChannelChoice("kvp", ("40", "50")),
         r"^data.channels.column must be a column of the manifest, got 'kvp'; it has 'path'"),
        (PLATES, ChannelChoice("kv", ("40", "50"), "series"),
         r"^data.channels.by must be a column of the manifest, got 'series'"),
        ((*PLATES[:4], ("b/2_50.png", "c", "2", "50")), CHOICE,
         r"^the channels of one plate_id must have one label, got 'b', 'c' for b/2_40.png, b/2_50"),
        ((*PLATES[:-2], ("b/2|40.png", "b", "2", "40"), ("b/2|50.png", "b", "2", "50")), CHOICE,
         r"^the names of images that are channels must not have '\|', got b/2"),
        ((*PLATES, ("c/3.png", "c", "", "40")), CHOICE,
         r"^the column plate_id must say which images are one sample, but it is empty for c/3.png"),
    ],
)  # fmt: skip
def test_incomplete_samples_are_refused(rows, choice, message):
    with pytest.raises(AlloykError, match=message):
        with_channels(table(*rows), choice)


def test_a_sample_needs_a_column_of_plates():
    with pytest.raises(AlloykError, match="needs a column plate_id or pose_id"):
        with_channels(table(*PLATES).drop(columns="plate_id"), CHOICE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve plates of two classes at 40, 50 and 60 kV."""
    root = tmp_path_factory.mktemp("channels")
    rows = []
    for plate in range(12):
        label = "ab"[plate % 2]
        (root / label).mkdir(exist_ok=True)
        for kv in (40, 50, 60):
            pixels = np.full((4, 4), 1000 * plate + kv, np.uint16)
            Image.fromarray(pixels).save(root / label / f"{plate}_{kv}.png")
            rows.append(f"{label}/{plate}_{kv}.png,{label},{plate},{kv}")
    text = "\n".join(["path,label,plate_id,kv", *rows])
    (root / "manifest.csv").write_text(text, encoding="utf-8")
    return root


def test_a_data_set_of_samples_is_split_and_read(folder):
    choice = ChannelChoice("kv", ("60", "40"))
    dataset = load_dataset(folder, ratios=(0.5, 0.25, 0.25), channels=choice)
    assert len(dataset.table) == 12
    assert dataset.table["split"].value_counts().to_dict() == {"train": 6, "val": 4, "test": 2} or (
        dataset.table.groupby("split").size().sum() == 12
    )
    assert dataset.grouped_by == "plate_id"
    assert dataset.channels == choice
    for path, plate in zip(dataset.table["path"], dataset.table["plate_id"], strict=True):
        image = read_image(dataset.root / path)
        assert image[0, 0].tolist() == [1000 * int(plate) + 60, 1000 * int(plate) + 40]


def test_the_fingerprint_sees_every_channel(folder):
    choice = ChannelChoice("kv", ("40", "50"))
    before = load_dataset(folder, channels=choice).fingerprint()
    assert load_dataset(folder, channels=choice).fingerprint() == before
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(folder / "a/0_60.png")
    assert load_dataset(folder, channels=choice).fingerprint() == before
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(folder / "a/0_50.png")
    assert load_dataset(folder, channels=choice).fingerprint() != before


def test_splits_of_a_manifest_must_agree_within_a_sample(folder, tmp_path):
    rows = (folder / "manifest.csv").read_text().splitlines()
    lines = [rows[0] + ",split", *(f"{row},train" for row in rows[1:-1]), rows[-1] + ",test"]
    (folder / "other.csv").write_text("\n".join(lines))
    choice = ChannelChoice("kv", ("40", "60"))
    with pytest.raises(AlloykError, match="one plate_id must have one split, got 'train', 'test'"):
        load_dataset(folder / "other.csv", channels=choice)
