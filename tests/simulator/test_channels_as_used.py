"""Which set-up the samples of a run show."""

import logging

import pytest

from alloyk.errors import ConfigError
from alloyk.evaluation.ceiling import dataset_ceiling
from alloyk.simulator.dataset.recipe import make_recipe, recipe_text
from alloyk.simulator.settings.channels import parameters_as_used
from alloyk.simulator.settings.overrides import with_overrides
from alloyk.simulator.settings.presets import preset_parameters

THREE = with_overrides(preset_parameters("alloys5"), {"tube.channels_kvp": [40, 45, 50]})
SINGLE = preset_parameters("alloys5")


def chosen(*values, column="tube_voltage_kvp"):
    return {"column": column, "values": list(values), "by": None}


def test_a_run_may_take_some_of_the_voltages_in_any_order():
    found = parameters_as_used(THREE, chosen("50", "40"))
    assert found.tube.channels_kvp == (50.0, 40.0)
    assert parameters_as_used(THREE, chosen("45,0")).tube.channels_kvp == (45.0,)
    assert parameters_as_used(SINGLE, None) is SINGLE
    assert parameters_as_used(SINGLE, {}) is SINGLE


@pytest.mark.parametrize(
    ("parameters", "channels", "message"),
    [
        (THREE, None, "must have one voltage, got 40, 45, 50 kV as single images; set data.chan"),
        (THREE, chosen("40", "55"), "must be voltages of tube.channels_kvp .* got tube_vol"),
        (THREE, chosen("1", "2", column="filter"), "by the column tube_voltage_kvp, got filter 1"),
        (SINGLE, chosen("40", "50"), "must be voltages of tube.channels_kvp"),
    ],
)  # fmt: skip
def test_samples_of_no_set_up_have_no_ceiling(parameters, channels, message, tmp_path, caplog):
    with pytest.raises(ConfigError, match=message):
        parameters_as_used(parameters, channels)
    recipe = make_recipe("easy", images=4, image_size=16,
                         overrides={"tube.channels_kvp": parameters.tube.channels_kvp or 50,
                                    "alloys": "1050,2017"})  # fmt: skip
    (tmp_path / "simulation.yaml").write_text(recipe_text(recipe), encoding="utf-8")
    if parameters is THREE:
        with caplog.at_level(logging.WARNING):
            assert dataset_ceiling(tmp_path, ["1050", "2017"], channels) is None
        assert "no reference ceiling" in caplog.text
