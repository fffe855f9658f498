"""Votes by hand, ties, and weights against an optimiser."""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize

from alloyk.voting.voting import hard_vote, hard_weights, soft_vote, soft_weights

EQUAL = np.full(3, 1 / 3)


def members(n=400, seed=0):
    """Three members of unlike skill on three classes, the third one wrong throughout."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    probabilities = []
    for skill in (2.0, 1.0, -3.0):
        logits = rng.normal(size=(n, 3))
        logits[np.arange(n), y] += skill
        powers = np.exp(logits)
        probabilities.append(powers / powers.sum(axis=1, keepdims=True))
    return np.stack(probabilities), y


def test_soft_voting_is_the_weighted_mean():
    p = np.array([[[0.9, 0.1]], [[0.2, 0.8]]])
    np.testing.assert_allclose(soft_vote(p, np.array([0.25, 0.75])), [[0.375, 0.625]])


def test_hard_voting_counts_decisions():
    p = np.array([[[0.6, 0.4]], [[0.6, 0.4]], [[0.0, 1.0]]])
    shares, decided = hard_vote(p.argmax(axis=2), p, EQUAL)
    np.testing.assert_allclose(shares, [[2 / 3, 1 / 3]])
    assert decided[0] == 0
    assert soft_vote(p, EQUAL).argmax() == 1  # the mean says otherwise


def test_equal_votes_are_settled_by_the_mean_probability_of_those_equal():
    p = np.array([[[0.5, 0.3, 0.2]], [[0.05, 0.6, 0.35]], [[0.2, 0.05, 0.75]]])
    shares, decided = hard_vote(p.argmax(axis=2), p, EQUAL)
    np.testing.assert_allclose(shares, [[1 / 3, 1 / 3, 1 / 3]])
    assert decided[0] == 2  # .433 on average, against .25 and .317
    two = p[:2]
    assert hard_vote(two.argmax(axis=2), two, np.array([0.5, 0.5]))[1][0] == 1


def test_a_heavy_vote_outweighs_two():
    p = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]])
    assert hard_vote(p.argmax(axis=2), p, np.array([0.6, 0.2, 0.2]))[1][0] == 0


def test_soft_weights_are_those_of_least_log_loss():
    p, y = members()
    found = soft_weights(p, y)
    assert found.sum() == pytest.approx(1)

    def loss(free):
        weights = np.append(free, 1 - free.sum())
        return -np.log(soft_vote(p, weights)[np.arange(len(y)), y]).mean()

    best = minimize(
        loss, [0.3, 0.3], bounds=[(0, 1)] * 2, method="SLSQP", tol=1e-12,
        constraints={"type": "ineq", "fun": lambda free: 1 - free.sum()},
    )  # fmt: skip
    assert loss(found[:2]) == pytest.approx(best.fun, abs=1e-6)
    np.testing.assert_allclose(found[:2], best.x, atol=2e-3)


def test_a_member_that_adds_nothing_gets_no_weight():
    p, y = members()
    assert soft_weights(p, y)[2] == 0
    assert hard_weights(p.argmax(axis=2), y, 3)[2] == 0


def decided(accuracies, n=10_000):
    """Decisions `(members, n)` on images of class 0, of exactly these accuracies."""
    return np.stack([np.arange(n) >= round(p * n) for p in accuracies]).astype(int)


def test_hard_weights_of_two_classes_are_log_odds():
    y = np.zeros(100, dtype=int)
    odds = np.log([90.5 / 10.5, 70.5 / 30.5])
    found = hard_weights(decided([0.9, 0.7], 100), y, 2)
    np.testing.assert_allclose(found, odds / odds.sum())


@pytest.mark.parametrize("accuracies", [(0.45, 0.48, 0.52), (0.3, 0.35, 0.9), (0.6, 0.25, 0.45)])
def test_weighted_hard_votes_decide_for_the_most_probable_class(accuracies):
    """Against Bayes' rule for independent members whose errors are spread evenly."""
    k, p = 5, np.array(accuracies)
    weights = hard_weights(decided(p), np.zeros(10_000, dtype=int), k)
    votes = np.array(list(itertools.product(range(k), repeat=3))).T
    right = votes[:, :, None] == np.arange(k)
    likelihood = np.where(right, p[:, None, None], (1 - p[:, None, None]) / (k - 1)).prod(axis=0)
    one_hot = np.eye(k)[votes]
    found = hard_vote(votes, one_hot, weights)[1]
    np.testing.assert_allclose(
        likelihood[np.arange(votes.shape[1]), found], likelihood.max(axis=1), rtol=1e-9
    )


def test_a_member_at_chance_gets_no_vote_and_one_just_above_gets_some():
    y = np.zeros(10_000, dtype=int)
    found = hard_weights(decided([0.2, 0.15, 0.21, 0.9]), y, 5)
    assert found[0] == pytest.approx(0, abs=1e-12)
    assert found[1] == 0
    assert found[2] > 0


def test_members_that_are_all_wrong_weigh_the_same():
    y = np.zeros(10, dtype=int)
    np.testing.assert_allclose(hard_weights(np.ones((2, 10), dtype=int), y, 3), [0.5, 0.5])
