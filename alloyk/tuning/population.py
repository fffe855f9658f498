"""Population-Based Training: which values each member of a population trains with next.

The members train at the same time, in generations of some epochs. Between two generations the
bottom quarter copies random members of the top quarter, weights and optimizer state included, and
changes their values a little (Jaderberg et al., 2017, https://arxiv.org/abs/1711.09846, with the
quarters and factors of Ray Tune).

A trial is one member in one generation: trial number `generation * size + member`. Its values are a
function of the seed and of the results of the generation before it, so that no decision has to be
stored, and a search that was interrupted decides as an undisturbed one.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alloyk.errors import AlloykError, ConfigError, ModelError
from alloyk.runs.lineage import CHANGEABLE, is_changeable
from alloyk.runs.search_records import (
    FROM,
    GENERATION,
    PARENT,
    RUNNING,
    UNTIL,
    Trial,
    TrialRecords,
)
from alloyk.runs.search_space import Parameter
from alloyk.tuning.task import Members

QUARTER = 0.25
RESAMPLED = 0.25
"""Probability that a value is drawn again instead of being multiplied."""
FACTORS = (0.8, 1.2)

DEFAULT_SIZE = 8
DEFAULT_GENERATIONS = 10
SEED = "seed"


@dataclass
class Population:
    """Where the values of the trials of Population-Based Training come from.

    Attributes:
        parameters: The search space.
        members: Their number, and the length of a generation; the last one may be shorter.
        epochs: Epochs of a whole training.
        falling: Whether smaller results are better.
        seed: Seed of every decision.
        first_seed: Seed of the first member's initial weights; the next member has the next one.
    """

    parameters: tuple[Parameter, ...]
    members: Members
    epochs: int
    falling: bool = True
    seed: int = 0
    first_seed: int = 0
    _checked: int = field(default=0, init=False, repr=False)

    @property
    def generations(self) -> int:
        """Number of generations."""
        return math.ceil(self.epochs / self.members.generation_epochs)

    def next(self, records: TrialRecords) -> dict[str, Any] | None:
        """The values of the next trial; None at the end, or until a generation has ended.

        Raises:
            AlloykError: Every member of a generation has failed.
            ModelError: The recorded trials are not those that this version proposes, or not all
                of them are there.
        """
        records.refuse_gap()
        trials = sorted(records, key=lambda trial: trial.name)
        generation = len(trials) // self.members.size
        before = trials[(generation - 1) * self.members.size : generation * self.members.size]
        self._refuse_others(trials)
        if generation == self.generations or any(one.state == RUNNING for one in before):
            return None
        return self.values(len(trials), before)

    def values(self, number: int, before: Sequence[Trial]) -> dict[str, Any]:
        """The values of a trial.

        Args:
            number: Its number.
            before: The ended trials of the generation before, by member; none for the first one.
        """
        generation, member = divmod(number, self.members.size)
        rng = np.random.default_rng([self.seed, generation, member])
        start = generation * self.members.generation_epochs
        own = {
            SEED: self.first_seed + member,
            GENERATION: generation,
            FROM: start,
            UNTIL: min(start + self.members.generation_epochs, self.epochs),
        }
        if not before:
            return {**drawn_values(self.parameters, rng), **own}
        parent = self.parent(member, before, start, rng)
        values = {key: parent.values[key] for key in parent.values if key not in _OWN}
        if parent is not before[member]:
            values = explored_values(self.parameters, values, rng)
        return {**values, **own, PARENT: parent.name}

    def parent(
        self, member: int, before: Sequence[Trial], epoch: int, rng: np.random.Generator
    ) -> Trial:
        """The trial that a member continues: its own, or one of the top quarter.

        A member that failed has no weights, so that it copies one even before the burn-in is over.

        Raises:
            AlloykError: All of them failed.
        """
        ranked = sorted(
            (trial for trial in before if _is_finite(trial.result)),
            key=lambda trial: trial.result or 0.0,
            reverse=not self.falling,
        )
        if not ranked:
            raise AlloykError(
                f"a generation must have a member that ended with a result, got none of "
                f"{len(before)} at epoch {epoch}; see the errors in the trials' trial.json, and "
                "search in another --out with other ranges"
            )
        quarter = min(math.ceil(self.members.size * QUARTER), self.members.size // 2)
        top = ranked[: max(quarter, 1)]
        failed = len(before) - len(ranked)
        worst = (
            ranked[len(ranked) - max(quarter - failed, 0) :]
            if epoch >= self.members.burn_in
            else []
        )
        own = before[member]
        if own in top or (own in ranked and own not in worst):
            return own
        return top[int(rng.integers(len(top)))]

    def _refuse_others(self, trials: Sequence[Trial]) -> None:
        """Raise if a recorded trial has not the values that this version gives it."""
        size = self.members.size
        for number in range(self._checked, len(trials)):
            start = (number // size - 1) * size
            expected = self.values(number, trials[start : start + size] if number >= size else [])
            found = trials[number]
            if found.values != expected:
                raise ModelError(
                    f"trial {found.name} must have the values that this version proposes, "
                    f"{json.dumps(expected)}, got {json.dumps(found.values)}; use the versions "
                    "that the search was started with, or another --out"
                )
        self._checked = len(trials)


_OWN = frozenset({SEED, GENERATION, FROM, UNTIL, PARENT})


def _is_finite(result: float | None) -> bool:
    return result is not None and math.isfinite(result)


def drawn_values(parameters: Sequence[Parameter], rng: np.random.Generator) -> dict[str, Any]:
    """Random values of all active parameters."""
    values: dict[str, Any] = {}
    for one in parameters:
        if one.is_active(values):
            values[one.key] = _drawn(one, rng)
    return values


def explored_values(
    parameters: Sequence[Parameter], values: dict[str, Any], rng: np.random.Generator
) -> dict[str, Any]:
    """The values of another member, each drawn again or changed a little, inside its range.

    A choice moves to a neighbour in its list, as in Ray Tune. Where it makes another key active,
    that one is drawn; a key that is not active any more is left out.
    """
    explored: dict[str, Any] = {}
    for one in parameters:
        if not one.is_active(explored):
            continue
        if one.key not in values or rng.random() < RESAMPLED:
            explored[one.key] = _drawn(one, rng)
        else:
            explored[one.key] = _perturbed(one, values[one.key], int(rng.integers(2)))
    return explored


def _drawn(one: Parameter, rng: np.random.Generator) -> Any:
    if one.choices:
        return one.choices[int(rng.integers(len(one.choices)))]
    if one.log:
        return _inside(one, math.exp(rng.uniform(math.log(one.low), math.log(one.high))))
    return _inside(one, rng.uniform(one.low, one.high))


def _perturbed(one: Parameter, value: Any, up: int) -> Any:
    if one.choices:
        place = one.choices.index(value) + (1 if up else -1)
        return one.choices[min(max(place, 0), len(one.choices) - 1)]
    changed = _inside(one, value * FACTORS[up])
    step = one.step or (1 if one.whole else None)
    if changed == value and step:  # too small a change for the next value
        changed = _inside(one, value + (step if up else -step))
    return changed


def _inside(one: Parameter, value: float) -> float | int:
    """The number of a range that is nearest to a value."""
    if one.step is not None:
        steps = one.steps()
        return steps[min(max(round((value - one.low) / one.step), 0), len(steps) - 1)]
    value = min(max(value, one.low), one.high)
    return one.number(round(value) if one.whole else value)


def refuse_fixed_keys(parameters: Sequence[Parameter]) -> None:
    """Raise if a key of the space cannot change during a training run.

    A key with one choice is a setting of all members, and may be any.

    Raises:
        ConfigError: Names the key, and those that can change.
    """
    searched = [one for one in parameters if len(one.choices) != 1]
    for one in searched:
        if not is_changeable(one.key):
            raise ConfigError(
                f"search space, {one.key}: must be a key that can change between epochs, which are "
                f"{', '.join(CHANGEABLE)}; give it one value, or use another --search"
            )
        # Keras gives a dropout of 0 no random state, which a later dropout would need.
        if one.key == "model.dropout" and 0 in [float(end) for end in one.ends()]:
            raise ConfigError(
                "search space, model.dropout: must be > 0 with --search pbt, got 0; write for "
                "example 0.01"
            )
    if not searched:
        raise ConfigError(
            "the search space must have a key with a range or several choices, got none; add "
            "for example optimizer.learning_rate: {min: 1e-4, max: 1e-2, log: true}"
        )


def refuse_wrong_members(members: Members, epochs: int) -> None:
    """Raise if there cannot be such a population."""
    if members.size < 2:
        raise ConfigError(f"population must be >= 2, got {members.size}")
    if not 1 <= members.generation_epochs <= epochs:
        raise ConfigError(
            f"generation_epochs must be >= 1 and <= train.epochs ({epochs}), got "
            f"{members.generation_epochs}"
        )
    if members.burn_in < 0:
        raise ConfigError(f"burn_in must be >= 0 epochs, got {members.burn_in}")
