"""Random numbers for a batch that follow from a seed alone, on TensorFlow and on JAX."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

if keras.backend.backend() == "jax":
    import jax

    def _fold_in(seed: Any, number: int) -> Any:
        return jax.random.fold_in(seed, number)

    def _uniform(shape: Sequence[Any], seed: Any, low: float, high: float) -> Any:
        return jax.random.uniform(seed, shape, "float32", low, high)

    def _normal(shape: Sequence[Any], seed: Any) -> Any:
        return jax.random.normal(seed, shape, "float32")

else:
    import tensorflow as tf

    def _fold_in(seed: Any, number: int) -> Any:
        return tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int32), number)

    def _uniform(shape: Sequence[Any], seed: Any, low: float, high: float) -> Any:
        return tf.random.stateless_uniform(shape, seed, low, high)

    def _normal(shape: Sequence[Any], seed: Any) -> Any:
        return tf.random.stateless_normal(shape, seed)


class Draws:
    """Stateless random numbers; each draw of a batch uses the next seed.

    The numbers of the two backends differ.

    Args:
        seed: `(2,)` int tensor; on JAX a key of `jax.random`.
        rows: Places in the batch of the images that are augmented here; None if these are all.
        size: Images of the whole batch, for which the numbers are drawn.
    """

    def __init__(self, seed: Any, rows: Any = None, size: Any = None) -> None:
        self.seed = seed
        self.rows, self.size = rows, size
        self.drawn = 0

    def new_seed(self) -> Any:
        """The seed of the next draw."""
        self.drawn += 1
        return _fold_in(self.seed, self.drawn)

    def uniform(self, shape: Sequence[Any], low: float, high: float, axis: int = 0) -> Any:
        """Uniform numbers, float32; `axis` is that of the images."""
        drawn = _uniform(self._of_all(shape, axis), self.new_seed(), low, high)
        return self._of_these(drawn, axis)

    def normal(self, shape: Sequence[Any]) -> Any:
        """Standard normal numbers, float32; the images are along the first axis."""
        return self._of_these(_normal(self._of_all(shape), self.new_seed()))

    def _of_all(self, shape: Sequence[Any], axis: int = 0) -> Sequence[Any]:
        if self.rows is None:
            return shape
        return [self.size if at == axis else length for at, length in enumerate(shape)]

    def _of_these(self, drawn: Any, axis: int = 0) -> Any:
        return drawn if self.rows is None else ops.take(drawn, self.rows, axis=axis)
