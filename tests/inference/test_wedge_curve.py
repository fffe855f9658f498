"""The wedge curve by the simulator's plates, poses and reference contrasts."""

from dataclasses import replace

import numpy as np
import pytest

from alloyk.inference.wedge_curve import wedge_curve
from alloyk.simulator.dataset.recipe import make_recipe
from alloyk.simulator.dataset.render import Simulator
from alloyk.simulator.dataset.simulation import simulate_arrays


def one_image(label, thickness_mm, size=96, **changes):
    """An image with almost no noise, plates and pose exact but for `changes` of the latter."""
    recipe = make_recipe(
        "easy", images=1, image_size=size, alloys=(label,),
        overrides={"plate.thicknesses_mm": thickness_mm, "plate.thickness_law": "exact",
                   "exposure.photons_per_mm2": 1e7},
    )  # fmt: skip
    (planned,) = recipe.plan()
    still = replace(planned.now, wedge_shift_mm=0.0, wedge_rotation_deg=0.0, plate_edge_mm=0.0)
    return Simulator(recipe).image(replace(planned, now=replace(still, **changes)))


# Millimetres of wedge that attenuate alike, of 60 mm of field with a ramp of 10 mm over 50 mm.
@pytest.mark.parametrize(
    ("label", "thickness_mm", "expected_mm"),
    [("1050", 1, 1.01), ("1050", 2, 2.02), ("1050", 5, 5.05), ("2017", 1, 1.40), ("2017", 2, 2.80),
     ("2017", 5, 7.0)],
)  # fmt: skip
def test_equivalent_thickness_is_that_of_the_wedge(label, thickness_mm, expected_mm):
    """1050 is worth itself; 2017 as much as the reference contrasts behind the wedge say."""
    thickness = wedge_curve(one_image(label, thickness_mm))[0]
    assert thickness * 60 / 5 == pytest.approx(expected_mm, rel=0.035)


def test_effective_attenuation_tells_copper_from_thickness():
    """Copper stops soft photons: at one worth behind the wedge, 2017 is darker in the open beam."""
    curve = np.array([wedge_curve(one_image("1050", mm)) for mm in (1.3, 1.4, 1.5)])
    thickness, contrast, _ = wedge_curve(one_image("2017", 1))
    of_1050 = np.interp(thickness, curve[:, 0], curve[:, 1] / curve[:, 0])
    assert contrast / thickness / of_1050 == pytest.approx(1.009, abs=0.004)


@pytest.mark.parametrize(
    "pose",
    [
        {"wedge_shift_mm": 7.0}, {"wedge_shift_mm": -7.0}, {"wedge_rotation_deg": 6.0},
        {"wedge_rotation_deg": -6.0}, {"plate_edge_mm": 15.0}, {"plate_edge_mm": -15.0},
        {"output": 0.8},
    ],
    ids=str,
)  # fmt: skip
def test_pose_and_output_do_not_move_the_equivalent_thickness(pose):
    straight = wedge_curve(one_image("2017", 2))[0]
    assert wedge_curve(one_image("2017", 2, **pose))[0] == pytest.approx(straight, rel=0.03)


def test_images_without_wedge_or_plate_give_no_numbers():
    rng = np.random.default_rng(0)
    for image in (
        np.zeros((64, 64)),
        np.full((64, 64), 100.0),
        rng.integers(0, 4000, (64, 64)),
        np.concatenate([np.full((32, 64), 900.0), np.full((32, 64), 300.0)]),
        np.zeros((1, 64)),
    ):
        assert np.isnan(wedge_curve(image)).all()


def test_two_numbers_come_close_to_the_ceiling_of_two_alloys():
    images, table = simulate_arrays("study", images=240, image_size=64, seed=3)
    found = np.stack([wedge_curve(image) for image in images])
    assert np.isfinite(found).all(axis=1).mean() > 0.95
    thickness_mm = found[:, 0] * 60 / 5
    of_1050 = (table["label"] == "1050").to_numpy()
    nominal = table["thickness_mm"].to_numpy()
    for thickness in (1.0, 2.0, 5.0):
        here = of_1050 & (nominal == thickness)
        assert np.nanmedian(thickness_mm[here]) == pytest.approx(1.02 * thickness, rel=0.03)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_orientation_does_not_matter(turns, mirrored):
    image = one_image("2017", 2)
    turned = np.rot90(image[:, ::-1] if mirrored else image, turns)
    np.testing.assert_allclose(wedge_curve(turned), wedge_curve(image), rtol=0.005)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (np.s_[20, 30], 0), (np.s_[40, 11], 65535), (np.s_[12], 0), (np.s_[44:46], 0),
        (np.s_[40:44], 0), (np.s_[:, 20], 65535), (np.s_[:, 33:35], 65535), (np.s_[:1], 0),
        (np.s_[:4], 3), (np.s_[-4:], 3), (np.s_[:, :4], 3), (np.s_[:, -4:], 3),
    ],
    ids=["dead", "hot", "row", "two rows", "four rows", "column", "two columns", "one at the edge",
         "border above", "below", "left", "right"],
)  # fmt: skip
def test_defects_hardly_move_the_numbers(place, value):
    image = one_image("2017", 2)
    damaged = image.copy()
    damaged[place] = value
    np.testing.assert_allclose(wedge_curve(damaged), wedge_curve(image), rtol=0.02)


def test_a_large_image_has_the_numbers_of_a_small_one():
    image = one_image("1050", 2, size=64)
    large = image.repeat(5, axis=0).repeat(5, axis=1)
    np.testing.assert_allclose(wedge_curve(large), wedge_curve(image), rtol=1e-12)


def test_a_plate_darker_than_the_end_of_the_ramp_is_measured_by_extending_it():
    assert wedge_curve(one_image("1050", 12))[0] * 60 / 5 == pytest.approx(12, rel=0.15)


def test_the_slope_is_that_of_the_attenuation_along_the_wedge():
    """A fall of 10 mm over 50 mm of a field of 60 mm is 12 mm per width."""
    per_mm = wedge_curve(one_image("1050", 0.4))[1] / 0.4
    slope = wedge_curve(one_image("1050", 1))[2]
    assert slope / 12 == pytest.approx(per_mm, rel=0.15)
