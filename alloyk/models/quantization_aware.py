"""Rewrite a network for quantisation-aware training: fake quantisation where an int8 file rounds.

| in the network | in the int8 file |
|---|---|
| convolution or dense, batch norm, ReLU | one operator: its weights and its result are rounded |
| addition, then ReLU | one operator: its result is rounded |
| swish | a sigmoid, rounded to 1/256, and a multiplication, rounded |
| GELU, multiplication, average | an operator each, rounded |
| max pooling, padding, reshaping | keep the scale of their input |
| LeakyReLU | float32; rounded where the next operator takes it |

The backbone and the hidden layers are int8. The standardised image is rounded where it enters, the
pooled features likewise; standardisation, pooling and the output layers are float32.
`alloyk.exporting.quantization` makes the file.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from alloyk.errors import ModelError
from alloyk.models.estimate import is_estimate_layer
from alloyk.models.fake_quantization import (
    FakeQuantize,
    QuantizedSigmoid,
    QuantizedWeights,
    SharedLayer,
    Switch,
)
from alloyk.models.nested import nested_layers
from alloyk.runs.activation_ranges import ActivationRange

INPUT = "input"
"""Name of the input of the backbone, used like the name of a layer."""

_WEIGHTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
_SAME_SCALE = (keras.layers.MaxPooling2D, keras.layers.ZeroPadding2D, keras.layers.Flatten,
               keras.layers.Reshape, keras.layers.Dropout, keras.layers.Identity)  # fmt: skip
_ROUNDED = (keras.layers.Add, keras.layers.Multiply, keras.layers.GlobalAveragePooling2D)


class QuantizationAware(NamedTuple):
    """A network with fake quantisation.

    Attributes:
        model: Functional model. Its weights are those of the network it was made from: training it
            trains that network.
        switch: Turns the fake quantisation on and off, before a graph is traced.
    """

    model: keras.Model
    switch: Switch


def quantization_aware(network: keras.Model, *, momentum: float = 0.99) -> QuantizationAware:
    """Rewrite a network of `alloyk.models.build_model`, or one that contains it.

    Args:
        network: Functional model from an image to logits, or to a dictionary of outputs.
        momentum: Share of an activation's range that is kept in a training step.

    Raises:
        ModelError: It has a layer whose int8 arithmetic is not known here.
    """
    switch = Switch()
    return QuantizationAware(_Rewriter(switch, momentum).rewritten(network), switch)


def observe_ranges(aware: QuantizationAware, batches: Any) -> None:
    """Set every range to the mean over batches of the batch's smallest and largest value.

    Args:
        aware: The network with fake quantisation.
        batches: Batches of images as it takes them.
    """
    switch = aware.switch
    switch.active, switch.observing = False, True
    try:
        for batch in batches:
            aware.model(batch, training=False)
    finally:
        switch.active, switch.observing = True, False


def activation_ranges_of(model: keras.Model) -> list[ActivationRange]:
    """The current range of each activation that is rounded."""
    return [
        ActivationRange(layer.of_layers, layer.weighted, *map(_number, (layer.low, layer.high)))
        for layer in nested_layers(model)
        if isinstance(layer, FakeQuantize)
    ]


def _number(variable: Any) -> float:
    return float(np.asarray(keras.ops.convert_to_numpy(variable)))


class _Rewriter:
    """Builds the rewritten graph from that of the network, layer by layer in its order."""

    def __init__(self, switch: Switch, momentum: float) -> None:
        self.switch, self.momentum = switch, momentum
        # Symbolic tensors by id; they are kept so that no other gets the same id.
        self._rounded: dict[int, Any] = {}
        self._source: dict[int, tuple[Any, tuple[str, ...]]] = {}
        self._rounded_of: dict[int, Any] = {}

    def rewritten(self, model: keras.Model) -> keras.Model:
        """`model` with fake quantisation."""
        consumers = _consumers(model)
        done: set[str] = set()  # layers that are fused with one before them

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(layer, keras.Model):
                return self._nested(self.rewritten(layer), args[0])
            if layer.name in done:
                return args[0]
            if model.name == "backbone" or _is_hidden(layer.name):
                found = self._quantized(layer, args[0], consumers, model, done)
            else:
                found = _in_float(layer, *args, **kwargs)
            return self._from(found, (layer.name,))

        return keras.models.clone_model(
            model, clone_function=lambda layer: layer, call_function=call
        )

    def _nested(self, model: keras.Model, x: Any) -> Any:
        """The output of a model inside another, which is rounded if the model rounds it."""
        inner, found = model.output, model(x)
        if id(inner) in self._rounded:
            self._rounded[id(found)] = found
        elif id(inner) in self._source:
            self._from(found, self._source[id(inner)][1])
        return found

    def _quantized(
        self,
        layer: Any,
        x: Any,
        consumers: Mapping[str, list[str]],
        model: keras.Model,
        done: set[str],
    ) -> Any:
        """The output of a layer that is int8 in the file."""

        def only_consumer(name: str) -> Any:
            found = consumers.get(name, [])
            return model.get_layer(found[0]) if len(found) == 1 else None

        if isinstance(layer, keras.layers.Activation):
            return self._activated(x, layer.activation, (layer.name,))
        if isinstance(layer, _SAME_SCALE):
            moves = not isinstance(layer, keras.layers.Dropout | keras.layers.Identity)
            x = self._round(x) if moves else x
            found = _copy(layer)(x)
            if id(x) in self._rounded:
                self._rounded[id(found)] = found
            return found
        if isinstance(layer, _WEIGHTED):
            return self._weighted(layer, self._round(x), only_consumer, done)
        if not isinstance(layer, _ROUNDED):
            raise ModelError(
                f"the layers must be those of alloyk's architectures, got {layer.name} "
                f"({type(layer).__name__}), whose int8 arithmetic is not known"
            )
        several = isinstance(x, list | tuple)
        found = _copy(layer)([self._round(one) for one in x] if several else self._round(x))
        names: tuple[str, ...] = (layer.name,)
        following = only_consumer(layer.name)
        if isinstance(layer, keras.layers.Add) and _is_relu(following):
            found = _copy(following)(found)
            done.add(following.name)
            names = (*names, following.name)
        elif isinstance(following, keras.layers.Reshape):
            names = (*names, following.name)  # the file's name for the average
        return self._round_as(found, names, weighted=False)

    def _weighted(
        self, layer: Any, x: Any, only_consumer: Callable[[str], Any], done: set[str]
    ) -> Any:
        """Weights, and what is fused with them: batch norm and ReLU."""
        names: tuple[str, ...] = (layer.name,)
        norm = None
        following = only_consumer(layer.name)
        if isinstance(following, keras.layers.BatchNormalization):
            norm = following
            names = (*names, norm.name)
            following = only_consumer(norm.name)
        found = QuantizedWeights(self.switch, layer, norm)(x)
        own = layer.activation
        if _name_of(own) == "relu":
            found = keras.layers.Activation("relu", name=f"{layer.name}_activation")(found)
        elif _name_of(own) == "linear" and _is_relu(following):
            found = _copy(following)(found)
            names = (*names, following.name)
        done.update(names[1:])
        found = self._round_as(found, names, weighted=True)
        if _name_of(own) in ("linear", "relu"):
            return found
        return self._activated(found, own, (layer.name,))

    def _activated(self, x: Any, activation: Any, names: tuple[str, ...]) -> Any:
        """An activation that is an operator of its own."""
        kind, name = _name_of(activation), f"{names[0]}_activation"
        if kind in ("silu", "sigmoid"):
            x = self._round(x)
            found = QuantizedSigmoid(self.switch, swish=kind == "silu", name=name)(x)
            if kind == "silu":
                return self._round_as(found, names, weighted=False)
            self._rounded[id(found)] = found
            return found
        if kind == "leaky_relu":  # in float32, of a rounded input
            layer = keras.layers.Activation(activation, name=name, dtype="float32")
            return self._from(layer(x), names)
        found = keras.layers.Activation(activation, name=name, dtype="float32")(self._round(x))
        return self._round_as(found, names, weighted=False)

    def _round(self, x: Any) -> Any:
        """A tensor as an int8 operator takes it: rounded once, for all that take it."""
        if id(x) in self._rounded:
            return x
        if id(x) not in self._rounded_of:
            _, names = self._source.get(id(x), (x, (INPUT,)))
            self._rounded_of[id(x)] = self._round_as(x, names, weighted=False)
        return self._rounded_of[id(x)]

    def _round_as(self, x: Any, names: tuple[str, ...], *, weighted: bool) -> Any:
        end = "weighted" if weighted else "output"
        layer = FakeQuantize(
            self.switch, names, weighted=weighted, momentum=self.momentum,
            name=f"{names[0]}_{end}_rounded",
        )  # fmt: skip
        found = layer(x)
        self._rounded[id(found)] = found
        return found

    def _from(self, found: Any, names: tuple[str, ...]) -> Any:
        """Remember which layers a tensor comes from."""
        if isinstance(found, keras.KerasTensor):
            self._source.setdefault(id(found), (found, names))
        return found


def _consumers(model: keras.Model) -> dict[str, list[str]]:
    """Layer → the layers that take its output, in a functional model."""
    found: dict[str, list[str]] = {}

    def visit(part: Any, consumer: str) -> None:
        if isinstance(part, dict):
            if "keras_history" in part:
                found.setdefault(part["keras_history"][0], []).append(consumer)
            for value in part.values():
                visit(value, consumer)
        elif isinstance(part, list | tuple):
            for value in part:
                visit(value, consumer)

    for layer in model.get_config()["layers"]:
        visit(layer["inbound_nodes"], layer["name"])
    return found


def _is_hidden(name: str) -> bool:
    """Whether a layer of a head is int8: what `alloyk.exporting.quantization` takes as network."""
    return name in ("hidden", "hidden_activation") or (
        is_estimate_layer(name) and name.endswith("_hidden")
    )


def _name_of(activation: Any) -> str:
    return str(getattr(activation, "__name__", activation))


def _is_relu(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Activation) and _name_of(layer.activation) == "relu"


def _copy(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The same layer once more, in float32: it has no weights."""
    return type(layer).from_config({**layer.get_config(), "dtype": "float32"})


def _in_float(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """The output of a layer outside the int8 part."""
    if not isinstance(layer, keras.layers.Layer):  # an operation of keras.ops
        return layer(*args, **kwargs)
    return SharedLayer(layer)(*args) if layer.weights else _copy(layer)(*args)
