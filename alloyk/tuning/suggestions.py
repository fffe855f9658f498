"""Which values the next trial gets, from Keras Tuner's oracles.

Grid and random search do not look at results: they are sequences that every worker can make for
itself. Bayesian search and Hyperband do. Their oracle is brought up to date by replaying what has
happened in the search, so that its state has no file of its own that could be lost or differ.
"""

import json
import math
import warnings
from functools import partial
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner import oracles
from keras_tuner.engine import hyperparameters as kinds
from sklearn.exceptions import ConvergenceWarning

from alloyk.errors import ModelError
from alloyk.runs.search_records import FAILED, Trial, TrialRecords
from alloyk.runs.search_space import Parameter
from alloyk.tuning.keras_space import hyperparameters_of

OBJECTIVE = "objective"
DEFAULT_TRIALS = {"random": 10, "bayesian": 20}
"""Number of trials if none is given; a grid and Hyperband end by themselves."""

FACTOR = 3
"""Hyperband trains a third of the trials for three times as many epochs."""

RANDOM_PER_KEY, RANDOM_SHARE, FEWEST_RANDOM = 3, 3, 3
"""Bayesian search draws three trials per key at random before it models the results, as Keras Tuner
does, but a third of its trials at most: the default of 20 would end before that with seven keys."""


class _InMemory:
    """Keeps an oracle from writing files."""

    def save(self) -> None: ...

    def _save_trial(self, trial: Any) -> None: ...


class _Grid(_InMemory, oracles.GridSearchOracle): ...


class _Random(_InMemory, oracles.RandomSearchOracle): ...


class _Hyperband(_InMemory, oracles.HyperbandOracle):
    """Continues the best of what there is if a space has too few values for a whole bracket."""

    def __init__(self, **options: Any) -> None:
        self._begun: dict[int, int] = {}  # bracket → trials, where no others are left
        super().__init__(**options)

    def _random_trial(self, trial_id: str, bracket: dict[str, Any]) -> dict[str, Any]:
        found = super()._random_trial(trial_id, bracket)
        if "values" in found:
            return found
        self._begun[bracket["bracket_num"]] = len(bracket["rounds"][0])
        return self.populate_space(trial_id)

    def _get_size(self, bracket_num: int, round_num: int) -> int:
        if bracket_num in self._begun:
            return math.ceil(self._begun[bracket_num] / FACTOR**round_num)
        return int(super()._get_size(bracket_num, round_num))


class _Bayesian(_InMemory, oracles.BayesianOptimizationOracle):
    """Takes recorded values where it is replayed; its draws depend on the trial's number only."""

    recorded: dict[str, Any] | None = None

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        if self.recorded is not None:
            values, self.recorded = self.recorded, None
            return {"status": "RUNNING", "values": values}
        self._seed_state = self.seed + 1000 * (int(trial_id) + 1)
        self._random_state = np.random.RandomState(self._seed_state)
        with warnings.catch_warnings():  # the fit of a smooth objective may not converge
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = super().populate_space(trial_id)
        self._clip(found["values"])
        if found["values"] is not None and self._duplicate(found["values"]):
            return self._random_populate_space()
        return found

    def _clip(self, values: dict[str, Any] | None) -> None:
        """Bring integers back into their range, of which Keras Tuner proposes `max + 1` too."""
        for hp in self.get_space().space:
            if values and isinstance(hp, kinds.Int) and hp.name in values:
                values[hp.name] = min(values[hp.name], hp.max_value)


class Sequence:
    """The trials of a grid or random search, in their order."""

    def __init__(
        self, search: str, hp: keras_tuner.HyperParameters, seed: int, limit: int | None
    ) -> None:
        kind: Any = {"grid": _Grid, "random": _Random}[search]
        self._limit = limit
        self._oracle: Any = kind(
            objective=keras_tuner.Objective(OBJECTIVE, "min"), hyperparameters=hp, seed=seed,
            max_trials=None, max_consecutive_failed_trials=None,
        )  # fmt: skip
        self._oracle.verbose = 0
        self._made: list[dict[str, Any]] = []

    def next(self, records: TrialRecords) -> dict[str, Any] | None:
        """The first values of the sequence that no trial has; None at its end or the limit."""
        known = {trial.key for trial in records}
        if self._limit is not None and len(known) >= self._limit:
            return None
        number = 0
        while number < len(self._made) or self._extend():
            values = self._made[number]
            if Trial("", values).key not in known:
                return values
            number += 1
        return None

    def _extend(self) -> bool:
        trial = self._oracle.create_trial("alloyk")
        if trial.status != "RUNNING":
            return False
        self._made.append(dict(trial.hyperparameters.values))
        _end(self._oracle, trial, 0.0)
        return True


class Feedback:
    """The trials of a search that depend on the results of earlier ones."""

    def __init__(
        self,
        search: str,
        hp: keras_tuner.HyperParameters,
        seed: int,
        limit: int | None,
        *,
        falling: bool,
        epochs: int,
    ) -> None:
        common: dict[str, Any] = {
            "objective": keras_tuner.Objective(OBJECTIVE, "min" if falling else "max"),
            "hyperparameters": hp, "seed": seed, "max_consecutive_failed_trials": None,
        }  # fmt: skip
        self._worst = math.inf if falling else -math.inf
        self._limit = limit
        self._waiting_at: int | None = None
        self._make = (
            partial(
                _Bayesian, max_trials=None, num_initial_points=_random_trials(hp, limit), **common
            )
            if search == "bayesian"
            else partial(_Hyperband, max_epochs=epochs, factor=FACTOR, **common)
        )
        self._start()

    def _start(self) -> None:
        """Forget everything replayed."""
        self._seen = 0
        self._oracle = self._make()
        self._oracle.verbose = 0

    def next(self, records: TrialRecords) -> dict[str, Any] | None:
        """The values that the oracle proposes after everything recorded.

        Returns:
            None at the end, or until a running trial has ended.

        Raises:
            ModelError: The recorded trials are not those that this version proposes, or not all
                of them are there.
        """
        records.refuse_gap()
        events = records.events()
        if len(events) == self._waiting_at:
            return None
        for event, trial in events[self._seen :]:
            self._replay(event, trial)
            self._seen += 1
        count = len(list(records))
        if self._limit is not None and count >= self._limit:
            return None
        found = self._oracle.create_trial(f"{count:04d}")
        if found.status == "IDLE":  # which may have changed the oracle's random numbers
            self._start()
            self._waiting_at = len(events)
            return None
        if found.status != "RUNNING":
            return None
        self._seen += 1  # the caller records it
        return dict(found.hyperparameters.values)

    def _replay(self, event: str, trial: Trial) -> None:
        if event == "claim":
            if isinstance(self._oracle, _Bayesian):
                self._oracle.recorded = dict(trial.values)
            found = self._oracle.create_trial(trial.name)
            if dict(found.hyperparameters.values) != trial.values:
                raise ModelError(
                    f"trial {trial.name} must have the values that this version proposes, "
                    f"{json.dumps(found.hyperparameters.values)}, got {json.dumps(trial.values)}; "
                    "use the versions that the search was started with, or another --out"
                )
            return
        # Hyperband waits for results: one that failed counts as the worst, so that it ends.
        result = self._worst if trial.state == FAILED else trial.result
        assert result is not None
        if trial.state == FAILED and isinstance(self._oracle, _Bayesian):
            result = math.nan
        _end(self._oracle, self._oracle.trials[trial.name], result)


def _random_trials(hp: keras_tuner.HyperParameters, limit: int | None) -> int:
    """Number of trials that Bayesian search draws at random."""
    searched = [
        one for one in hp.space if not (isinstance(one, kinds.Choice) and len(one.values) == 1)
    ]
    trials = RANDOM_PER_KEY * len(searched)
    if limit is not None:
        trials = min(trials, limit // RANDOM_SHARE)
    return max(trials, FEWEST_RANDOM)


def _end(oracle: Any, trial: Any, result: float) -> None:
    oracle.update_trial(trial.trial_id, {OBJECTIVE: result})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


def suggestions_for(
    search: str,
    parameters: tuple[Parameter, ...],
    *,
    seed: int,
    max_trials: int | None = None,
    falling: bool = True,
    epochs: int = 1,
) -> Sequence | Feedback:
    """Where the values of a search's trials come from.

    Args:
        search: One of `alloyk.tuning.search.SEARCHES`.
        parameters: The search space.
        seed: Not 0, which Keras Tuner replaces by a random number.
        max_trials: Number of trials at most.
        falling: Whether smaller results are better.
        epochs: Longest training of a trial of Hyperband.
    """
    hp = hyperparameters_of(parameters)
    limit = max_trials or DEFAULT_TRIALS.get(search)
    if search in ("grid", "random"):
        return Sequence(search, hp, seed, limit)
    return Feedback(search, hp, seed, limit, falling=falling, epochs=epochs)
