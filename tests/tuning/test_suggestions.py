"""Every search proposes the values of its space, all of them where it can."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor

from alloyk.errors import ConfigError
from alloyk.runs.search_records import FINISHED, Trial
from alloyk.runs.search_space import parameters_of
from alloyk.tuning.space import read_space, refuse_ranges_without_step
from alloyk.tuning.suggestions import suggestions_for


class Recorded(list):
    """The trials of a search, without files."""

    def end(self, values):
        self.append(Trial(f"{len(self):04d}", values, FINISHED, float(len(self) % 7)))

    def refuse_gap(self):
        pass

    def events(self):
        return [event for trial in self for event in (("claim", trial), ("end", trial))]


def proposed(suggestions):
    """The values of every trial that a search proposes."""
    records = Recorded()
    while (values := suggestions.next(records)) is not None:
        records.end(values)
        yield values


NESTED = {
    "o": ["a", "b"],
    "m": {"choices": [1, 2], "when": {"o": "b"}},
    "k": {"choices": [3, 4], "when": {"m": 2}},
    "n": {"choices": [5, 6], "when": {"m": 2, "o": ["a", "b"]}},
}


@pytest.mark.parametrize("search", ["grid", "random", "bayesian", "hyperband"])
def test_a_condition_may_depend_on_another_and_on_several_keys(search):
    suggestions = suggestions_for(search, parameters_of(NESTED), seed=1, max_trials=50, epochs=9)
    found = {tuple(trial.get(key) for key in NESTED) for trial in proposed(suggestions)}
    every = {('"a"', None, None, None), ('"b"', "1", None, None)}
    every |= {('"b"', "2", k, n) for k in "34" for n in "56"}
    assert found == every if search == "grid" else found <= every


@pytest.mark.parametrize("search", ["grid", "random", "hyperband"])
@pytest.mark.parametrize(
    ("range_", "values"),
    [
        ({"min": 0.1, "max": 0.3, "step": 0.1}, [0.1, 0.2, 0.3]),
        ({"min": 0, "max": 0.6, "step": 0.1}, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        ({"min": 8, "max": 30, "step": 8}, [8, 16, 24]),
        ({"min": 2, "max": 4}, [2, 3, 4]),
    ],
)
def test_a_range_includes_its_upper_end(search, range_, values):
    suggestions = suggestions_for(search, parameters_of({"a": range_}), seed=1, epochs=27)
    assert {trial["a"] for trial in proposed(suggestions)} == set(values)


def test_integers_on_a_logarithmic_scale_stay_in_their_range():
    space = parameters_of({"a": {"min": 16, "max": 128, "log": True}})
    found = [one["a"] for one in proposed(suggestions_for("bayesian", space, seed=1))]
    assert len(found) == 20
    assert (min(found) >= 16, max(found)) == (True, 128)
    with pytest.raises(ConfigError, match="a grid needs a list of values"):
        refuse_ranges_without_step(space)


@pytest.mark.parametrize("combinations", [4, 24, 200])
def test_hyperband_continues_trials_where_no_others_are_left(combinations):
    space = parameters_of({"a": list(range(combinations))})
    found = [
        trial["tuner/epochs"]
        for trial in proposed(suggestions_for("hyperband", space, seed=1, epochs=50))
    ]
    shares = [found.count(epochs) for epochs in (2, 6, 17, 50)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] <= combinations
    assert shares[-1] >= 1


def test_bayesian_search_models_the_results_of_most_trials(monkeypatch):
    fits = []
    monkeypatch.setattr(GaussianProcessRegressor, "fit", lambda self, x, y: fits.append(len(x)))
    monkeypatch.setattr(
        GaussianProcessRegressor, "predict",
        lambda self, x, return_std=False: (np.zeros(len(x)), np.ones(len(x))),
    )  # fmt: skip
    space = read_space(Path(__file__).parents[2] / "configs" / "tune_cnn.yaml")
    suggestions = suggestions_for("bayesian", parameters_of(space), seed=1)
    assert len(list(proposed(suggestions))) == 20
    assert min(fits) == 6  # a third of 20


def test_a_grid_with_further_choices_keeps_the_limit_of_trials():
    both = suggestions_for("grid", parameters_of({"a": [1, 2, 3]}), seed=1, max_trials=2)
    records = Recorded()
    records.end({"a": "2"})
    records.end({"a": "3"})
    assert both.next(records) is None
