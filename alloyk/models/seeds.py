"""A stream of seeds for initialisers and dropouts, from one seed."""

import keras
import numpy as np


class SeedStream:
    """A stream of independent seeds, determined by one seed.

    By default, Keras draws seeds from a process-wide state; a model would then depend on the
    models that were built before it.

    Args:
        seed: Integer, or None for random seeds.

    Example:
        >>> SeedStream(7)() == SeedStream(7)()
        True
    """

    def __init__(self, seed: int | None = None):
        self._generator = np.random.default_rng(np.random.SeedSequence(seed))

    def __call__(self) -> int:
        """Return the next seed, 0 <= seed < 2 ** 31."""
        return int(self._generator.integers(2**31))

    def initializer(self, identifier) -> keras.initializers.Initializer:
        """Return a copy of a Keras initialiser (name, config or object) with the next seed."""
        initializer = keras.initializers.get(identifier)
        config = initializer.get_config()
        if "seed" in config:
            config["seed"] = self()
        return type(initializer).from_config(config)
