"""The interval of the best trial, against the normal approximation of a paired difference."""

import numpy as np
import pandas as pd
import pytest

from alloyk.metrics.certainty import certainties, fold_certainties
from alloyk.runs.predictions import Predictions

N = 2000


def predictions(right, plates=None):
    table = pd.DataFrame({"plate_id": plates if plates is not None else [""] * N})
    probabilities = np.stack([np.where(right, 0.9, 0.1), np.where(right, 0.1, 0.9)], axis=1)
    zeros = np.zeros(N, int)
    return Predictions(table, ("a", "b"), zeros, probabilities.argmax(axis=1), probabilities)


def test_the_interval_is_that_of_a_binomial():
    right = np.arange(N) < 0.8 * N
    found = certainties({"0000": predictions(right)}, "0000", accuracy=True)["0000"]
    error = 1.96 * np.sqrt(0.8 * 0.2 / N)
    assert found.value == pytest.approx(0.8)
    assert (found.low, found.high) == pytest.approx((0.8 - error, 0.8 + error), abs=0.003)
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
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.16 / 100), rel=0.1)


def by_fold(rights, size=400):
    """Predictions of `size` images per fold, of which these shares are right."""
    right = np.concatenate([np.arange(size) < share * size for share in rights])
    names = np.repeat([f"fold_{k + 1}" for k in range(len(rights))], size)
    table = pd.DataFrame({"plate_id": [""] * len(right), "fold": names})
    probabilities = np.stack([np.where(right, 0.9, 0.1), np.where(right, 0.1, 0.9)], axis=1)
    zeros = np.zeros(len(right), int)
    return Predictions(table, ("a", "b"), zeros, probabilities.argmax(axis=1), probabilities)


def test_the_interval_over_folds_is_the_corrected_t_interval():
    shares = np.array([0.9, 0.85, 0.95, 0.9, 0.8])
    found = fold_certainties({"0": by_fold(shares)}, "0", accuracy=True)["0"]
    # 2.776 is the 97.5 % point of t with 4 degrees of freedom, from tables.
    half = 2.776 * np.sqrt((1 / 5 + 1 / 4) * shares.var(ddof=1))
    assert found.value == pytest.approx(shares.mean())
    assert (found.low, found.high) == pytest.approx(
        (shares.mean() - half, shares.mean() + half), abs=1e-4
    )


def test_trials_are_compared_fold_by_fold():
    """Worse by 0.05 in every fold is not tied, though the intervals overlap; by turns it is."""
    best = np.array([0.9, 0.7, 0.8, 0.95])
    turns = best + np.array([0.05, -0.1, 0.05, -0.1])
    given = {"0": by_fold(best), "1": by_fold(best - 0.05), "2": by_fold(turns)}
    for accuracy in (True, False):
        found = fold_certainties(given, "0", accuracy=accuracy)
        assert [found[name].tied for name in given] == [True, False, True]
    assert found["1"].low < found["0"].high
