"""A checkpoint and a configuration belong together, whatever version wrote the checkpoint."""

import json

import pytest

from alloyk.config import Config, resolve_config
from alloyk.training.identity import difference, identity, lasting_identity


def recorded(**changes):
    """The text of a checkpoint, with changed or, if None, missing settings; `__` for a dot."""
    described = json.loads(identity(Config()))
    for key, value in changes.items():
        section, name = key.split("__")
        if value is None:
            del described[section][name]
        else:
            described[section][name] = value
    return json.dumps(described)


@pytest.mark.parametrize("described", [identity, lasting_identity])
def test_a_configuration_is_its_own(described):
    assert difference(described(Config()), described(Config())) is None


def test_a_setting_of_a_later_version_has_its_default():
    now = identity(Config())
    assert difference(recorded(data__hdf5_path=None, train__average_weights=None), now) is None
    changed = identity(Config.model_validate({"train": {"average_weights": 0.99}}))
    assert (
        difference(recorded(train__average_weights=None), changed)
        == "train.average_weights None, not 0.99"
    )


def test_where_a_run_goes_on_is_free():
    elsewhere = Config.model_validate(
        {
            "data": {"path": "b", "cache": "disk"},
            "train": {"devices": ["CPU:0"], "tensorboard": True},
        }
    )
    for described in (identity, lasting_identity):
        assert difference(described(Config()), described(elsewhere)) is None
    # As a version wrote it that recorded them.
    assert difference(recorded(train__devices=["GPU:0"]), identity(Config())) is None


def test_what_differs_is_named():
    found = difference(recorded(train__batch_size=16), identity(Config()))
    assert found == "train.batch_size 16, not 32"


def test_a_setting_inside_a_setting_is_named_alone():
    simulated = Config.model_validate({"data": {"simulate": {"preset": "study", "images": 60}}})
    now = identity(simulated)
    changed = now.replace('"images":60', '"images":90')
    assert difference(changed, now) == "data.simulate.images 90, not 60"


def test_settings_inside_one_that_is_not_set_differ():
    raw = {"dtype": "uint16", "shape": [8, 8]}
    texts = [identity(Config.model_validate({"data": data})) for data in ({"raw": raw}, {})]
    assert difference(*texts).startswith("data.raw")
    assert difference(*texts[::-1]).startswith("data.raw")


@pytest.mark.parametrize("text", ['{"data": {"shelf": 3}}', "[]", "", '{"seed": "many"}'])
def test_settings_that_this_version_does_not_know_differ(text):
    assert "another version" in difference(text, identity(Config()))


def test_an_edited_fine_tuning_names_the_setting():
    quantize = {"quantize": {"run": "runs/plain"}}
    single = {"strategy": "single", "mixed_precision": False}
    epochs = [
        identity(resolve_config(None, {**quantize, "train": {**single, "epochs": number}}))
        for number in (3, 4)
    ]
    assert difference(*epochs) == "train.epochs 3, not 4"
