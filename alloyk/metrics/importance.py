"""How much each hyperparameter of a search matters: fANOVA, from Optuna.

A random forest learns the objective from the values of the trials. Its prediction, averaged over
all values of the other hyperparameters, varies with one of them; the share of that variance in the
whole one is the importance (Hutter et al., 2014, https://proceedings.mlr.press/v32/hutter14.html).
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from alloyk.runs.search_space import Parameter

MIN_TRIALS = 10
# The time of fANOVA grows with all three. A range counts in equal parts of its width.
MAX_TRIALS, TREES, PARTS = 300, 24, 16

Array = npt.NDArray[np.float64]


class Importance(NamedTuple):
    """Shares of the variance of the objective.

    Attributes:
        shares: Key → share that the key explains by itself, the largest first. What is missing to
            1 is due to combinations of keys.
        predicted: R² of the forest on trials that it was not fitted to; near 0, or below, the
            shares describe noise.
        trials: Number of trials they come from.
        problem: Why there are none; empty if there are.
    """

    shares: Mapping[str, float]
    predicted: float
    trials: int
    problem: str = ""


def importance_of(
    parameters: Sequence[Parameter],
    values: Sequence[Mapping[str, Any]],
    results: npt.ArrayLike,
    *,
    seed: int = 0,
) -> Importance:
    """The importance of each hyperparameter.

    A hyperparameter that a trial does not have gets the most frequent choice, or the median, of the
    trials that have it, so that its importance is not that of the key which it depends on.

    Args:
        parameters: The search space.
        values: Values of each trial.
        results: Objective of each trial, finite.
        seed: Seed of the forest, and of the choice of trials where there are very many.
    """
    y = np.asarray(results, dtype=np.float64)
    searched = [one for one in parameters if len({_text(row.get(one.key)) for row in values}) > 1]
    problem = _problem(len(y), float(np.ptp(y)) if len(y) else 0.0, searched)
    if problem:
        return Importance({}, 0.0, len(y), problem)
    if len(y) > MAX_TRIALS:
        kept = np.sort(np.random.default_rng(seed).permutation(len(y))[:MAX_TRIALS])
        values, y = [values[i] for i in kept], y[kept]
    y = (y - y.mean()) / y.std()
    columns = [_Column(one, [row.get(one.key) for row in values]) for one in searched]
    shares = _fanova(columns, y, seed)
    shares = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return Importance(shares, _predicted(columns, y, seed), len(y))


def _problem(trials: int, spread: float, searched: Sequence[Parameter]) -> str:
    if trials < MIN_TRIALS:
        return f"Importance needs {MIN_TRIALS} comparable trials or more, got {trials}."
    if not searched:
        return "Importance needs a hyperparameter with several values, got none."
    if not spread:
        return "Importance is undefined: every trial has the same objective."
    return ""


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


class _Column:
    """A hyperparameter as numbers: choices that are numbers in their order, others as listed.

    A tree separates any choice from the others by two cuts, and each has the same width, so that
    the order of choices changes no share. One column for each choice, as Optuna has it, would take
    hours for forty of them.
    """

    def __init__(self, one: Parameter, values: Sequence[Any]) -> None:
        self.key = one.key
        present = [value for value in values if value is not None]
        choices = list(one.choices) or None
        if choices is not None:
            choices += [value for value in dict.fromkeys(present) if value not in choices]
            decoded = [json.loads(value) for value in choices]
            if all(type(value) in (int, float) for value in decoded):
                choices = [choices[i] for i in np.argsort(decoded, kind="stable")]
            numbers = [float(choices.index(value)) for value in present]
            common = float(np.argmax(np.bincount(np.asarray(numbers, dtype=np.int64))))
            # Every choice has the same width, those at the ends too.
            self.low, self.high = -0.5, len(choices) - 0.5
        else:
            scale = np.log if one.log else np.asarray
            numbers = [float(scale(float(value))) for value in present]
            self.low = min([float(scale(one.low)), *numbers])
            self.high = max([float(scale(one.high)), *numbers])
            width = (self.high - self.low) / PARTS
            parts = [min(int((one - self.low) / width), PARTS - 1) for one in numbers]
            numbers = [self.low + (part + 0.5) * width for part in parts]
            common = float(np.median(numbers))
        found = iter(numbers)
        self.numbers = np.array([common if v is None else next(found) for v in values])


def _fanova(columns: Sequence[_Column], y: Array, seed: int) -> dict[str, float]:
    # Takes more than half a second to load.
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution

    distributions: dict[str, BaseDistribution] = {
        one.key: FloatDistribution(one.low, one.high) for one in columns
    }
    rows = [{one.key: float(one.numbers[i]) for one in columns} for i in range(len(y))]
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study()
        study.add_trials(
            [
                optuna.trial.create_trial(params=row, distributions=distributions, value=float(one))
                for row, one in zip(rows, y, strict=True)
            ]
        )
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=seed)
        shares = evaluator.evaluate(study)
    finally:
        optuna.logging.set_verbosity(level)
    return {key: float(share) for key, share in shares.items()}


def _predicted(columns: Sequence[_Column], y: Array, seed: int) -> float:
    """R² of a random forest, on the trials that each of its trees was not fitted to."""
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(n_estimators=100, oob_score=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a trial that every tree was fitted to
        forest.fit(np.stack([one.numbers for one in columns], axis=1), y)
    return float(forest.oob_score_)
