"""The interval of the best trial, against the normal approximation of a paired difference."""

import numpy as np
import pandas as pd
import pytest

from alloyk.metrics.certainty import certainties, fold_certainties
from alloyk.metrics.intervals import accuracy_interval
from alloyk.runs.predictions import Predictions

N = 2000


def predictions(right, plates=None):
    size = len(right)
    table = pd.DataFrame({"plate_id": plates if plates is not None else [""] * size})
    probabilities = np.stack([np.where(right, 0.9, 0.1), np.where(right, 0.1, 0.9)], axis=1)
    zeros = np.zeros(size, int)
    return Predictions(table, ("a", "b"), zeros, probabilities.argmax(axis=1), probabilities)


def test_the_interval_is_that_of_a_binomial():
    right = np.arange(N) < 0.8 * N
    found = certainties({"0000": predictions(right)}, "0000", accuracy=True)["0000"]
    error = 1.96 * np.sqrt(0.8 * 0.2 / N)
    assert found.value == pytest.approx(0.8)
    assert found.interval == pytest.approx((0.8 - error, 0.8 + error), abs=0.003)
    assert found.tied


@pytest.mark.parametrize("accuracy", [True, False])
def test_trials_are_tied_if_their_paired_difference_may_be_nothing(accuracy):
    """Two trials that differ on 3 images of 2000 are tied; on 40, all to one side, they are not."""
    best = np.arange(N) < 1600
    near, far = best.copy(), best.copy()
    near[:2], near[-1] = False, True
    far[:40] = False
    given = {"0000": predictions(far), "0001": predictions(best), "0002": predictions(near)}
    found = certainties(given, "0001", accuracy=accuracy)
    assert {name: one.tied for name, one in found.items()} == {
        "0000": False, "0001": True, "0002": True,
    }  # fmt: skip


def test_images_of_one_plate_count_as_one():
    """100 plates of 20 images that are right or wrong together: the error grows by √20."""
    plates = [str(row // 20) for row in range(N)]
    right = np.arange(N) < 0.8 * N
    found = certainties({"0": predictions(right, plates)}, "0", accuracy=True)["0"]
    assert np.diff(found.interval) == pytest.approx(2 * 1.96 * np.sqrt(0.16 / 100), rel=0.1)


def by_fold(rights, size=400):
    """Predictions of `size` images per fold, of which these shares are right."""
    right = np.concatenate([np.arange(size) < share * size for share in rights])
    names = np.repeat([f"fold_{k + 1}" for k in range(len(rights))], size)
    table = pd.DataFrame({"plate_id": [""] * len(right), "fold": names})
    probabilities = np.stack([np.where(right, 0.9, 0.1), np.where(right, 0.1, 0.9)], axis=1)
    zeros = np.zeros(len(right), int)
    return Predictions(table, ("a", "b"), zeros, probabilities.argmax(axis=1), probabilities)


def test_an_accuracy_of_1_has_the_interval_of_evaluate():
    """With 40 images: 0.05 / 2 is the probability of no error in 40 at the lower end."""
    right = np.ones(40, bool)
    found = certainties({"0": predictions(right)}, "0", accuracy=True)["0"]
    assert found.interval == pytest.approx((0.025 ** (1 / 40), 1.0))
    assert found.interval == accuracy_interval(right, np.arange(40))


def test_the_interval_holds_the_true_accuracy_in_95_percent():
    """Of 40 images at 0.97; a percentile interval holds it in 0.70, as 0.97^40 have no error."""
    rng, held = np.random.default_rng(1), []
    for _ in range(300):
        right = rng.random(40) < 0.97
        low, high = certainties({"0": predictions(right)}, "0", accuracy=True)["0"].interval
        held.append(low <= 0.97 <= high)
    assert np.mean(held) >= 0.93


@pytest.mark.parametrize("accuracy", [True, False])
def test_one_plate_tells_no_trial_apart(accuracy):
    plates = ["a"] * 40
    given = {
        "0": predictions(np.arange(40) < 35, plates), "1": predictions(np.arange(40) < 20, plates),
    }  # fmt: skip
    found = certainties(given, "0", accuracy=accuracy)
    assert found["1"] == (found["1"].value, None, True)


@pytest.mark.parametrize(("images", "tied"), [(5, True), (6, False)])
def test_a_difference_that_all_images_show_counts_by_the_sign_test(images, tied):
    """2 · 0.5^5 = 0.0625, 2 · 0.5^6 = 0.03125."""
    right = np.ones(images, bool)
    given = {"0": predictions(right), "1": predictions(~right)}
    for accuracy in (True, False):
        assert certainties(given, "0", accuracy=accuracy)["1"].tied is tied


def test_the_interval_over_folds_is_wilson_s_for_the_corrected_error():
    shares = np.array([0.9, 0.85, 0.95, 0.9, 0.8])
    found = fold_certainties({"0": by_fold(shares)}, "0", accuracy=True)["0"]
    assert found.value == pytest.approx(shares.mean())
    # 2.776 is the 97.5 % point of t with 4 degrees of freedom, from tables. An end p is that for
    # which the mean is 2.776 errors away, each error in proportion to sqrt(p (1 - p)).
    variance = (1 / 5 + 1 / 4) * shares.var(ddof=1) / (shares.mean() * (1 - shares.mean()))
    ends = np.array(found.interval)
    distance = 2.776 * np.sqrt(variance * ends * (1 - ends))
    assert np.abs(ends - shares.mean()) == pytest.approx(distance, abs=1e-4)
    assert ends[0] < shares.mean() < ends[1]


def test_intervals_over_folds_stay_in_their_range():
    near_1 = {"0": by_fold([1.0, 1.0, 0.925, 0.85], size=40)}
    low, high = fold_certainties(near_1, "0", accuracy=True)["0"].interval
    assert 0.5 < low < 0.94375 < high < 1
    uneven = {"0": by_fold([1.0, 0.6, 1.0], size=40)}
    low, high = fold_certainties(uneven, "0", accuracy=False)["0"].interval
    assert 0 < low < high


def test_equal_folds_have_the_interval_of_their_images():
    right = {"0": by_fold([1.0] * 3, size=40), "1": by_fold([0.9] * 3, size=40)}
    found = fold_certainties(right, "0", accuracy=True)
    assert found["0"].interval == pytest.approx((0.025 ** (1 / 120), 1.0))
    expected = accuracy_interval(np.arange(120) % 40 < 36, np.arange(120))
    assert found["1"].interval == pytest.approx(expected)
    assert not found["1"].tied  # 12 images of 120
    one_each = {"0": by_fold([1.0] * 3, size=40), "1": by_fold([39 / 40] * 3, size=40)}
    assert fold_certainties(one_each, "0", accuracy=True)["1"].tied


def test_trials_are_compared_fold_by_fold():
    """Worse by 0.05 in every fold is not tied, though the intervals overlap; by turns it is."""
    best = np.array([0.9, 0.7, 0.8, 0.95])
    turns = best + np.array([0.05, -0.1, 0.05, -0.1])
    given = {"0": by_fold(best), "1": by_fold(best - 0.05), "2": by_fold(turns)}
    for accuracy in (True, False):
        found = fold_certainties(given, "0", accuracy=accuracy)
        assert [found[name].tied for name in given] == [True, False, True]
    assert found["1"].interval[0] < found["0"].interval[1]
