"""The head that estimates a number: dense, activation, dense, and back to the number's unit."""

import keras

from alloyk.models.seeds import SeedStream
from alloyk.targets import Target, plain_name

PREFIX = "estimate_"


def estimate_head(pooled, target: Target, *, hidden_units: int, activation: str, seeds: SeedStream):
    """Estimate `target` from the pooled features `(batch, filters)`.

    The dense layers see a standardised number; the last layer multiplies by the spread and adds the
    mean, so that the output is in the column's unit wherever the model goes. No dropout: it would
    widen the features' spread in training, and with it every estimate.

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
    # float32 also under mixed precision, as the logits are.
    x = keras.layers.Dense(1, kernel_initializer=kernel, dtype="float32", name=f"{name}_dense")(x)
    unit = keras.layers.Rescaling(target.spread, target.mean, dtype="float32", name=f"{name}_unit")
    return unit(x)


def is_estimate_layer(name: str) -> bool:
    """Whether a layer of this name belongs to such a head."""
    return name.startswith(PREFIX)
