"""A search space as Keras Tuner describes it."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import keras_tuner

from alloyk.runs.search_space import Parameter, parameters_of


def hyperparameters_of(
    space: Mapping[str, Any] | tuple[Parameter, ...],
) -> keras_tuner.HyperParameters:
    """Keras Tuner's description of a search space.

    Raises:
        ConfigError: The space is wrong, see `alloyk.runs.search_space.parameters_of`.
    """
    hp = keras_tuner.HyperParameters()
    for one in space if isinstance(space, tuple) else parameters_of(space):
        with ExitStack() as conditions:
            for key, allowed in one.when.items():
                conditions.enter_context(hp.conditional_scope(key, list(allowed)))
            _add(hp, one)
    return hp


def _add(hp: keras_tuner.HyperParameters, one: Parameter) -> None:
    if one.choices:
        hp.Choice(one.key, list(one.choices))
        return
    add = hp.Int if one.whole else hp.Float
    step = None if one.step is None else one.number(one.step)
    add(one.key, one.number(one.low), one.number(one.high), step=step,
        sampling="log" if one.log else "linear")  # fmt: skip
