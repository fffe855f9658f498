"""The head that estimates a number: dense, activation, dense, rescaling to the number's unit."""

import keras

from alloyk.models.seeds import SeedStream
from alloyk.targets import Target, plain_name

PREFIX = "estimate_"


def estimate_head(pooled, target: Target, *, hidden_units: int, activation: str, seeds: SeedStream):
    """Estimate `target` from the pooled features `(batch, filters)`.

    The dense layers estimate a standardised number; the last layer multiplies it by the standard
    deviation and adds the mean, so the output is always in the column's unit. There is no dropout:
    it would increase the variance of the features, and so of the estimates, in training.

    Returns:
        `(batch, 1)` float32.
    """
    name = PREFIX + plain_name(target.column)
    x = pooled
    if hidden_units:
        kernel = seeds.initializer("he_normal")
        x = keras.layers.Dense(hidden_units, kernel_initializer=kernel, name=f"{name}_hidden")(x)
        x = keras.layers.Activation(activation, name=f"{name}_activation")(x)
    kernel = seeds.initializer("glorot_uniform")
    # float32 also under mixed precision, like the logits.
    x = keras.layers.Dense(1, kernel_initializer=kernel, dtype="float32", name=f"{name}_dense")(x)
    unit = keras.layers.Rescaling(target.spread, target.mean, dtype="float32", name=f"{name}_unit")
    return unit(x)


def is_estimate_layer(name: str) -> bool:
    """Whether a layer of this name belongs to an estimating head."""
    return name.startswith(PREFIX)
