"""Which training images calibrate a quantised file."""

import hashlib
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from alloyk.data import ImageDataset
from alloyk.errors import DataError
from alloyk.exporting import calibration
from alloyk.exporting.calibration import draw_calibration
from alloyk.files import sha256
from alloyk.imaging import read_image


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """60 training images of two classes, one of them rare; number is brightness."""
    folder = tmp_path_factory.mktemp("levels")
    rows = []
    for number in range(60):
        label = "b" if number % 10 == 5 else "a"
        name = f"{number:02}.png"
        pixels = np.full((4, 4), 1000 + 10 * number, np.uint16)
        pixels[0, 0] += number * 3 % 7  # so that contrast is not brightness
        Image.fromarray(pixels).save(folder / name)
        rows.append((name, label, "train" if number < 56 else "val"))
    table = pd.DataFrame(rows, columns=["path", "label", "split"])
    return ImageDataset(folder, table, ("a", "b"), None, ())


def test_two_disjoint_draws_of_training_images(dataset):
    drawn = draw_calibration(dataset, count=20)
    one, other = ({image.path for image in drawn.of(draw)} for draw in "AB")
    assert len(one) == len(other) == 20
    assert not one & other
    assert (one | other) <= set(dataset.split("train")["path"])
    assert draw_calibration(dataset, count=20) == drawn
    assert draw_calibration(dataset, count=20, seed=1) != drawn


def test_extremes_and_rare_classes_are_in_both(dataset):
    drawn = draw_calibration(dataset, count=20)
    reasons = {image.path: image.reason for image in drawn.images}
    assert reasons["00.png"] == "lowest mean"
    assert reasons["55.png"] == "highest mean"
    assert {i.draw for i in drawn.images if i.reason == "highest mean"} == {"A", "B"}
    for draw in "AB":
        assert Counter(image.label for image in drawn.of(draw))["b"] >= 2


def test_few_images_are_shared_out_and_said(dataset):
    drawn = draw_calibration(dataset)
    assert len(drawn.of("A")) == len(drawn.of("B")) == 28
    assert "calibration has 28 training images, and 100 or more are advised" in drawn.note


def test_no_images_are_refused(dataset):
    empty = ImageDataset(dataset.root, dataset.table.assign(split="val"), ("a", "b"), None, ())
    with pytest.raises(DataError, match=r"needs images of the run's training split, got 0 in"):
        draw_calibration(empty)


def test_a_few_images_are_read_at_a_time_in_order(dataset, monkeypatch):
    images = draw_calibration(dataset, count=6).images
    expected = [read_image(image.file) for image in images]
    read = []

    def recorded(file):
        read.append(file)
        return read_image(file)

    monkeypatch.setattr(calibration, "read_image", recorded)
    shape = expected[0].shape
    found = calibration.read_calibration(images, shape)
    np.testing.assert_array_equal(next(found), expected[0])
    assert len(read) <= calibration.READ_AHEAD < len(images)
    for image, same in zip(found, expected[1:], strict=True):
        np.testing.assert_array_equal(image, same)


def test_the_manifest_has_digests_of_pages_and_of_channels(tmp_path):
    for number in range(8):
        stack = np.full((3, 4, 4), 100 * number, np.uint16)
        tifffile.imwrite(tmp_path / f"{number}.tif", stack, photometric="minisblack")
    digests = [sha256(tmp_path / f"{number}.tif") for number in range(8)]
    both = [hashlib.sha256(f"{digests[n]}{digests[n + 4]}".encode()).hexdigest() for n in range(4)]
    for names, expected in (
        ([f"{n}.tif[{page}]" for page in (0, 2) for n in range(4)], digests[:4] * 2),
        ([f"{n}.tif[1]|{n + 4}.tif[1]" for n in range(4)], both),
    ):
        labels = ("ab" * 4)[: len(names)]
        table = pd.DataFrame({"path": names, "label": list(labels), "split": "train"})
        drawn = draw_calibration(ImageDataset(tmp_path, table, ("a", "b"), None, ()))
        rows = [row.split(",") for row in drawn.manifest().splitlines()[1:]]
        assert {row[0]: row[-1] for row in rows} == dict(zip(names, expected, strict=True))


def test_the_manifest_names_each_image(dataset):
    header, *rows = draw_calibration(dataset, count=5).manifest().splitlines()
    assert header == "path,label,draw,reason,sha256"
    assert len(rows) == 10
    assert all(len(row.split(",")[-1]) == 64 for row in rows)
