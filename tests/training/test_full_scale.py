"""`normalize=full_scale` has one scale; images that it does not fit are refused or reported."""

import numpy as np
import pytest
from PIL import Image

from alloyk import RunFolder, load
from alloyk.config import parse_overrides, resolve_config
from alloyk.data.source import open_dataset
from alloyk.errors import DataError
from alloyk.evaluation.split_predictions import evaluate_split
from alloyk.preprocessing.for_dataset import scale_of
from alloyk.training.run import run_training
from alloyk.training.splits import open_training_data

pytestmark = pytest.mark.usefixtures("unrendered")

SETTINGS = (
    "preprocess.normalize=full_scale", "preprocess.image_size=12", "model.arch=fnn",
    "model.hidden_units=8", "train.epochs=1", "preprocess.repair=false",
)  # fmt: skip


def image_of(number, dtype=np.uint8):
    """One scene; at 16 bit it has 257 times the counts."""
    level = (60, 180)[number % 2]
    scene = np.random.default_rng(number).normal(level, 10, (12, 12)).clip(0, 255).round()
    return Image.fromarray((scene * np.iinfo(dtype).max / 255).astype(dtype))


def write_images(folder, deep=()):
    """Twenty 8-bit images of two classes, those in `deep` at 16 bit."""
    for number in range(20):
        path = folder / ("1050", "2017")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image_of(number, np.uint16 if number in deep else np.uint8).save(path)
    return folder


def configured(data, *settings):
    return resolve_config(None, parse_overrides([f"data.path={data}", *SETTINGS, *settings]))


@pytest.mark.parametrize("deep", [[0], [19], range(0, 20, 2)])
def test_training_on_several_depths_is_refused(tmp_path, deep):
    """Whichever image is the first, and whether or not the depth follows the class."""
    data = write_images(tmp_path / "data", deep)
    with pytest.raises(
        DataError,
        match=r"^preprocess\.normalize=full_scale needs images of one depth, got uint16 \(.*\d\d"
        r"\.png\), uint8 \(.*\d\d\.png\); convert them to one depth, or set preprocess\.norm",
    ):
        run_training(configured(data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_scale_that_is_given_takes_several_depths_with_a_note(tmp_path):
    data = write_images(tmp_path / "data", range(0, 20, 2))
    (note,) = open_training_data(configured(data, "preprocess.full_scale=65535")).notes
    assert note.startswith("The images have several depths (")


@pytest.mark.parametrize(("deep", "scale"), [([], 255.0), (range(20), 65535.0)])
def test_the_scale_is_that_of_the_files_not_of_an_image(tmp_path, deep, scale):
    assert (
        scale_of(open_dataset(configured(write_images(tmp_path / "data", deep)).data_settings()))
        == scale
    )


def test_another_depth_or_range_in_prediction_is_reported(tmp_path):
    data = write_images(tmp_path / "data")
    model = load(run_training(configured(data), tmp_path / "run"))
    image_of(1).save(tmp_path / "same.png")
    image_of(1, np.uint16).save(tmp_path / "deep.png")
    Image.fromarray(np.full((12, 12), 20, np.uint8)).save(tmp_path / "dark.png")
    same, deep, dark = (str(tmp_path / f"{name}.png") for name in ("same", "deep", "dark"))
    assert model.predict([same]).notes == ()
    (note,) = model.predict([same, deep]).notes
    assert f"1 image is of depth uint16, but the model was trained on uint8 ({deep})" in note
    (note,) = model.predict([same, dark]).notes
    assert "1 image is beyond the range of training: the largest count" in note
    assert f"that of {dark} is 20; predictions may be wrong" in note


def test_another_depth_in_an_evaluation_is_in_its_notes(tmp_path):
    run = run_training(configured(write_images(tmp_path / "data")), tmp_path / "run")
    deep = write_images(tmp_path / "deep", range(20))
    found = RunFolder(evaluate_split(run, data=deep, split="all", out=tmp_path / "out"))
    (note,) = [note for note in found.metrics["notes"] if "depth" in note]
    assert note.startswith("20 images are of depth uint16, but the model was trained on uint8 (")
    assert note in " ".join(found.report_file.read_text(encoding="utf-8").split())
