"""Abstaining: coverage and thresholds against counts by hand and by brute force."""

from dataclasses import replace
from itertools import takewhile

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from alloyk.metrics.bounds import upper_bound
from alloyk.metrics.selective import abstaining, abstention, accuracy_over_coverage
from alloyk.runs.predictions import Predictions


def predictions_of(confidence, right, plates=None):
    """Two classes; A is said of every image with that confidence, and is right or not."""
    confidence = np.asarray(confidence, dtype=float)
    n = len(confidence)
    table = pd.DataFrame({"path": [str(i) for i in range(n)]}, dtype=object)
    if plates is not None:
        table["plate_id"] = [str(plate) for plate in plates]
    y = np.where(right, 0, 1)
    both = np.stack([confidence, 1 - confidence], axis=1)
    return Predictions(table, ("A", "B"), y, np.zeros(n, dtype=int), both)


def random_predictions(n=300, seed=0):
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.uniform(0.5, 1, n), 2)  # with ties
    return predictions_of(confidence, rng.random(n) < confidence)


def test_coverage_by_hand():
    curve = accuracy_over_coverage(
        predictions_of([0.6, 0.9, 0.8, 0.8, 0.99], [False, True, False, True, True])
    )
    np.testing.assert_array_equal(curve.threshold, [0.99, 0.9, 0.8, 0.6])  # ties together
    np.testing.assert_allclose(curve.coverage, [0.2, 0.4, 0.8, 1.0])
    np.testing.assert_allclose(curve.accuracy, [1, 1, 3 / 4, 3 / 5])


def test_coverage_equals_counting_at_each_threshold():
    predictions = random_predictions()
    curve = accuracy_over_coverage(predictions)
    right = predictions.y_true == predictions.y_pred
    for threshold, coverage, accuracy in zip(
        curve.threshold, curve.coverage, curve.accuracy, strict=True
    ):
        decided = predictions.confidence >= threshold
        assert coverage == pytest.approx(decided.mean())
        assert accuracy == pytest.approx(right[decided].mean())
    assert curve.coverage[-1] == 1


def test_of_many_thresholds_two_hundred_are_taken_and_the_last_decides_all():
    confidence = np.linspace(0.5, 1, 3001)
    curve = accuracy_over_coverage(predictions_of(confidence, confidence > 0.6))
    assert len(curve.threshold) == 200
    assert (curve.threshold[0], curve.threshold[-1]) == (1.0, 0.5)
    assert (curve.coverage[-1], curve.accuracy[-1]) == (1, pytest.approx((confidence > 0.6).mean()))


@pytest.mark.parametrize("plates", [True, False])
def test_the_bound_of_no_error_is_the_exact_binomial_one_over_plates(plates):
    plate = np.arange(300) // 3 if plates else None
    curve = accuracy_over_coverage(predictions_of([0.9] * 300, [True] * 300, plate))
    exact = binomtest(0, 100 if plates else 300, alternative="less").proportion_ci(0.95).high
    assert curve.error_bound == pytest.approx([exact])


@pytest.mark.parametrize("errors", [1, 3, 60, 1999])
def test_the_bound_of_independent_images_is_the_exact_one(errors):
    right = np.arange(2000) >= errors
    curve = accuracy_over_coverage(predictions_of([0.9] * 2000, right))
    exact = binomtest(errors, 2000, alternative="less").proportion_ci(0.95).high
    assert curve.error_bound == pytest.approx([exact], rel=0.003)


@pytest.mark.parametrize("per_plate", [1, 2, 6])
def test_errors_never_lower_the_bound_below_that_of_none(per_plate):
    plates = np.repeat(np.arange(60), per_plate)
    bounds = [
        upper_bound(np.arange(len(plates)) * 7919 % len(plates) < errors, plates)
        for errors in range(0, 60, 2)
    ]
    assert min(bounds) == bounds[0]
    if per_plate == 1:
        assert bounds == sorted(bounds)


@pytest.mark.parametrize(("likeness", "share"), [(0.0, 0.01), (0.3, 0.0125), (0.3, 0.02)])
def test_the_bound_holds_for_plates_that_are_alike(likeness, share):
    rng = np.random.default_rng(3)
    plates, missed = np.repeat(np.arange(300), 6), 0
    for _ in range(400):
        spread = 1 / likeness - 1 if likeness else None
        rate = share if spread is None else rng.beta(share * spread, (1 - share) * spread, 300)
        wrong = rng.random(1800) < (rate if spread is None else rate[plates])
        missed += upper_bound(wrong, plates) < share
    assert missed / 400 <= 0.08  # 5 % and twice the standard error of 400 trials, 1 point over


def test_plates_that_fail_together_raise_the_bound():
    right = np.arange(2000) >= 60
    (alone,) = accuracy_over_coverage(predictions_of([0.9] * 2000, right)).error_bound
    plate = np.arange(2000) // 20  # three of a hundred plates
    (together,) = accuracy_over_coverage(predictions_of([0.9] * 2000, right, plate)).error_bound
    three = binomtest(3, 100, alternative="less").proportion_ci(0.95).high
    assert three < together < 1.2 * three  # wider: how plates differ is known from three only
    assert together > 1.7 * alone


def test_errors_alike_on_every_plate_bound_nothing():
    plates = np.repeat(np.arange(30), 2)
    curve = accuracy_over_coverage(predictions_of([0.9] * 60, np.arange(60) % 2 == 0, plates))
    assert curve.error_bound == [1]


@pytest.mark.parametrize("wanted", [0.3, 0.2, 0.1])
def test_the_threshold_decides_as_many_as_the_bound_allows(wanted):
    predictions = random_predictions()
    (row,) = abstention(predictions, error_rates=[wanted], resamples=20)
    curve = accuracy_over_coverage(predictions)
    by_count = {int(n): i for i, n in enumerate(curve.groups)}
    first = next(n for n in sorted(by_count) if (1 - wanted) ** n <= 0.05)
    met = list(takewhile(lambda i: curve.error_bound[i] <= wanted,
                         range(by_count[first], len(curve.groups))))  # fmt: skip
    assert row["threshold"] == curve.threshold[met[-1]]
    assert row["error_bound"] <= wanted
    assert row["error_rate"] < row["error_bound"]


@pytest.mark.parametrize(("n", "found"), [(58, None), (59, 0.9)])
def test_too_few_plates_without_an_error_show_no_rate(n, found):
    """0.95 to the power of 59 is below 0.05, that of 58 is not."""
    plates = np.repeat(np.arange(n), 4)
    (row,) = abstention(predictions_of([0.9] * 4 * n, [True] * 4 * n, plates), error_rates=[0.05])
    assert row["threshold"] == found
    if found is None:
        expected = "needs 59 plates without an error on the same images, got 58"
        assert row["why"] == expected


@pytest.mark.parametrize("unlike", [2, 59])
def test_plates_that_are_unlike_training_do_not_count_for_a_rate(unlike):
    scores = (np.arange(59) < unlike).astype(float)
    found = replace(predictions_of([0.9] * 59, [True] * 59, range(59)), unlike=scores)
    (row,) = abstention(found, error_rates=[0.05])
    expected = f"needs 59 plates without an error on the same images, got {59 - unlike}"
    assert row["why"] == expected


def test_a_confidence_that_tells_nothing_is_rarely_trusted():
    """The lowest of all thresholds that meet the target is one of 200 that may do so by luck."""
    rng = np.random.default_rng(2)
    rows = [
        abstention(
            predictions_of(rng.uniform(0.5, 1, 540), rng.random(540) > 0.052),
            error_rates=[0.05], resamples=2,
        )
        for _ in range(60)
    ]  # fmt: skip
    assert sum(row["threshold"] is not None for (row,) in rows) / len(rows) <= 0.11


def test_errors_of_the_surest_speak_against_every_threshold():
    surest_are_wrong = predictions_of(np.linspace(0.99, 0.6, 100), np.arange(100) > 30)
    (row,) = abstention(surest_are_wrong, error_rates=[0.1])
    assert row == {
        "wanted_error_rate": 0.1, "threshold": None, "chosen_on": "the same images",
        "why": "too many errors at high confidence on the same images",
    }  # fmt: skip


def test_the_threshold_comes_from_validation_and_is_judged_on_the_split():
    confidence = np.repeat([0.9, 0.8, 0.7], 40)
    validation = predictions_of(confidence, confidence > 0.75)
    split = predictions_of(
        [0.95, 0.85, 0.85, 0.75, 0.7], [True, False, False, True, True], [1, 1, 2, 3, 4]
    )
    (row,) = abstention(split, validation, error_rates=[0.05], resamples=50)
    assert (row["threshold"], row["chosen_on"]) == (0.8, "validation")
    assert row["error_bound"] == pytest.approx(1 - 0.05 ** (1 / 80))
    assert (row["coverage"], row["groups"]) == (0.6, 2)
    assert row["error_rate"] == pytest.approx(2 / 3)
    low, high = row["interval"]
    assert 0 < low < 2 / 3 < high < 1


def test_deciding_nothing_has_no_error_rate():
    found = abstaining(predictions_of([0.6, 0.7], [True, False]), 0.9)
    assert found == {"coverage": 0.0, "groups": 0, "error_rate": None, "interval": None}


def test_the_interval_of_the_error_rate_rests_on_plates():
    right = np.repeat(np.arange(40) % 10 > 0, 10)
    plates = np.repeat(np.arange(40), 10)
    confidence = np.full(400, 0.9)
    by_plate = abstaining(predictions_of(confidence, right, plates), 0.5)["interval"]
    by_image = abstaining(predictions_of(confidence, right), 0.5)["interval"]
    assert np.diff(by_plate)[0] > 2.5 * np.diff(by_image)[0]
