"""Manifest columns as conditions: order, classes, thickness, what is missing."""

import numpy as np
import pytest

from alloyk.data.binning import conditions_in


def named(column, name=""):
    codes, names = conditions_in(column, name)
    return [names[code] for code in codes], names


def test_numbers_are_ordered_as_numbers_and_keep_their_spelling():
    shown, names = named(["50", "9.50", "50", "100"])
    assert names == ["9.50", "50", "100"]
    assert shown == ["50", "9.50", "50", "100"]


def test_text_is_ordered_as_text_and_what_is_missing_comes_last():
    assert named(["b", "", "a", float("nan"), None])[1] == ["a", "b", "(none)"]
    assert named(["b", "nan", "a"])[1] == ["a", "b", "nan"]  # a word among words


def test_words_for_a_missing_number_are_missing_among_numbers():
    shown, names = named(["7", "nan", "3", "N/A", ""])
    assert names == ["3", "7", "(none)"]
    assert shown == ["7", "(none)", "3", "(none)", "(none)"]


def test_spellings_of_one_number_are_one_value():
    assert named(["5", "1,5", "5.0", "1.50"])[0] == ["5", "1,5", "5", "1,5"]


def test_a_drawn_number_becomes_four_classes_of_equally_many_images():
    values = np.random.default_rng(0).normal(50, 1, 400)
    shown, names = named([str(v) for v in values])
    assert len(names) == 4
    for name in names:
        low, high = map(float, name.split(" to "))
        inside = np.array(shown) == name
        assert inside.sum() == 100
        assert low == pytest.approx(values[inside].min(), abs=5e-2)
        assert high == pytest.approx(values[inside].max(), abs=5e-2)


def test_ranges_are_named_with_three_significant_digits():
    names = named([str(v) for v in 0.682387 + np.arange(400) / 811])[1]
    assert names == ["0.682 to 0.804", "0.806 to 0.928", "0.929 to 1.05", "1.05 to 1.17"]
    assert named([str(12_345 + 10 * i) for i in range(400)])[1][0] == "12300 to 13300"


def test_classes_of_close_numbers_get_digits_enough_to_tell_them_apart():
    names = named([str(10_000 + i / 1000) for i in range(40)])[1]
    assert len(set(names)) == 4
    assert names[0] == "10000 to 10000.01"


def test_a_value_that_half_of_the_images_have_leaves_fewer_classes():
    shown, names = named(["50"] * 60 + [str(50 + i) for i in range(1, 41)])
    assert names == ["50 to 65", "66 to 90"]
    assert [shown.count(name) for name in names] == [75, 25]


def test_thickness_that_was_measured_becomes_nominal():
    rng = np.random.default_rng(1)
    nominal = np.repeat([1.0, 2.0, 5.0], 30)
    measured = nominal * rng.normal(1, 0.01, 90)
    shown, names = named([str(mm) for mm in measured], "thickness_mm")
    assert [round(float(name)) for name in names] == [1, 2, 5]
    assert [round(float(name)) for name in shown] == nominal.tolist()
    assert len(named([str(mm) for mm in measured], "another_mm")[1]) == 4
