"""Intervals: against brute force, against exact formulas, and by how often they hold the truth."""

import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sk

from alloyk.metrics import classification_metrics
from alloyk.metrics.bootstrap import bootstrap, resampled_counts
from alloyk.metrics.intervals import (
    accuracy_interval,
    clopper_pearson,
    confidence_intervals,
    interval_of_rank,
    interval_of_share,
)
from alloyk.metrics.jackknife import Evidence, evidence_by_class, rank_influences
from alloyk.runs.predictions import Predictions


def simulate(n_plates, per_plate, k=3, skill=1.5, plate_noise=0.0, seed=0, plates=True):
    """Predictions whose errors are correlated within a plate where `plate_noise` > 0."""
    rng = np.random.default_rng(seed)
    plate = np.repeat(np.arange(n_plates), per_plate)
    y = rng.integers(0, k, n_plates)[plate]
    logits = rng.normal(size=(len(y), k)) + plate_noise * rng.normal(size=(n_plates, k))[plate]
    logits[np.arange(len(y)), y] += skill
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table = pd.DataFrame({"path": [str(i) for i in range(len(y))]}, dtype=object)
    if plates:
        table["plate_id"] = [f"plate {i}" for i in plate]
    return Predictions(table, tuple("ABCDE"[:k]), y, p.argmax(axis=1), p)


@pytest.mark.parametrize(("x", "n"), [(0, 7), (7, 7), (3, 20), (97, 100), (1, 1)])
def test_clopper_pearson_equals_scipy(x, n):
    expected = binomtest(x, n).proportion_ci(confidence_level=0.95, method="exact")
    np.testing.assert_allclose(clopper_pearson(x, n), expected, atol=1e-12)


def test_each_resample_draws_as_many_groups_and_each_group_once_on_average():
    counts = np.concatenate(list(resampled_counts(40_000, 60, seed=1)))  # several blocks
    assert counts.shape == (60, 40_000)
    assert (counts.sum(axis=1) == 40_000).all()
    assert counts.var() == pytest.approx(1, rel=0.01)  # multinomial: 1 - 1/n
    again = np.concatenate(list(resampled_counts(40_000, 60, seed=1)))
    np.testing.assert_array_equal(counts, again)


@pytest.mark.parametrize("plates", [True, False])
def test_a_resample_s_figures_equal_scikit_learn_on_its_images(plates):
    predictions = simulate(12, 4, plates=plates)
    drawn = bootstrap(predictions, resamples=5, seed=3)
    counts = np.concatenate(list(resampled_counts(predictions.groups.max() + 1, 5, 3)))
    for r in range(5):
        rows = np.repeat(np.arange(len(predictions)), counts[r][predictions.groups].astype(int))
        true, said = predictions.y_true[rows], predictions.y_pred[rows]
        kw = {"labels": [0, 1, 2], "average": None, "zero_division": np.nan}
        assert drawn["accuracy"][r] == pytest.approx(sk.accuracy_score(true, said))
        loss = sk.log_loss(true, predictions.probabilities[rows], labels=[0, 1, 2])
        assert drawn["log_loss"][r] == pytest.approx(loss)
        np.testing.assert_allclose(drawn["precision"][r], sk.precision_score(true, said, **kw))
        np.testing.assert_allclose(drawn["recall"][r], sk.recall_score(true, said, **kw))
        np.testing.assert_allclose(drawn["f1"][r], sk.f1_score(true, said, **kw))
        not_b = sk.recall_score(true != 1, said != 1)
        assert drawn["specificity"][r, 1] == pytest.approx(not_b)


@pytest.mark.parametrize("ties", [False, True])
def test_rank_influences_are_the_derivatives_of_scikit_learn_s_figures(ties):
    rng = np.random.default_rng(2)
    of_class = rng.random(30) < 0.4
    p = np.round(0.7 * rng.random(30) + 0.3 * of_class, 1 if ties else 6)
    found = rank_influences(of_class, p)
    step = 1e-5
    for figure, influence in zip(
        (sk.average_precision_score, sk.roc_auc_score), found, strict=True
    ):
        for i in range(30):
            up, down = np.ones(30), np.ones(30)
            up[i], down[i] = 1 + step, 1 - step
            slope = (figure(of_class, p, sample_weight=up) -
                     figure(of_class, p, sample_weight=down)) / (2 * step)  # fmt: skip
            assert influence[i] == pytest.approx(slope, abs=1e-8)
        assert influence.sum() == pytest.approx(0, abs=1e-12)


def test_linearised_rank_figures_vary_like_a_bootstrap_of_scikit_learn_s():
    predictions = simulate(80, 3, k=2, plate_noise=1.0)
    drawn = bootstrap(predictions, resamples=2000)
    counts = np.concatenate(list(resampled_counts(80, 250, seed=9)))
    of_class, p = predictions.one_hot[:, 0], predictions.probabilities[:, 0]
    for name, figure in (("average_precision", sk.average_precision_score),
                         ("roc_auc", sk.roc_auc_score)):  # fmt: skip
        brute = [figure(of_class, p, sample_weight=w[predictions.groups]) for w in counts]
        assert drawn[name][:, 0].std() == pytest.approx(np.std(brute), rel=0.12)


def test_a_proportion_without_an_error_gets_the_exact_interval_over_plates():
    perfect = simulate(40, 5, skill=60)
    figures = classification_metrics(perfect)
    assert figures["accuracy"] == 1
    found, missing = confidence_intervals(perfect, figures, resamples=200)
    exact = binomtest(40, 40).proportion_ci(method="exact")
    np.testing.assert_allclose(found["accuracy"], exact, atol=1e-6)
    of_b = len(set(perfect.groups[perfect.y_true == 1]))
    exact = binomtest(of_b, of_b).proportion_ci(method="exact")
    np.testing.assert_allclose(found["per_class.B.recall"], exact, atol=1e-6)
    names = [name for name in found if name != "log_loss"]
    assert len(names) == 2 + 6 + 3 * 6
    assert all(low < 1 for low, _ in (found[name] for name in names))
    # Every image costs the least loss that there is: nothing tells how it varies.
    assert set(missing) <= {"confidence_intervals.log_loss"}


@pytest.mark.parametrize("plates", [1, 10])
def test_plates_that_show_every_class_count_once_in_a_mean_over_classes(plates):
    """An image of each of two classes on each plate, all of them right."""
    y = np.tile([0, 1], plates)
    table = pd.DataFrame({"path": [str(i) for i in range(2 * plates)]}, dtype=object)
    table["plate_id"] = [str(i // 2) for i in range(2 * plates)]
    p = np.where(np.eye(2)[y] == 1, 0.9, 0.1)
    perfect = Predictions(table, ("A", "B"), y, y, p)
    found, _ = confidence_intervals(perfect, classification_metrics(perfect), resamples=50)
    exact = binomtest(plates, plates).proportion_ci(method="exact")
    for name in (
        "accuracy",
        "balanced_accuracy",
        *(f"macro.{f}" for f in evidence_by_class(perfect)),
    ):
        np.testing.assert_allclose(found[name], exact, atol=1e-6, err_msg=name)


def test_a_class_without_an_error_widens_the_interval_of_a_mean():
    """Of A 90 in 100 are right, of B all 5: its recall is known no better than [0.48, 1]."""
    y = np.repeat([0, 1], [100, 5])
    p = np.where(np.eye(2)[y] == 1, 0.9, 0.1)
    p[:10] = p[:10, ::-1]
    predictions = Predictions(
        pd.DataFrame({"path": np.arange(105).astype(str).astype(object)}), ("A", "B"), y,
        p.argmax(axis=1), p,
    )  # fmt: skip
    found, _ = confidence_intervals(predictions, classification_metrics(predictions))
    (low_a, high_a), (low_b, high_b) = (found[f"per_class.{name}.recall"] for name in "AB")
    assert (low_b, high_b) == pytest.approx(clopper_pearson(5, 5), abs=1e-6)
    low, high = found["balanced_accuracy"]
    assert low == pytest.approx(0.95 - np.hypot(0.9 - low_a, 1 - low_b) / 2, abs=0.005)
    assert high == pytest.approx(0.95 + (high_a - 0.9) / 2, abs=0.005)


def test_a_very_small_loss_lies_inside_its_interval():
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 50)
    wrong = 10 ** rng.uniform(-8, -6, 100)
    p = np.where(np.eye(2)[y] == 1, 1 - wrong[:, None], wrong[:, None])
    table = pd.DataFrame({"path": np.arange(100).astype(str).astype(object)})
    predictions = Predictions(table, ("A", "B"), y, y, p)
    figures = classification_metrics(predictions)
    low, high = confidence_intervals(predictions, figures)[0]["log_loss"]
    assert 0 < low < figures["log_loss"] < high < 1e-6


def test_without_plates_an_interval_rests_on_images():
    perfect = simulate(40, 5, skill=60, plates=False)
    found, _ = confidence_intervals(perfect, classification_metrics(perfect), resamples=50)
    np.testing.assert_allclose(found["accuracy"], clopper_pearson(200, 200), atol=1e-6)


def test_images_of_one_plate_that_fail_together_widen_the_interval():
    together = simulate(100, 10, plate_noise=3.0)
    alone = simulate(100, 10, plate_noise=3.0, plates=False)
    figures = classification_metrics(together)
    width = {}
    for name, predictions in (("plates", together), ("images", alone)):
        found, _ = confidence_intervals(predictions, figures, resamples=500)
        width[name] = np.diff(found["accuracy"])[0]
    assert width["plates"] > 1.8 * width["images"]


def test_what_has_no_interval_says_why():
    one_plate = simulate(1, 20, k=2, skill=0.5)
    assert 0 < classification_metrics(one_plate)["accuracy"] < 1
    found, missing = confidence_intervals(one_plate, classification_metrics(one_plate))
    assert "accuracy" not in found
    assert missing["confidence_intervals.accuracy"] == "based on only one plate"


def test_every_figure_lies_inside_its_interval():
    predictions = simulate(60, 4, k=5)
    figures = classification_metrics(predictions)
    found, missing = confidence_intervals(predictions, figures, resamples=300)
    assert not missing
    for name, (low, high) in found.items():
        value = figures
        for part in name.split("."):
            value = value[part]
        assert 0 <= low < value < high, name
        assert high <= 1 or name == "log_loss"


def test_intervals_repeat_under_their_seed():
    predictions = simulate(30, 3)
    figures = classification_metrics(predictions)
    assert confidence_intervals(predictions, figures, resamples=100) == confidence_intervals(
        predictions, figures, resamples=100
    )


def test_one_undefined_resample_does_not_spoil_an_interval():
    replicates = np.append(np.linspace(0.7, 0.9, 99), np.nan)
    influence = np.random.default_rng(0).normal(size=50)
    low, high = interval_of_share(0.8, replicates, Evidence(influence, 50))
    assert 0.6 < low < 0.8 < high < 0.95


def test_independent_images_get_wilson_s_interval():
    correct = np.arange(400) < 350
    found = accuracy_interval(correct, np.arange(400), resamples=20_000)
    wilson = binomtest(350, 400).proportion_ci(method="wilson")
    # Student's t with 399 degrees of freedom is 0.3 % wider; a resampled error is known to 0.5 %.
    np.testing.assert_allclose(np.subtract(found, 0.875), np.subtract(wilson, 0.875), rtol=0.02)


def test_plates_of_five_equal_images_count_as_one_image_each():
    correct = np.repeat(np.arange(80) < 70, 5)
    found = accuracy_interval(correct, np.repeat(np.arange(80), 5), resamples=20_000)
    wilson = binomtest(70, 80).proportion_ci(method="wilson")
    # What the plates add to the variance is uncertain, so the interval is a little wider.
    width = np.diff(found)[0] / np.diff(wilson)[0]
    assert 1.0 < width < 1.08


def test_both_ways_to_an_accuracy_s_interval_agree():
    predictions = simulate(50, 4, plate_noise=1.0)
    figures = classification_metrics(predictions)
    found, _ = confidence_intervals(predictions, figures, resamples=200, seed=4)
    right = predictions.y_true == predictions.y_pred
    alone = accuracy_interval(right, predictions.groups, resamples=200, seed=4)
    np.testing.assert_allclose(found["accuracy"], alone, atol=1e-6)


def test_influences_by_group_are_derivatives_of_scikit_learn_s_figures():
    predictions = simulate(12, 3, plate_noise=1.0)
    groups, k = predictions.groups, 3
    true, said, p = predictions.y_true, predictions.y_pred, predictions.probabilities
    found, step = evidence_by_class(predictions), 1e-5

    def figures(weight):
        kw = {"labels": range(k), "average": None, "sample_weight": weight, "zero_division": 0}
        rest = [sk.recall_score(true != c, said != c, sample_weight=weight) for c in range(k)]
        ranked = {"average_precision": sk.average_precision_score, "roc_auc": sk.roc_auc_score}
        return {
            "precision": sk.precision_score(true, said, **kw),
            "recall": sk.recall_score(true, said, **kw),
            "f1": sk.f1_score(true, said, **kw),
            "specificity": np.array(rest),
            **{
                name: np.array([f(true == c, p[:, c], sample_weight=weight) for c in range(k)])
                for name, f in ranked.items()
            },
        }

    for g in range(12):
        up, down = np.ones(36), np.ones(36)
        up[groups == g], down[groups == g] = 1 + step, 1 - step
        above, below = figures(up), figures(down)
        for name, by_class in found.items():
            slope = (above[name] - below[name]) / (2 * step)
            influence = [one.influence[g] for one in by_class]
            np.testing.assert_allclose(influence, slope, atol=1e-8)


def plate_experiment(rng, n_plates, accuracy, likeness, sizes):
    """Correct or not, and the plate, of each image; a beta-binomial with the given correlation."""
    size = rng.integers(*sizes, n_plates)
    share = np.full(n_plates, accuracy)
    if likeness:
        spread = 1 / likeness - 1
        share = rng.beta(accuracy * spread, (1 - accuracy) * spread, n_plates)
    plate = np.repeat(np.arange(n_plates), size)
    return rng.random(len(plate)) < share[plate], plate


def coverage(experiments, resamples, *how, seed=11):
    rng = np.random.default_rng(seed)
    accuracy = how[1]
    held = 0
    for i in range(experiments):
        correct, plate = plate_experiment(rng, *how)
        low, high = accuracy_interval(correct, plate, resamples=resamples, seed=i)
        held += low <= accuracy <= high
    return held / experiments


def test_rank_figures_have_an_interval_symmetric_in_their_log_odds():
    replicates = np.random.default_rng(1).normal(0, 0.01, 4000)
    influence = np.random.default_rng(0).normal(size=200)
    low, high = interval_of_rank(0.97, replicates, Evidence(influence, 200))
    odds = [np.log(x / (1 - x)) for x in (low, 0.97, high)]
    assert odds[1] - odds[0] == pytest.approx(odds[2] - odds[1])
    # The delta method: d log(x / (1 - x)) = dx / (x (1 - x)); t of 137 degrees of freedom.
    assert odds[2] - odds[1] == pytest.approx(1.98 * 0.01 / (0.97 * 0.03), rel=0.03)


@pytest.mark.parametrize("accuracy", [0.7, 0.85, 0.95])
def test_intervals_hold_the_truth_19_times_in_20(accuracy):
    assert 0.93 <= coverage(2000, 200, 100, accuracy, 0.3, (4, 5)) <= 0.97


# With one image per plate there is no likeness.
PLATES = [((1, 2), 0)] + [
    (sizes, likeness) for sizes in ((2, 3), (5, 6), (1, 11)) for likeness in (0, 0.2, 0.6)
]


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", [0.7, 0.8, 0.9, 0.95])
@pytest.mark.parametrize(("sizes", "likeness"), PLATES)
def test_intervals_hold_the_truth_for_other_plates_too(accuracy, sizes, likeness):
    assert 0.93 <= coverage(2000, 500, 100, accuracy, likeness, sizes) <= 0.97


def test_two_thousand_resamples_of_ten_thousand_predictions_take_seconds():
    predictions = simulate(2000, 5, k=5)
    started = time.process_time()
    confidence_intervals(predictions, classification_metrics(predictions))
    assert time.process_time() - started < 10


def test_a_loss_that_two_plates_leave_open_has_no_interval_and_a_reason():
    """The error of the log is so large that float64 cannot hold the upper end."""
    plates = ["bad"] + ["good"] * 150
    p = np.array([[1e-9, 1 - 1e-9]] + [[1 - 1e-6, 1e-6]] * 150)
    table = pd.DataFrame({"path": np.arange(151).astype(str), "plate_id": plates}, dtype=object)
    predictions = Predictions(table, ("A", "B"), np.zeros(151, int), p.argmax(axis=1), p)
    found, missing = confidence_intervals(predictions, classification_metrics(predictions))
    assert "log_loss" not in found
    assert missing["confidence_intervals.log_loss"] == "too few plates"
    assert np.isfinite(list(found.values())).all()
