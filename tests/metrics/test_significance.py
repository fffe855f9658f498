"""Tests between classifiers: against statsmodels, scipy, and by how often they err."""

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import t as student
from scipy.stats import ttest_ind
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from alloyk.metrics.significance import (
    accuracy_difference,
    holm,
    least_difference,
    mcnemar,
    score_bound,
    welch,
)


def decided(both, first_only, second_only, neither):
    """Whether two classifiers are right, from the four counts."""
    first = np.repeat([True, True, False, False], [both, first_only, second_only, neither])
    second = np.repeat([True, False, True, False], [both, first_only, second_only, neither])
    return first, second


@pytest.mark.parametrize("counts", [(50, 9, 2, 3), (50, 2, 9, 3), (10, 30, 30, 0), (7, 1, 0, 0)])
def test_mcnemar_equals_statsmodels(counts):
    both, one, two, neither = counts
    found = mcnemar(*decided(*counts))
    expected = statsmodels_mcnemar([[both, one], [two, neither]], exact=True)
    assert found == {"only_first_right": one, "only_second_right": two,
                     "p": pytest.approx(expected.pvalue, rel=1e-12)}  # fmt: skip


def test_equal_decisions_show_no_difference():
    first, second = decided(40, 0, 0, 10)
    assert mcnemar(first, second)["p"] == 1
    found = accuracy_difference(first, second, np.arange(50))
    # None of 50 differs: at a share of `most` that happens once in forty.
    most = 1 - 0.025 ** (1 / 50)
    assert found == {"difference": 0.0, "interval": pytest.approx([-most, most]), "p": 1.0}
    plates = accuracy_difference(first, second, np.arange(50) // 5)
    assert plates["interval"][1] == pytest.approx(1 - 0.025 ** (1 / 10))


@pytest.mark.parametrize("seed", range(5))
def test_holm_equals_statsmodels(seed):
    p = np.random.default_rng(seed).beta(0.3, 3, 15)
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-12)


def test_holm_passes_over_tests_without_a_p():
    assert holm([None, 0.2, None]) == [None, 0.2, None]
    assert holm([]) == []


def test_the_difference_of_independent_images_equals_its_formula():
    first, second = decided(300, 40, 70, 90)
    found = accuracy_difference(first, second, np.arange(500), resamples=20_000)
    assert found["difference"] == pytest.approx(30 / 500)
    error = np.sqrt((110 - 30**2 / 500) / 500**2)  # of a paired difference of proportions
    low, high = found["interval"]
    assert (high - low) / 2 == pytest.approx(1.965 * error, rel=0.02)
    assert (low + high) / 2 == pytest.approx(0.06, rel=0.02)


@pytest.mark.parametrize(
    ("gains", "losses", "images"), [(12, 2, 100), (0, 1, 44), (3, 0, 20), (70, 40, 500)]
)
def test_the_score_bound_is_where_the_likelihood_s_score_reaches_the_quantile(
    gains, losses, images
):
    low = score_bound(gains, losses, images, 1.96)

    def unlikely(loss):
        gain, rest = loss + low, images - gains - losses
        terms = [(gains, gain), (losses, loss), (rest, 1 - gain - loss)]
        return -sum(n * np.log(max(share, 1e-300)) for n, share in terms if n)

    least = max(0.0, -low)
    loss = minimize_scalar(
        unlikely, bounds=(least, (1 - low) / 2), method="bounded", options={"xatol": 1e-12}
    ).x
    error = np.sqrt(images * (2 * loss + low - low**2))
    assert (gains - losses - images * low) / error == pytest.approx(1.96, rel=1e-3)


def test_p_of_independent_images_is_mcnemar_s_score():
    first, second = decided(300, 40, 70, 90)
    found = accuracy_difference(first, second, np.arange(500), resamples=20_000)
    expected = statsmodels_mcnemar([[300, 40], [70, 90]], exact=False, correction=False)
    # Student's t with 499 degrees of freedom; the bootstrap's error is known to 1 %.
    assert found["p"] == pytest.approx(expected.pvalue, rel=0.15)


@pytest.mark.parametrize("per_plate", [1, 6])
def test_a_loss_more_never_raises_the_least_difference(per_plate):
    plates = np.repeat(np.arange(90), per_plate)
    right, at = np.ones(len(plates), dtype=bool), np.arange(len(plates)) * 7919 % len(plates)
    bounds = [least_difference(right, at >= lost, plates) for lost in range(0, 90, 6)]
    assert bounds == sorted(bounds, reverse=True)


@pytest.mark.parametrize(
    ("plates", "likeness", "losses", "gains"),
    [(540, 0, 0.006, 0), (300, 0.3, 0.003, 0), (300, 0.7, 0.006, 0), (90, 0.3, 0.02, 0.01)],
)
def test_the_least_difference_holds(plates, likeness, losses, gains):
    """Few images differ, most of them for the worse, and those of one plate together."""
    rng, each = np.random.default_rng(5), 6 if likeness else 1
    plate, share, missed = np.repeat(np.arange(plates), each), losses + gains, 0
    for seed in range(200):
        rate = np.full(plates, share)
        if likeness:
            spread = 1 / likeness - 1
            rate = rng.beta(share * spread, (1 - share) * spread, plates)
        differs = rng.random(len(plate)) < rate[plate]
        lost = (rng.random(plates) < losses / share)[plate]
        found = least_difference(~(differs & ~lost), ~(differs & lost), plate,
                                 resamples=200, seed=seed)  # fmt: skip
        missed += found > gains - losses
    assert missed / 200 <= 0.09


def test_images_of_one_plate_that_differ_together_are_worth_one():
    first, second = decided(30, 4, 7, 9)
    alone = accuracy_difference(first, second, np.arange(50), resamples=20_000)
    rows = np.repeat(np.arange(50), 6)
    plates = accuracy_difference(first[rows], second[rows], rows, resamples=20_000)
    assert plates["difference"] == pytest.approx(alone["difference"])
    # The same error; its degrees of freedom are fewer where plates add to the variance.
    assert plates["p"] == pytest.approx(alone["p"], rel=0.05)
    images = accuracy_difference(first[rows], second[rows], np.arange(300))
    assert images["p"] < 0.1 * plates["p"]


def test_the_sign_says_which_of_the_two_is_better():
    first, second = decided(30, 1, 12, 9)
    found = accuracy_difference(first, second, np.arange(52))
    turned = accuracy_difference(second, first, np.arange(52))
    assert found["difference"] > 0
    assert turned["difference"] == -found["difference"]
    assert turned["p"] == pytest.approx(found["p"])
    assert turned["interval"] == pytest.approx([-found["interval"][1], -found["interval"][0]])


def test_one_plate_says_nothing_about_the_error():
    first, second = decided(5, 0, 3, 0)
    found = accuracy_difference(first, second, np.zeros(8, dtype=int))
    assert found == {"difference": 3 / 8, "interval": None, "p": None}


def test_equally_good_classifiers_are_told_apart_once_in_twenty():
    rng = np.random.default_rng(4)
    plate = np.repeat(np.arange(100), 4)
    told = held = 0
    for seed in range(1000):
        of_plate = rng.beta(6, 2, 100)[plate]
        first = rng.random(400) < of_plate
        second = np.where(rng.random(100)[plate] < 0.3, rng.random(400) < of_plate, first)
        found = accuracy_difference(first, second, plate, resamples=200, seed=seed)
        told += found["p"] < 0.05
        held += found["interval"][0] <= 0 <= found["interval"][1]
    assert 0.03 <= told / 1000 <= 0.07
    assert held == 1000 - told


def test_welch_equals_scipy():
    first, second = [0.91, 0.93, 0.92], [0.95, 0.96, 0.90, 0.97]
    found = welch(first, second)
    expected = ttest_ind(second, first, equal_var=False)
    assert found["p"] == pytest.approx(expected.pvalue)
    assert found["difference"] == pytest.approx(np.mean(second) - np.mean(first))
    assert found["interval"][0] < found["difference"] < found["interval"][1]


def test_welch_of_one_set_of_equal_values_is_a_test_against_them():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = welch([0.9, 0.9], [0.95, 0.96])
    # One variance alone: Welch's degrees of freedom are those of the other set.
    t = 0.055 / (0.005)
    assert found["p"] == pytest.approx(2 * student.sf(t, 1), rel=1e-6)


@pytest.mark.parametrize(("first", "second"), [([0.9], [0.8, 0.7]), ([0.9, 0.9], [0.8, 0.8])])
def test_seeds_without_spread_give_no_p(first, second):
    found = welch(first, second)
    assert (found["interval"], found["p"]) == (None, None)
    assert found["difference"] == pytest.approx(np.mean(second) - np.mean(first))
