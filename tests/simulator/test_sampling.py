from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alloyk.errors import AlloykError
from alloyk.settings.section import Section
from alloyk.simulator.dataset.recipe import make_recipe
from alloyk.simulator.dataset.sampling import class_counts
from alloyk.simulator.physics.texture import smooth_noise, texture_map
from alloyk.simulator.settings.overrides import (
    parameter_keys,
    parameter_value,
    parse_settings,
    with_overrides,
)
from alloyk.simulator.settings.parameters import Parameters
from alloyk.simulator.settings.presets import PRESETS, preset_parameters

FIVE = ["1050", "2017", "5083", "6082", "7075"]


@given(st.integers(5, 5000), st.floats(1, 1000), st.permutations(FIVE))
@example(6, 2.0, FIVE)
@example(13, 4.0, FIVE)
def test_long_tail_uses_every_image_and_never_rises(images, imbalance, order):
    counts = class_counts(images, FIVE, imbalance, order)
    ranked = [counts[label] for label in order]
    assert sum(ranked) == images
    assert min(ranked) >= 1
    assert all(a >= b for a, b in pairwise(ranked))


def test_long_tail_falls_by_a_constant_factor():
    counts = class_counts(100_000, FIVE, 16.0, ["5083", "1050"])
    ranked = [counts[label] for label in ("5083", "1050", "2017", "6082", "7075")]
    np.testing.assert_allclose(np.divide(ranked[:-1], ranked[1:]), 2.0, rtol=1e-3)


def test_balanced_by_default():
    assert class_counts(17, FIVE) == {"1050": 4, "2017": 4, "5083": 3, "6082": 3, "7075": 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, FIVE, 0.5), r"^imbalance must be finite and >= 1, got 0\.5$"),
        ((10, FIVE, 2, ["6061"]), "^the class order must name classes of .*, got '6061'$"),
        (
            (10, FIVE, 2, ["1050", "1050"]),
            "^the class order must name each class once, got 1050",
        ),
        ((3, FIVE), "^images must be at least 5, one per class, got 3$"),
    ],
)
def test_impossible_class_counts(arguments, message):
    with pytest.raises(AlloykError, match=message):
        class_counts(*arguments)


def test_images_of_one_plate_share_its_truth_and_step_the_voltage():
    recipe = make_recipe(
        "alloys5", images=100, images_per_plate=4,
        overrides={"tube.voltage_steps_kvp": (40, 45, 50), "plate.scan_step_mm": 2.5},
    )  # fmt: skip
    planned = list(recipe.plan())
    plates = {}
    for one in planned:
        plates.setdefault(one.plate.plate_id, []).append(one)
    assert len(plates) == 25
    for ones in plates.values():
        assert len({id(one.plate) for one in ones}) == 1
        assert [one.now.set_voltage_kvp for one in ones] == [40, 45, 50, 40]
        assert [one.now.scan_mm for one in ones] == [0, 2.5, 5.0, 7.5]
        assert len({one.now.wedge_shift_mm for one in ones}) == 4
    assert len({one.seed for one in planned}) == len({one.path for one in planned}) == 100
    assert all(one.path.startswith(f"{one.plate.alloy}/") for one in planned)


def test_thicknesses_take_turns_in_each_class():
    planned = list(make_recipe("study", images=60).plan())
    for label in ("1050", "2017"):
        nominal = [one.plate.thickness_mm for one in planned if one.plate.alloy == label]
        assert nominal == [1.0, 2.0, 5.0] * 10


@pytest.mark.parametrize(
    ("law", "low", "high", "sd"),
    # Tolerance of 2 mm plates of 2017: ± 0.09 mm.
    [
        ("uniform", 1.91, 2.09, 0.09 / np.sqrt(3)),
        ("normal", 1.8, 2.2, 0.03),
        ("relative", 1.98, 2.02, 0.004),
        ("exact", 2, 2, 0),
    ],
)
def test_thickness_laws(law, low, high, sd):
    overrides = {"plate.thickness_law": law, "plate.thicknesses_mm": (2,), "alloys": ("2017",)}
    planned = make_recipe("study", images=2000, overrides=overrides).plan()
    true_mm = np.array([one.plate.true_thickness_mm for one in planned])
    assert low <= true_mm.min() <= true_mm.max() <= high
    assert true_mm.mean() == pytest.approx(2.0, abs=0.004)
    assert true_mm.std() == pytest.approx(sd, rel=0.05)


def test_thickness_from_a_range():
    plates = [one.plate for one in make_recipe("hard2", images=3000).plan()]
    true_mm = np.array([plate.true_thickness_mm for plate in plates])
    nominal_mm = np.array([plate.thickness_mm for plate in plates])
    assert 0.8 <= true_mm.min() < 0.82 < 5.98 < true_mm.max() <= 6
    assert true_mm.std() == pytest.approx(5.2 / np.sqrt(12), rel=0.03)
    assert len(set(nominal_mm)) == 6
    assert np.abs(true_mm - nominal_mm).max() <= 5.2 / 12 + 1e-3


def test_circumstances_have_the_stated_spread():
    # Laws of `study`: 40 to 50 kV, 10 % in output, 4 mm, 3°, 8 mm; scatter 5 ± .5 %.
    nows = [one.now for one in make_recipe("study", images=4000).plan()]

    def column(name):
        return np.array([getattr(now, name) for now in nows])

    voltage = column("set_voltage_kvp")
    assert 40 <= voltage.min() < 40.1 < 49.9 < voltage.max() <= 50
    drift = column("tube_voltage_kvp") - voltage
    for values, mean, sd in (
        (drift, 0, 0.1), (np.log(column("output")), 0, 0.1), (column("wedge_shift_mm"), 0, 4),
        (column("wedge_rotation_deg"), 0, 3), (column("plate_edge_mm"), 0, 8),
        (column("scatter_ratio"), 0.05, 0.005), (column("wedge_height_mm"), 10, 0.02),
    ):  # fmt: skip
        assert values.mean() == pytest.approx(mean, abs=4 * sd / 63)
        assert values.std() == pytest.approx(sd, rel=0.05)
    tilt = column("tilt_deg")
    assert tilt.min() >= 0
    assert np.sqrt((tilt**2).mean()) == pytest.approx(1.0, rel=0.05)


def test_every_key_takes_its_own_value_back():
    for preset in PRESETS:
        parameters = preset_parameters(preset)
        for key in parameter_keys():
            value = parameter_value(parameters, key)
            if value is not None:
                assert with_overrides(parameters, {key: value}) is not None
    names = {f"{g}.{f}" for g, m in Parameters() if isinstance(m, Section) for f, _ in m}
    assert names | {"alloys"} == set(parameter_keys())


def test_text_values_are_read_as_yaml():
    settings = ["exposure.photons_per_mm2=1e4", "plate.thicknesses_mm=1,2.5", "alloys=1050,7075",
                "tube.filters_mm={Al: 1, Cu: 0.1}", "layout.name=full"]  # fmt: skip
    parameters = with_overrides(Parameters(), parse_settings(settings))
    assert parameters.exposure.photons_per_mm2 == 1e4
    assert parameters.plate.thicknesses_mm == (1.0, 2.5)
    assert parameters.alloys == ("1050", "7075")
    assert parameters.tube.filters_mm == {"Al": 1.0, "Cu": 0.1}
    assert parameters.layout.name == "full"


def test_one_voltage_replaces_the_range_of_the_preset():
    study = preset_parameters("study")
    assert study.tube.voltage_range_kvp == (40.0, 50.0)
    assert with_overrides(study, {"tube.voltage_kvp": 45}).tube.voltage_range_kvp is None
    stepped = with_overrides(study, {"tube.voltage_steps_kvp": "40,50"}).tube
    assert stepped.voltage_steps_kvp == (40.0, 50.0)
    assert stepped.voltage_range_kvp is None
    thick = with_overrides(preset_parameters("hard2"), {"plate.thicknesses_mm": 3}).plate
    assert (thick.thicknesses_mm, thick.thickness_range_mm) == ((3.0,), None)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"tube.voltag_kvp": 45},
            r"^unknown key tube\.voltag_kvp; did you mean tube\.voltage_k",
        ),
        ({"voltage_kvp": 45}, r"^unknown key voltage_kvp; did you mean tube\.voltage_kvp\?$"),
        ({"bla": 45}, "^unknown key bla; `alloyk simulate --list-keys` prints all keys$"),
        ({"tube": {}}, r"^tube must have keys, such as tube\.anode, got \{\}$"),
        ({"plate.thicknesses_mm": -1}, r"^plate\.thicknesses_mm\.0 must be 0\.01 to 50 .*, got -1"),
        ({"plate.thicknesses_mm": (60,)}, r"^plate\.thicknesses_mm\.0 must be .* as EN 485-4.*60"),
        (
            {"tube.voltage_range_kvp": (50, 40)},
            r"^tube\.voltage_range_kvp must be LOW,HIGH, got 50,40$",
        ),
        (
            {"tube.voltage_kvp": 45, "tube.voltage_steps_kvp": (40,)},
            r"^tube\.voltage_kvp and tube\.voltage_steps_kvp set the same quantity; set only one",
        ),
        (
            {"tube.voltage_kvp": float("nan")},
            r"^tube\.voltage_kvp must be a finite number, got",
        ),
        ({"tube.voltage_kvp": True}, r"^tube\.voltage_kvp must be a number, got true$"),
        ({"tube.filters_mm.Cu": True}, r"^tube\.filters_mm\.Cu must be a number, got true$"),
        ({"layout.name": "steps"}, r"^layout\.name must be 'step' or 'full', got 'steps'; did you"),
        ({"alloys": ("1050", "1051")}, "'1051'.* did you mean 1050"),
        ({"alloys": ("1050", "1050")}, "^alloys must name each alloy once, got 1050 twice$"),
        ({"alloys": ""}, "^alloys must name at least one alloy, got none$"),
        ({"plate.compositions": {2017: {"Al": 0.9}}}, r"sum to 1, (found|got) 0\.9"),
        ({"detector.adc_bits": "14.5"}, r"^detector\.adc_bits must be a whole number, got 14\.5$"),
        ({"plate.thickness_law": "[1"}, r"^plate\.thickness_law must be a YAML value, got '\[1'$"),
        (
            {"tube": {"air_mm": 1}, "tube.air_mm": 2},
            r"^tube\.air_mm must be given once, got 1 and 2$",
        ),
        (
            {"tube.filters_mm.Cu": 0.1, "tube.filters_mm": {"Cu": 0.2}},
            r"^tube\.filters_mm\.Cu must be given once, got 0\.2 and 0\.1$",
        ),
    ],
)
def test_bad_parameters_are_named(overrides, message):
    with pytest.raises(AlloykError, match=message) as caught:
        with_overrides(preset_parameters("easy"), overrides)
    assert "\n" not in str(caught.value)


def test_setting_without_a_value():
    with pytest.raises(AlloykError, match=r"^--set must be KEY=VALUE, got 'wedge'"):
        parse_settings(["wedge"])


@pytest.mark.parametrize(
    "settings",
    [
        ["tube.filters_mm={Al: 1}", "tube.filters_mm.Cu=0.1"],
        ["tube.filters_mm.Cu=0.1", "tube.filters_mm={Al: 1}"],
    ],
)
def test_order_of_overrides_does_not_matter(settings):
    found = with_overrides(Parameters(), parse_settings(settings))
    assert found.tube.filters_mm == {"Al": 1.0, "Cu": 0.1}


def test_null_turns_an_alternative_off():
    settings = parse_settings(["tube.voltage_range_kvp=null", "tube.voltage_kvp=45"])
    found = with_overrides(preset_parameters("study"), settings).tube
    assert (found.voltage_kvp, found.voltage_range_kvp) == (45.0, None)


def test_nested_groups_mean_the_same_as_dotted_keys():
    nested = with_overrides(Parameters(), {"tube": {"voltage_kvp": 45, "filters_mm.Cu": 0.1}})
    dotted = with_overrides(Parameters(), {"tube.filters_mm.Cu": 0.1, "tube.voltage_kvp": 45})
    assert nested == dotted


def test_alloys_are_given_once():
    assert parse_settings(["alloys=1050,2017"], "1050, 2017") == {"alloys": ("1050", "2017")}
    with pytest.raises(AlloykError, match=r"^alloys must be given once, got 1050 and 2017$"):
        parse_settings(["alloys=2017"], "1050")


def test_unknown_preset_is_named_with_its_neighbour():
    with pytest.raises(AlloykError, match=r"^preset must be .*, got 'stdy'; did you mean study"):
        preset_parameters("stdy")


def test_given_composition_has_no_spread():
    fractions = {"Al": 0.95, "Cu": 0.05}
    recipe = make_recipe("hard5", images=50, overrides={"plate.compositions": {2017: fractions}})
    for one in recipe.plan():
        drawn = one.plate.mass_fractions
        assert (drawn[3] == 0.05) == (one.plate.alloy == "2017")


@pytest.mark.parametrize("length", [0.2, 3.0, 12.0])
def test_smooth_noise_has_unit_variance_and_the_stated_correlation(length):
    noise = smooth_noise((256, 512), length, np.random.default_rng(0))
    assert noise.std() == pytest.approx(1, rel=0.12)
    lag = max(round(length), 1)
    found = (noise * np.roll(noise, lag, axis=1)).mean() / noise.var()
    assert found == pytest.approx(np.exp(-((lag / length) ** 2) / 2), abs=0.06)


def test_texture_depth_is_relative_to_the_plate():
    parameters = with_overrides(Parameters(), {"texture.waviness_um": 20})
    thin, thick = (
        texture_map(parameters.texture, mm, 0.25, 200, 10.0, np.random.default_rng(1))
        for mm in (1.0, 5.0)
    )
    assert thin.shape == (200, 240)
    np.testing.assert_allclose(thin, 5 * thick, rtol=1e-5)
    assert thin.std() == pytest.approx(0.02, rel=0.4)


def test_scratches_only_take_metal_away():
    parameters = with_overrides(
        Parameters(), {"texture.scratches_per_cm2": 1, "texture.scratch_depth_um": 50}
    )
    depth = texture_map(parameters.texture, 2.0, 0.25, 128, 0.0, np.random.default_rng(2))
    assert depth.max() <= 0
    assert -0.025 <= depth.min() < -0.01
    assert 0.01 < (depth < -1e-3).mean() < 0.5


def test_fields_of_circumstances_are_all_in_the_manifest():
    from alloyk.simulator.dataset.manifest import image_row

    (one,) = make_recipe("easy", images=1, alloys=("1050",)).plan()
    row = image_row(one)
    assert list(row)[:7] == [
        "path", "label", "plate_id", "thickness_mm", "true_thickness_mm", "alloy",
        "tube_voltage_kvp",
    ]  # fmt: skip
    assert list(row)[-1] == "seed"
    assert len(row) == 6 + len(fields(one.now)) + 1
