"""The state that a training run is resumed from."""

import errno

import keras
import numpy as np
import pytest

from alloyk.config import Config
from alloyk.errors import AlloykError
from alloyk.models.precision import precision
from alloyk.runtime import kernels
from alloyk.training.checkpoint import BestEpoch, Checkpoint, kernels_used
from alloyk.training.identity import identity


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """`checkpoint("1")` is one of a process whose user chose oneDNN, `"0"` Eigen."""
    monkeypatch.delenv(kernels.OURS, raising=False)

    def make(choice):
        monkeypatch.setenv(kernels.VARIABLE, choice)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile(optimizer="sgd", loss="mse")
        model.optimizer.build(model.trainable_variables)
        best = BestEpoch(tmp_path, monitor="loss", patience=3, start_from_epoch=0)
        one = Checkpoint(tmp_path, best)
        one.attach(model, [best])
        return one

    return make


def test_the_same_kernels_go_on_without_a_word(checkpoint, tmp_path, caplog):
    first = checkpoint("1")
    first.on_epoch_end(0)
    second = checkpoint("true")
    second.restore()
    assert not caplog.records
    np.testing.assert_array_equal(second.model.get_weights()[0], first.model.get_weights()[0])
    second.on_epoch_end(1)
    assert kernels_used(tmp_path) == ("oneDNN",)


def test_other_kernels_are_said_and_recorded(checkpoint, tmp_path, caplog):
    checkpoint("1").on_epoch_end(0)
    second = checkpoint("0")
    second.restore()
    (record,) = caplog.records
    assert record.getMessage() == (
        "this run was last trained with TensorFlow's oneDNN kernels and resumes with Eigen: its "
        "result will differ slightly from an uninterrupted one; set TF_ENABLE_ONEDNN_OPTS to use "
        "the same"
    )
    second.on_epoch_end(1)
    assert kernels_used(tmp_path) == ("oneDNN", "Eigen")
    third = checkpoint("1")
    third.restore()
    assert third.kernels == ["Eigen", "oneDNN"]


def test_a_checkpoint_of_another_precision_names_both(checkpoint):
    with precision("mixed_float16"):
        checkpoint("1").on_epoch_end(0)
    message = "precision of its training, mixed_float16, got float32; resume on such a device"
    with pytest.raises(AlloykError, match=message):
        checkpoint("1").restore()


def test_a_first_epoch_without_a_number_does_not_stay_the_best(checkpoint):
    first = checkpoint("1")
    for epoch, loss in enumerate((float("nan"), 3.0, float("nan"), 2.0, 4.0)):
        first.best.on_epoch_end(epoch, {"loss": loss})
    assert (first.best.best_epoch, first.best.best) == (3, 2.0)


@pytest.mark.parametrize(
    ("described", "advice"),
    [('{"data": {"shelf": 3}}', "resume with that version"), ('{"seed": 3}', "undo the change")],
)
def test_a_checkpoint_of_other_settings_says_what_to_do(checkpoint, described, advice):
    first = checkpoint("1")
    first.described = described
    first.on_epoch_end(0)
    second = checkpoint("1")
    second.described = identity(Config())
    with pytest.raises(AlloykError, match=f"{advice}.*, or train into a new folder"):
        second.epochs_done()


def test_a_checkpoint_that_the_system_cannot_read_is_not_called_damaged(checkpoint, monkeypatch):
    one = checkpoint("1")
    one.path.write_bytes(b"")

    def stale(path):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr("alloyk.training.checkpoint._arrays_of", stale)
    with pytest.raises(AlloykError, match=r"^cannot read the checkpoint .*: Stale file handle$"):
        one.epochs_done()
