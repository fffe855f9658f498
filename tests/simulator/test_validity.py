"""What the simulator refuses because its images would mean nothing."""

import contextlib
import warnings
from itertools import product

import numpy as np
import pytest
from pydantic import AfterValidator

from alloyk.errors import AlloykError
from alloyk.settings.section import Section
from alloyk.simulator.ceiling import reference
from alloyk.simulator.dataset.simulation import simulate_arrays
from alloyk.simulator.physics.beam import Beam
from alloyk.simulator.physics.validity import saturated_share, validity_notes
from alloyk.simulator.settings.field_types import Limits
from alloyk.simulator.settings.overrides import parameter_keys, with_overrides
from alloyk.simulator.settings.parameters import Parameters
from alloyk.simulator.settings.presets import PRESETS, preset_parameters


def limits_of(key):
    """The limits of a number, or None for what is no single number."""
    group, _, leaf = key.rpartition(".")
    annotated = (Parameters.model_fields[group].annotation if group else Parameters).model_fields
    for validator in annotated[leaf].metadata:
        if isinstance(validator, AfterValidator) and isinstance(validator.func, Limits):
            return validator.func
    return None


NUMBERS = {key: limits_of(key) for key in parameter_keys() if limits_of(key)}
# Their limits lie inside an Optional, a tuple or a mapping.
NUMBERS |= {
    "exposure.exposure_time_s": Limits(1e-6, 1e7, ""), "plate.thicknesses_mm": Limits(0.01, 50, ""),
    "tube.filters_mm.Cu": Limits(0, 1000, ""),
}  # fmt: skip
NEEDS_SPEKPY = {"tube.anode_angle_deg", "tube.voltage_kvp", "tube.voltage_drift_sd_kv",
                "tube.beryllium_mm", "tube.air_mm"}  # fmt: skip


def test_every_number_has_limits():
    numbers = {
        f"{group}.{leaf}"
        for group, model in Parameters()
        if isinstance(model, Section)
        for leaf, value in model
        if isinstance(value, int | float)
    }
    assert numbers <= set(NUMBERS)


@pytest.mark.parametrize(
    ("key", "end"), [*product(sorted(set(NUMBERS) - NEEDS_SPEKPY), ("low", "high"))]
)
def test_the_ends_of_every_number_give_images_or_one_line(key, end, monkeypatch):
    """Neither a traceback, nor a warning of NumPy's, nor a picture of nothing but full scale."""
    monkeypatch.setattr(reference, "BLOCKS", 2)
    changed = {key: getattr(NUMBERS[key], end)}
    # A texture's sizes matter only where there is texture.
    texture = {"texture.waviness_um": 20, "texture.grain_contrast": 0.01,
               "texture.scratches_per_cm2": 0.5}  # fmt: skip

    def images():
        size = {"images": 5, "image_size": 16}
        counts, _ = simulate_arrays("alloys5", overrides=texture | changed, **size)
        assert (counts == counts.max()).mean() < 0.7, "one grey"

    def accuracy():
        parameters = with_overrides(preset_parameters("alloys5"), changed)
        assert 0.15 < reference.reference_ceiling(parameters, 16).accuracy <= 1

    for make in (images, accuracy):
        with warnings.catch_warnings(), contextlib.suppress(AlloykError):
            warnings.simplefilter("error")
            make()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("wedge.height_mm=1e-300", r"^wedge\.height_mm must be 0\.1 to 200 \(mm of"),
        ("exposure.photons_per_mm2=1e300", r"photons_per_mm2 must be 0\.01 to 1e.12 .*got 1e.300"),
        ("wedge.height_mm=0.0001", r"^wedge\.height_mm must be 0\.1 to 200 .*got 0\.0001$"),
        ("detector.psf_sd_mm=1e6", r"^detector\.psf_sd_mm must be 0 to 100 \(mm of blur\)"),
        ("detector.psf_sd_mm=16", r"must be at most a quarter of layout\.field_mm, 15 mm, got 16$"),
        ("texture.scratches_per_cm2=1e9", r"^texture\.scratches_per_cm2 must be 0 to 30 \(per cm²"),
        ("tube.filters_mm.Cu=1000", "none does at 49.6 kV behind 0.5 mm Al, 1000 mm Cu; reduce"),
        ("tube.filters_mm.Cu=2000", r"^tube\.filters_mm\.Cu must be 0 to 1000 .*, got 2000$"),
        ("exposure.exposure_time_s=1e7", "photons per mm² at 49.6 kV must be .*; change exposure"),
        ("detector.offset_counts=60000", "must saturate, got 100 % at the greatest count, 16383"),
        ("scatter.ratio=10", "% at the greatest count"),
        ("plate.thicknesses_mm=", "must be a number or a list of numbers such as 1,2,5, got null$"),
        ("tube.voltage_range_kvp=40", "voltage_range_kvp must be two numbers, LOW,HIGH, got 40$"),
        ("tube.filters_mm=", r"must be a mapping such as \{Al: 0\.5, Cu: 0\.1\}, got null$"),
    ],
)  # fmt: skip
def test_what_no_image_can_be_made_of_is_named(setting, message):
    key, _, value = setting.partition("=")
    with pytest.raises(AlloykError, match=message) as caught:
        simulate_arrays("alloys5", images=10, image_size=16, overrides={key: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("easy", {"exposure.photons_per_mm2": 10}),  # by noise
        ("study", {"exposure.output_sd": 1}),  # by the tube
        ("study", {"detector.offset_counts": 5000}),
        ("study", {"scatter.ratio": 1}),
        ("alloys5", {"detector.full_scale": 1}),
    ],
)
def test_saturated_share_is_that_of_simulated_images(preset, overrides):
    counts, _ = simulate_arrays(preset, images=60, image_size=48, overrides=overrides)
    beam = Beam(with_overrides(preset_parameters(preset), overrides))
    measured = (counts == 16383).mean()
    # It looks at the thinnest plates, so it may lie above.
    assert measured - 0.01 < saturated_share(beam, 48) < measured + 0.05
    assert measured > 0.04


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid(preset):
    assert validity_notes(Beam(preset_parameters(preset)), 224) == []


def test_few_photons_and_much_saturation_are_said():
    faint = with_overrides(preset_parameters("easy"), {"exposure.photons_per_mm2": 0.5})
    saturated, photons = validity_notes(Beam(faint), 60)
    assert saturated.startswith("About 4")
    assert "gets 0.5 photons" in photons  # a pixel of 1 mm²


def test_a_plate_loses_no_more_metal_than_it_has():
    overrides = {"texture.waviness_um": 1000, "plate.thicknesses_mm": 0.2, "layout.name": "full",
                 "detector.dead_pixels": 0, "wedge.height_mm": 0.1, "scatter.ratio": 0}  # fmt: skip
    counts, _ = simulate_arrays("easy", images=2, image_size=32, overrides=overrides)
    # The open beam lies at 0.8 of full scale, with noise, 1 % of output and some of the flat field.
    assert np.quantile(counts, 0.99) < 0.86 * 16383


def test_saturation_is_that_of_the_highest_stepped_voltage():
    at = {"exposure.exposure_time_s": 1, "detector.full_scale": 1, "tube.voltage_drift_sd_kv": 0}
    found = [
        saturated_share(
            Beam(with_overrides(Parameters(), {**at, "tube.voltage_steps_kvp": kvp})), 16
        )
        for kvp in ([50], [50, 35], [35, 50])
    ]
    assert found[0] > 0.05
    assert found[1] == found[2] == found[0]
