"""A checkpoint within an epoch: the resumed training run has exactly the remaining batches."""

import json
import os

import keras
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from tiny_run import write_dataset

from alloyk.cli import main
from alloyk.config import parse_overrides, resolve_config
from alloyk.errors import DataError
from alloyk.pipeline import KeptImages, training_batches
from alloyk.training.checkpoint import Checkpoint
from alloyk.training.run import run_training

pytestmark = pytest.mark.usefixtures("unrendered")

SETTINGS = (
    "model.arch=fnn", "model.hidden_units=8", "preprocess.image_size=8", "preprocess.repair=false",
    "preprocess.upright=false", "data.cache=none", "data.sampling=class_aware",
    "augment.noise=0.02", "augment.horizontal_flip=true", "augment.mixup=0.4",
    "train.average_weights=0.9", "train.batch_size=2", "train.epochs=3",
    "train.checkpoint_steps=3", "train.deterministic=true",
)  # fmt: skip


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """42 images in two shards."""
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder / "files", per_class=2)
    for split, first in (("train", 100), ("val", 200)):
        for label in ("1050", "2017", "steel"):
            for number in range(5):
                source = folder / "files/test" / label
                file = sorted(source.iterdir())[number % 2]
                os.link(file, folder / "files" / split / label / f"{first + number}.png")
    command = ["split", str(folder / "files"), str(folder / "packed"), "--shards", "2"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return folder / "packed"


def interrupted(config, run, after):
    """Train, and interrupt behind so many batches; return epochs and batches in the checkpoint."""
    real, left = Checkpoint.on_train_batch_end, [after]

    def counted(self, batch, logs=None):
        real(self, batch, logs)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "on_train_batch_end", counted)
        with pytest.raises(KeyboardInterrupt):
            run_training(config, run, resume=run.exists())
    with np.load(run / "checkpoint/state.npz") as arrays:
        header = json.loads(str(arrays["header"]))
    return header["epochs_done"], header["steps_done"]


def test_a_training_interrupted_within_epochs_ends_like_an_undisturbed_one(packed, tmp_path):
    """Twice in the first epoch of 11 batches, once in the last; a checkpoint every 3 batches."""
    config = resolve_config(None, parse_overrides([f"data.path={packed}", *SETTINGS]))
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    run_training(config, undisturbed)
    for after, position in ((5, (0, 3)), (5, (0, 6)), (5 + 11 + 5, (2, 3))):
        assert interrupted(config, disturbed, after) == position
        assert (disturbed / "split.csv").exists() == (position[0] > 0)
    run_training(config, disturbed, resume=True)
    for one, two in zip(*(_weights(run) for run in (undisturbed, disturbed)), strict=True):
        np.testing.assert_array_equal(one, two)
    for name in ("predictions.csv", "predictions_val.csv", "split.csv"):
        assert (undisturbed / name).read_bytes() == (disturbed / name).read_bytes()
    histories = (pd.read_csv(run / "history.csv") for run in (undisturbed, disturbed))
    one, two = (history.drop(columns="seconds") for history in histories)
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def _weights(run):
    return keras.models.load_model(run / "model.keras").get_weights()


def test_other_images_are_refused_within_the_first_epoch(packed, tmp_path):
    run = tmp_path / "run"
    config = resolve_config(None, parse_overrides([f"data.path={packed}", *SETTINGS]))
    interrupted(config, run, 4)
    table = pd.read_csv(packed / "manifest.csv", dtype=str)
    table.iloc[:-1].to_csv(packed / "fewer.csv", index=False)
    other = parse_overrides([f"data.path={packed}/fewer.csv", *SETTINGS])
    with pytest.raises(DataError, match=r"must be those that .*run was started with, but those in"):
        run_training(resolve_config(None, other), run, resume=True)


def test_an_epoch_goes_on_behind_the_skipped_batches():
    images, labels = KeptImages(np.zeros((20, 2, 2, 1), np.float32)), np.arange(20)

    def of(**options):
        batches = training_batches(images, labels, batch_size=3, seed=1, epochs=3, **options)
        return [batch[1].tolist() for batch in batches.as_numpy_iterator()]

    assert of(first_epoch=1, first_step=4) == of(first_epoch=1)[4:] == of()[7 + 4 :]
