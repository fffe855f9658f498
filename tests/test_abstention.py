"""Abstaining: coverage and thresholds against counts by hand and by brute force."""

import numpy as np
import pandas as pd
import pytest

from alloyk.metrics.abstention import abstaining, abstention, accuracy_over_coverage, threshold_for
from alloyk.predictions import Predictions


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


@pytest.mark.parametrize("wanted", [0.3, 0.2, 0.1, 0.05])
def test_the_threshold_decides_as_many_as_the_error_rate_allows(wanted):
    predictions = random_predictions()
    threshold = threshold_for(predictions, wanted)
    right = predictions.y_true == predictions.y_pred

    def error(at):
        return 1 - right[predictions.confidence >= at].mean()

    assert error(threshold) <= wanted
    lower = [at for at in np.unique(predictions.confidence) if at < threshold]
    assert all(error(at) > wanted for at in lower)


def test_what_no_threshold_gives_is_none():
    surest_is_wrong = predictions_of([0.99, 0.6], [False, True])
    assert threshold_for(surest_is_wrong, 0.1) is None
    (row,) = abstention(surest_is_wrong, error_rates=[0.1])
    assert row == {"wanted_error_rate": 0.1, "threshold": None, "chosen_on": "the same images"}


def test_the_threshold_comes_from_validation_and_is_judged_on_the_split():
    validation = predictions_of([0.9, 0.8, 0.7], [True, True, False])
    split = predictions_of([0.95, 0.85, 0.75, 0.7], [True, False, True, True])
    (row,) = abstention(split, validation, error_rates=[0.01], resamples=50)
    assert (row["threshold"], row["chosen_on"]) == (0.8, "validation")
    assert row["coverage"] == 0.5
    assert row["error_rate"] == 0.5
    low, high = row["interval"]
    assert 0 < low < 0.5 < high < 1


def test_deciding_nothing_has_no_error_rate():
    found = abstaining(predictions_of([0.6, 0.7], [True, False]), 0.9)
    assert found == {"coverage": 0.0, "error_rate": None, "interval": None}


def test_the_interval_of_the_error_rate_rests_on_plates():
    right = np.repeat(np.arange(40) % 10 > 0, 10)
    plates = np.repeat(np.arange(40), 10)
    confidence = np.full(400, 0.9)
    by_plate = abstaining(predictions_of(confidence, right, plates), 0.5)["interval"]
    by_image = abstaining(predictions_of(confidence, right), 0.5)["interval"]
    assert np.diff(by_plate)[0] > 2.5 * np.diff(by_image)[0]
