"""Calibration against formulas, and temperature scaling against a temperature that is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss as scikit_log_loss

from alloyk.metrics.calibration import (
    fit_temperature,
    log_loss,
    reliability,
    temperature_scaling,
    with_temperature,
)
from alloyk.runs.predictions import Predictions


def predictions_of(probabilities, y, predicted=None, plates=None):
    probabilities = np.asarray(probabilities, dtype=float)
    y = np.asarray(y)
    table = pd.DataFrame({"path": [str(i) for i in range(len(y))]}, dtype=object)
    if plates is not None:
        table["plate_id"] = [str(plate) for plate in plates]
    said = probabilities.argmax(axis=1) if predicted is None else np.asarray(predicted)
    classes = tuple("ABCDE"[: probabilities.shape[1]])
    return Predictions(table, classes, y, said, probabilities)


def drawn(temperature, n=20_000, k=3, seed=0):
    """Labels drawn from softmax(logits); probabilities softmax(temperature · logits)."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, k))
    true = softmax(logits, axis=1)
    y = (rng.random(n)[:, None] > np.cumsum(true, axis=1)).sum(axis=1)
    return predictions_of(softmax(temperature * logits, axis=1), np.minimum(y, k - 1))


def test_expected_calibration_error_by_hand():
    # Bins of width 1/5: (0.4, 0.6] holds .55 wrong, .6 right; (0.8, 1] holds .9 right, 1.0 right.
    p = [[0.55, 0.45], [0.6, 0.4], [0.9, 0.1], [1.0, 0.0]]
    found = reliability(predictions_of(p, [1, 0, 0, 0]), bins=5)
    np.testing.assert_array_equal(found.count, [0, 0, 2, 0, 2])
    np.testing.assert_allclose(found.confidence[[2, 4]], [0.575, 0.95])
    np.testing.assert_allclose(found.accuracy[[2, 4]], [0.5, 1.0])
    assert np.isnan(found.accuracy[[0, 1, 3]]).all()
    assert found.expected_calibration_error == pytest.approx((2 * 0.075 + 2 * 0.05) / 4)


def test_expected_calibration_error_equals_its_formula_image_by_image():
    predictions = drawn(2.0, n=3000)
    found = reliability(predictions)
    right = predictions.y_true == predictions.y_pred
    expected = 0
    for low, high in zip(np.arange(15) / 15, np.arange(1, 16) / 15, strict=True):
        inside = (predictions.confidence > low) & (predictions.confidence <= high)
        if inside.any():
            gap = right[inside].mean() - predictions.confidence[inside].mean()
            expected += inside.mean() * abs(gap)
    assert found.expected_calibration_error == pytest.approx(expected, abs=1e-12)
    assert found.count.sum() == 3000


def test_the_confidence_is_that_of_the_decision_not_of_the_likeliest_class():
    found = reliability(predictions_of([[0.9, 0.1]], [1], predicted=[1]), bins=10)
    assert found.count.argmax() == 0
    assert found.expected_calibration_error == pytest.approx(0.9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_scaling_recovers_a_known_temperature(temperature):
    predictions = drawn(temperature)
    assert fit_temperature(predictions) == pytest.approx(temperature, rel=0.03)
    found = temperature_scaling(predictions)
    if temperature == 1.0:
        assert found["after"] == pytest.approx(found["before"], abs=1e-3)
        return
    assert found["temperature"] == pytest.approx(temperature, rel=0.03)
    assert found["after"] < found["before"] == pytest.approx(log_loss(predictions))
    scaled = with_temperature(predictions, found["temperature"])
    assert reliability(scaled).expected_calibration_error < 0.01
    assert reliability(predictions).expected_calibration_error > 0.05


def test_a_temperature_divides_the_logits():
    logits = np.random.default_rng(1).normal(size=(50, 4))
    predictions = predictions_of(softmax(logits, axis=1), np.zeros(50, dtype=int))
    np.testing.assert_allclose(
        with_temperature(predictions, 3.0).probabilities, softmax(logits / 3, axis=1), rtol=1e-12
    )


def test_log_loss_equals_scikit_learn_s_even_at_0():
    predictions = predictions_of([[1.0, 0.0], [0.25, 0.75], [0.0, 1.0]], [1, 1, 1])
    expected = scikit_log_loss(predictions.y_true, predictions.probabilities, labels=[0, 1])
    assert log_loss(predictions) == pytest.approx(expected, rel=1e-12)


def test_scaling_that_only_fits_the_noise_is_not_kept():
    found = [temperature_scaling(drawn(1.0, n=90, seed=seed)) for seed in range(40)]
    refused = [one for one in found if one["temperature"] is None]
    assert len(refused) > 10
    assert {one["why"] for one in refused} == {
        "it does not lower the log loss of held-out validation images"
    }
    assert all(one["after"] >= one["before"] for one in refused)


def test_plates_are_left_out_whole():
    # Images of a plate are equal: with image-wise folds the left-out one would be fitted on.
    one = drawn(1.0, n=40, seed=3)
    rows = np.repeat(np.arange(40), 20)
    many = predictions_of(one.probabilities[rows], one.y_true[rows], plates=rows)
    assert (
        temperature_scaling(many)["after"]
        > temperature_scaling(predictions_of(one.probabilities[rows], one.y_true[rows]))["after"]
    )


@pytest.mark.parametrize(
    ("p", "y", "plates", "why"),
    [
        (
            [[0.9, 0.1], [0.2, 0.8]],
            [0, 1],
            None,
            "fewer than 10 validation images have an error",
        ),
        (
            [[0.9, 0.1]] * 80,
            [0, 1] * 40,
            [i % 9 for i in range(80)],
            "fewer than 10 validation plates have an error",
        ),
        ([[0.9, 0.1]], [1], None, "validation has only one plate or image"),
        ([[0.9, 0.1]] * 4, [1, 0, 0, 0], [7] * 4, "validation has only one plate or image"),
    ],
)
def test_validation_that_tells_nothing_gives_no_temperature(p, y, plates, why):
    found = temperature_scaling(predictions_of(p, y, plates=plates))
    assert (found["temperature"], found["why"]) == (None, why)
