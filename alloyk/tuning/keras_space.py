"""A search space as Keras Tuner describes it."""

from collections.abc import Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds

# Not exported: Keras Tuner makes conditions by scopes, in which a key can depend on one other only.
from keras_tuner.src.engine.conditions import Parent

from alloyk.runs.search_space import Parameter, parameters_of


def hyperparameters_of(
    space: Mapping[str, Any] | tuple[Parameter, ...],
) -> keras_tuner.HyperParameters:
    """Keras Tuner's description of a search space.

    Raises:
        ConfigError: The space is wrong, see `alloyk.runs.search_space.parameters_of`.
    """
    hp = keras_tuner.HyperParameters()
    parameters = space if isinstance(space, tuple) else parameters_of(space)
    hp.merge([_hyperparameter(one) for one in parameters])
    return hp


def _hyperparameter(one: Parameter) -> kinds.HyperParameter:
    conditions = [Parent(key, list(allowed)) for key, allowed in one.when.items()]
    # Keras Tuner's own steps leave out the end of a range: 0.1 to 0.3 by 0.1 is 0.1 and 0.2.
    values = one.choices or one.steps()
    if values:
        return kinds.Choice(one.key, list(values), conditions=conditions)
    kind = kinds.Int if one.whole else kinds.Float
    return kind(
        one.key, one.number(one.low), one.number(one.high),
        sampling="log" if one.log else "linear", conditions=conditions,
    )  # fmt: skip
