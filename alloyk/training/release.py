"""Release the memory of one training run before the next one, in a search or a cross-validation."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import keras
from tensorflow.python.framework import ops as tensorflow_ops


@contextmanager
def networks_released() -> Iterator[None]:
    """Release the networks that were trained in the block and are not referenced elsewhere.

    `keras.backend.clear_session` is not enough. Every training step sums gradients over replicas
    by `tf.distribute`, which registers a gradient function of its own for each graph. TensorFlow
    has no public way to unregister it, and it holds the graph, which holds all weights.
    """
    registry = getattr(
        getattr(tensorflow_ops, "gradient_registry", None), "_registry", {}
    )  # private: without it, memory grows as it did
    before = set(registry)
    try:
        yield
    finally:
        keras.backend.clear_session()
        for name in set(registry) - before:
            if name.startswith("CustomGradient-"):
                del registry[name]
        gc.collect()  # networks are cycles of references
