"""The importance of hyperparameters, against objectives of which it is known."""

import json

import numpy as np
import pytest

from alloyk.metrics.importance import importance_of
from alloyk.runs.search_space import parameters_of

UNIT = {"min": 0.0, "max": 1.0}


def drawn(space, count, seed=0):
    """Random values, as trials record them."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        row = {}
        for one in parameters_of(space):
            if one.is_active(row):
                unit = rng.random()
                if one.choices:
                    row[one.key] = one.choices[int(unit * len(one.choices))]
                elif one.log:
                    row[one.key] = float(one.low * (one.high / one.low) ** unit)
                else:
                    row[one.key] = float(one.low + unit * (one.high - one.low))
        rows.append(row)
    return rows


def found(space, rows, objective):
    return importance_of(parameters_of(space), rows, [objective(row) for row in rows])


def test_an_objective_of_one_hyperparameter_gives_it_everything():
    space = dict.fromkeys("abcde", UNIT)
    result = found(space, drawn(space, 100), lambda row: (row["c"] - 0.3) ** 2)
    assert next(iter(result.shares)) == "c"
    assert result.shares["c"] > 0.95
    assert max(share for key, share in result.shares.items() if key != "c") < 0.02
    assert result.predicted > 0.9


def test_shares_of_a_sum_are_those_of_its_variances():
    """Of 2a + b with a and b uniform, a has 4/5 of the variance and b 1/5."""
    space = dict.fromkeys("abc", UNIT)
    result = found(space, drawn(space, 150), lambda row: 2 * row["a"] + row["b"])
    assert result.shares["a"] == pytest.approx(0.8, abs=0.08)
    assert result.shares["b"] == pytest.approx(0.2, abs=0.08)
    assert result.shares["c"] < 0.01


def test_a_product_is_due_to_the_combination():
    """(a - 1/2)(b - 1/2) has the mean 0 over either: neither explains anything alone."""
    space = dict.fromkeys("ab", UNIT)
    rows = drawn(space, 150)
    result = found(space, rows, lambda row: (row["a"] - 0.5) * (row["b"] - 0.5))
    assert sum(result.shares.values()) < 0.2
    assert result.predicted > 0.5


def test_a_logarithmic_range_is_seen_on_its_scale():
    """The rate over six decades and the dropout have equal variances: half each."""
    space = {"rate": {"min": 1e-6, "max": 1.0, "log": True}, "dropout": UNIT}
    rows = drawn(space, 150)
    result = found(space, rows, lambda row: np.log10(row["rate"]) / 6 + row["dropout"])
    assert result.shares["rate"] == pytest.approx(0.5, abs=0.08)


def test_choices_of_text_and_numbers_are_compared():
    """Four ordered and three unordered choices have the shares of their variances."""
    space = {"width": [8, 16, 32, 64], "loss": ["a", 3, None], "idle": [1, "x"]}
    effect = {'"a"': 0.0, "3": 2.0, "null": 0.0}
    rows = drawn(space, 150)
    result = found(space, rows, lambda row: np.log2(float(row["width"])) - 3 + effect[row["loss"]])
    of_width, of_loss = np.var([0, 1, 2, 3]), np.var([0, 2, 0])
    expected = of_width / (of_width + of_loss)
    assert result.shares["width"] == pytest.approx(expected, abs=0.08)
    assert result.shares["loss"] == pytest.approx(1 - expected, abs=0.08)
    assert result.shares["idle"] < 0.01


def test_a_conditional_key_does_not_get_the_importance_of_its_condition():
    space = {
        "loss": ["focal", "other"],
        "gamma": {"min": 0.0, "max": 1.0, "when": {"loss": "focal"}},
    }
    rows = drawn(space, 80)
    assert any("gamma" not in row for row in rows)
    result = found(space, rows, lambda row: float(row["loss"] == '"focal"'))
    assert result.shares["loss"] > 0.95
    assert result.shares["gamma"] < 0.02
    inside = found(space, rows, lambda row: row.get("gamma", 0.5))
    assert inside.shares["gamma"] > 0.5


def test_noise_cannot_be_predicted():
    space = dict.fromkeys("abc", UNIT)
    noise = iter(np.random.default_rng(1).random(60))
    assert found(space, drawn(space, 60), lambda row: next(noise)).predicted < 0.1


@pytest.mark.parametrize(
    ("rows", "results", "problem"),
    [
        ([], [], "needs 10 comparable trials or more, got 0"),
        ([{"a": 0.1}] * 9, range(9), "needs 10 comparable trials or more, got 9"),
        ([{"a": 0.1}] * 12, range(12), "needs a hyperparameter with several values, got none"),
        ([{"a": i / 12} for i in range(12)], [1] * 12, "every trial has the same objective"),
    ],
)
def test_where_there_is_no_importance_the_reason_is_given(rows, results, problem):
    result = importance_of(parameters_of({"a": UNIT}), rows, list(results))
    assert problem in result.problem
    assert not result.shares


def test_the_same_trials_give_the_same_shares():
    space = dict.fromkeys("ab", UNIT)
    rows = drawn(space, 20)
    first, second = (found(space, rows, lambda row: row["a"] + row["b"] / 10) for _ in range(2))
    assert first == second
    assert json.dumps(first.shares)  # plain numbers


def test_of_very_many_trials_some_are_enough():
    space = dict.fromkeys("ab", UNIT)
    result = found(space, drawn(space, 1000), lambda row: row["a"] + row["b"] / 10)
    assert result.trials == 300
    assert result.shares["a"] > 0.95


@pytest.mark.timeout(120)
def test_forty_choices_are_compared_in_a_short_time():
    """An architecture of which one is better, and a width that does not matter."""
    space = {"arch": [f"network {number}" for number in range(40)], "width": [8, "wide", None]}
    rows = drawn(space, 300)
    result = found(space, rows, lambda row: float(row["arch"] in ('"network 17"', '"network 30"')))
    assert result.shares["arch"] > 0.8
    assert result.shares["width"] < 0.02
