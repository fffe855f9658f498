"""What a comparison says, and what a policy makes of it."""

import numpy as np
import pandas as pd
import pytest

from alloyk.exporting.agreement import Agreement
from alloyk.exporting.parity import Pair, Parity, _thresholds, shortfalls
from alloyk.exporting.policy import FLOAT16, FLOAT32, QUANTIZED
from alloyk.metrics.selective import abstention
from alloyk.runs.predictions import Predictions


def parity(*, differing=(), largest=0.0, accuracy=0.9, least=-0.001, error=0.01, estimates=None):
    return Parity(
        agreement=Agreement(2000, tuple(differing), largest, largest / 2, "w.png", estimates or {}),
        plates=1000,
        has_plates=True,
        median_confidence=0.8,
        accuracy=Pair(0.9, accuracy),
        interval=(-0.01, 0.01),
        least=least,
        calibration_error=Pair(0.01, error),
        log_loss=Pair(0.3, 0.3),
        abstention=(),
    )


def test_float32_keeps_every_decision_and_probability():
    assert shortfalls(parity(largest=9e-5), FLOAT32, {}) == []
    (one,) = shortfalls(parity(differing=["a.png"], largest=9e-5), FLOAT32, {})
    assert one.endswith("must be the same, got 1 of 2000 that differ (for example a.png)")
    (one,) = shortfalls(parity(largest=2e-4), FLOAT32, {})
    assert one == "max |Δp| must be at most 1e-04, got 2.0e-04 (for w.png)"
    assert len(shortfalls(parity(largest=np.nan), FLOAT32, {})) == 1


def test_float16_may_change_a_decision_at_a_tie():
    assert shortfalls(parity(differing=["a.png"], largest=9e-3), FLOAT16, {}) == []
    assert len(shortfalls(parity(largest=1.1e-2), FLOAT16, {})) == 1


@pytest.mark.parametrize(
    ("accuracy", "least", "message"),
    [
        (0.899, -0.0049, None),
        (0.899, -0.00503, "got a lower bound of -0.503 over 1,000 plates"),
        (0.899, -0.0051, "too few to decide"),
        (0.88, -0.03, "95 % confidence, got a lower bound of -3 over 1,000 plates"),
        (0.9, None, "a lower bound of unknown over 1,000 plates"),
    ],
)
def test_a_quantised_file_must_be_shown_not_to_lose_accuracy(accuracy, least, message):
    found = shortfalls(parity(accuracy=accuracy, least=least, largest=0.4), QUANTIZED, {})
    if message is None:
        assert found == []
    else:
        assert message in " ".join(found)


def test_a_quantised_file_must_stay_calibrated():
    assert shortfalls(parity(error=0.0299), QUANTIZED, {}) == []
    (one,) = shortfalls(parity(error=0.031), QUANTIZED, {})
    assert one == "the calibration error must rise by at most 0.020, got 0.021"


def test_estimates_are_judged_in_deviations_of_their_column():
    off = parity(estimates={"mm": 0.02})
    assert shortfalls(off, QUANTIZED, {"mm": 1.0}) == []
    assert shortfalls(off, FLOAT16, {"mm": 1.0}) == [
        "the difference of mm must be at most 1.0e-02, got 2.0e-02"
    ]


def predictions(confidence, right):
    n = len(confidence)
    return Predictions(
        table=pd.DataFrame({"path": [str(i) for i in range(n)]}),
        classes=("a", "b"),
        y_true=np.where(right, 0, 1),
        y_pred=np.zeros(n, np.int64),
        probabilities=np.stack([confidence, 1 - confidence], axis=1),
    )


def test_a_threshold_is_carried_over_only_if_it_still_meets_the_target():
    """400 images, the less confident half wrong: 0.75 separates them."""
    confidence = np.linspace(0.55, 0.95, 400)
    original = predictions(confidence, confidence > 0.75)
    run = {row["wanted_error_rate"]: row["threshold"] for row in abstention(original, original)}
    rows = _thresholds(run, original, original)
    assert [row["carried_over"] for row in rows[:2]] == [True, True]
    assert rows[0]["threshold"] == rows[0]["original"] == run[0.05]
    assert run[0.05] == pytest.approx(0.75, abs=0.03)

    # The file is more confident by 0.1: the old threshold would let errors through.
    bolder = predictions(np.minimum(confidence + 0.1, 0.999), confidence > 0.75)
    moved = _thresholds(run, bolder, bolder)[0]
    assert not moved["carried_over"]
    assert moved["threshold"] == pytest.approx(moved["original"] + 0.1, abs=0.02)
    assert moved["error_rate"] <= 0.05


def test_the_thresholds_of_the_run_are_those_it_has_recorded():
    """Not those that its predictions would give: another version may have chosen them."""
    confidence = np.linspace(0.55, 0.95, 400)
    original = predictions(confidence, confidence > 0.75)
    rows = {row["wanted_error_rate"]: row for row in _thresholds({0.1: 0.9}, original, original)}
    assert list(rows) == [0.1, 0.05, 0.02, 0.01]
    assert (rows[0.1]["threshold"], rows[0.1]["carried_over"]) == (0.9, True)
    assert rows[0.05]["original"] is None
    assert not rows[0.05]["carried_over"]
    assert rows[0.05]["threshold"] == pytest.approx(0.75, abs=0.03)
