"""The section `data.channels`."""

import pytest

from alloyk.config import parse_overrides, resolve_config
from alloyk.errors import ConfigError
from alloyk.imaging import ChannelChoice


def configured(*settings):
    return resolve_config(None, parse_overrides(["data.path=plates", *settings]))


@pytest.mark.parametrize(
    "setting",
    [
        "data.channels.values=40,45,50",
        "data.channels.values=[40, 45.0, '50']",
        "data.channels={column: tube_voltage_kvp, values: [40, 45, 50]}",
    ],
)
def test_values_are_texts_however_they_are_written(setting):
    config = configured(setting)
    expected = ChannelChoice("tube_voltage_kvp", ("40", "45", "50"))
    assert config.data_settings().channels == expected
    assert config.data.channel_count == 3


def test_one_value_is_one_channel():
    config = configured("data.channels.values=50", "data.channels.by=pose_id")
    assert config.data.channel_count == 1
    assert config.data_settings().channels.by == "pose_id"
    assert configured().data.channel_count == 1


THREE = "data.channels.values=40,45,50"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data.channels.values=40,40"], r"values must name one or more values .* once"),
        (["data.channels.values=null"], r"values must name one or more values .* once"),
        (["data.channels.values=[true]"], r"values must name one or more values .* once"),
        (["data.channels.column=kv"], r"data.channels.values must be given"),
        ([THREE, "data.flat=flat.png"], r"data.flat corrects images of one channel only"),
        ([THREE, "preprocess.standardize=imagenet"], r"imagenet is for colours"),
        ([THREE, "preprocess.mean=[0.1,0.2]", "preprocess.std=[1,1]"],
         r"preprocess.mean must have 1 number or 3, one for each of data.channels, got 2"),
        (["data.channels.values=40,50", "model.weights=imagenet"],
         r"published weights are for one or three channels, got 2 in data.channels"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        configured(*settings)


@pytest.mark.parametrize("weights", ["two.keras", "two.weights.h5"])
def test_weights_of_alloyk_may_be_for_any_channels(weights):
    config = configured("data.channels.values=40,50", f"model.weights={weights}")
    assert config.model.weights.endswith(weights)
