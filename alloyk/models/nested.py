"""The layers of a model, those of nested models included."""

from collections.abc import Iterator

import keras


def nested_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield `model` and every layer in it, depth first, each layer once.

    Example:
        >>> inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="inner_dense")])
        >>> outer = keras.Sequential([keras.Input((2,)), inner, keras.layers.Dense(1, name="top")])
        >>> [layer.name for layer in nested_layers(outer) if layer.name in ("inner_dense", "top")]
        ['inner_dense', 'top']
    """
    seen: set[int] = set()
    waiting: list[keras.layers.Layer] = [model]
    while waiting:
        layer = waiting.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        if isinstance(layer, keras.Model):
            waiting.extend(reversed(layer.layers))
