import math

import numpy as np
import pytest
import xraydb
from hypothesis import given
from hypothesis import strategies as st

from alloyk import alloys
from alloyk.errors import AlloykError

labels = st.sampled_from(sorted(alloys.ALLOYS))


@pytest.mark.parametrize(
    ("label", "thickness_mm", "tolerance_mm"),
    [
        # The values of PHYSICS' plates, read from EN 485-4:1994, Table 1, width up to 1000 mm.
        ("1050", 1.0, 0.04), ("2017", 1.0, 0.05),
        ("1050", 2.0, 0.06), ("6082", 2.0, 0.09),
        ("1050", 5.0, 0.18), ("7075", 5.0, 0.18),
        # "Over 2.0 up to and including 2.5": a row begins just above its lower bound.
        ("1050", 2.0001, 0.07), ("5083", 0.8, 0.04),
    ],
)  # fmt: skip
def test_thickness_tolerance_follows_en_485_4(label, thickness_mm, tolerance_mm):
    alloy = alloys.get_alloy(label)
    assert alloys.thickness_tolerance_mm(alloy, thickness_mm) == tolerance_mm


@pytest.mark.parametrize("thickness_mm", [0.0, -1.0, 50.1, math.nan])
def test_thickness_outside_the_standard_is_refused(thickness_mm):
    with pytest.raises(AlloykError, match="EN 485-4"):
        alloys.thickness_tolerance_mm(alloys.get_alloy("1050"), thickness_mm)


@given(labels, st.sampled_from(["typical", "limits", "nominal"]), st.integers(0, 2**32))
def test_drawn_composition_keeps_to_en_573_3(label, law, seed):
    alloy = alloys.get_alloy(label)
    fractions = alloys.draw_mass_fractions(alloy, np.random.default_rng(seed), law)
    assert fractions.sum() == pytest.approx(1, abs=1e-12)
    for element, fraction in zip(alloys.ELEMENTS, fractions, strict=True):
        if element != "Al":
            low, high = alloy.limits_wt_pct[element]
            assert low / 100 - 1e-12 <= fraction <= high / 100 + 1e-12


def test_typical_composition_has_the_assumed_spread():
    alloy = alloys.get_alloy("2017")
    rng = np.random.default_rng(0)
    drawn = np.array([alloys.draw_mass_fractions(alloy, rng, "typical") for _ in range(8000)])
    copper = drawn[:, alloys.ELEMENTS.index("Cu")] * 100  # range 3.5 to 4.5
    zinc = drawn[:, alloys.ELEMENTS.index("Zn")] * 100  # at most 0.25
    assert copper.mean() == pytest.approx(4.0, abs=0.01)
    assert copper.std() == pytest.approx(1 / 6, rel=0.04)
    assert zinc.mean() == pytest.approx(0.375 * 0.25, rel=0.01)
    assert zinc.std() == pytest.approx(0.45 * 0.25 / math.sqrt(12), rel=0.03)


def test_purity_that_gives_1050_its_name():
    aluminium = alloys.nominal_mass_fractions(alloys.get_alloy("1050"))[0]
    assert 0.995 <= aluminium < 1


@given(labels)
def test_density_is_the_handbooks_at_nominal_composition(label):
    alloy = alloys.get_alloy(label)
    nominal = alloys.nominal_mass_fractions(alloy)
    assert alloys.plate_density_g_cm3(alloy, nominal) == pytest.approx(alloy.density_g_cm3)


def test_density_follows_the_ideal_mixture():
    # Half aluminium, half copper by mass: 1 g of each fills 1/2.70 + 1/8.96 cm³.
    fractions = alloys.check_mass_fractions({"Al": 0.5, "Cu": 0.5})
    volume = 1 / 2.70 + 1 / 8.96
    assert alloys.ideal_mix_density_g_cm3(fractions) == pytest.approx(2 / volume)


def test_element_densities_are_xraydbs():
    for element, density in alloys.ELEMENT_DENSITY_G_CM3.items():
        assert density == xraydb.atomic_density(element)


def test_handbook_densities_are_near_the_ideal_mixture():
    # Catches a density given to the wrong alloy: they differ by 5 %, the mixture rule by 1.5 %.
    for alloy in alloys.ALLOYS.values():
        mix = alloys.ideal_mix_density_g_cm3(alloys.nominal_mass_fractions(alloy))
        assert alloy.density_g_cm3 == pytest.approx(mix, rel=0.015)


def test_unknown_alloy_is_named_with_its_neighbours():
    with pytest.raises(AlloykError, match=r"unknown alloy '2071': did you mean 2017"):
        alloys.get_alloy("2071")


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"Al": 0.9, "Cu": 0.04}, r"sum to 1, got 0\.94"),
        ({"Al": 96, "Cu": 4}, "give fractions, not per cent"),
        ({"Al": 1.1, "Cu": -0.1}, r"must be >= 0, got Cu=-0\.1"),
        ({"Al": 0.9, "Pb": 0.1}, "an element must be one of .*, got 'Pb'"),
        ({"Al": math.nan}, "got Al=nan"),
    ],
)
def test_impossible_composition_is_refused(fractions, message):
    with pytest.raises(AlloykError, match=message):
        alloys.check_mass_fractions(fractions)
