"""Match the tensors of a `.tflite` file to the ranges of quantisation-aware training."""

import re
from collections.abc import Iterable, Mapping, Sequence

from alloyk.exporting.quantization import WITH_WEIGHTS, NetworkOperator, Range
from alloyk.models.quantization_aware import INPUT
from alloyk.runs.activation_ranges import ActivationRange

_SAME_SCALE = {"PAD", "PADV2", "MAX_POOL_2D", "RESHAPE", "SQUEEZE"}
_FLOAT = {"LEAKY_RELU"}  # has no int8 kernel here
_SIGMOID: Range = (0.0, 1.0)  # fixed by TensorFlow Lite


def tensor_ranges(
    operators: Sequence[NetworkOperator], learned: Iterable[ActivationRange]
) -> dict[str, Range]:
    """Return the learned range of each activation of the network.

    The converter names a tensor after the layers that make it; these names find the range.

    Args:
        operators: Operators of the float32 file, in the order of execution.
        learned: The ranges.

    Returns:
        Tensor name → its range; without the tensors whose layers have none or several.
    """
    learned = list(learned)
    made = {one.name for one in operators}
    ranges: dict[str, Range] = {}
    for operator in operators:
        for name in operator.inputs:
            if name not in made:
                found = _range_of(name, learned, weighted=False) or _range_of(INPUT, learned)
                ranges |= {name: found} if found else {}
        found = _range_after(operator, learned, ranges)
        if found is not None:
            ranges[operator.name] = found
    return ranges


def without_range(operators: Sequence[NetworkOperator], ranges: Mapping[str, Range]) -> list[str]:
    """The tensors that an int8 file must have a range for, and that have none."""
    taken = {name for one in operators for name in one.inputs}
    made = {one.name for one in operators if one.kind not in _FLOAT}
    return sorted((taken | made) - set(ranges))


def _range_after(
    operator: NetworkOperator, learned: list[ActivationRange], ranges: dict[str, Range]
) -> Range | None:
    if operator.kind in _SAME_SCALE and operator.inputs:
        return ranges.get(operator.inputs[0])
    if operator.kind == "LOGISTIC":
        return _SIGMOID
    return _range_of(operator.name, learned, weighted=operator.kind in WITH_WEIGHTS)


def _range_of(name: str, learned: list[ActivationRange], *, weighted: bool = False) -> Range | None:
    """The range with the most layers in a tensor's name; None if there is none, or a tie."""
    layers = {INPUT} if name == INPUT else _layers_in(name)
    scores = [len(layers.intersection(one.layers)) * (one.weighted == weighted) for one in learned]
    best = max(scores, default=0)
    if best == 0 or scores.count(best) > 1:
        return None
    found = learned[scores.index(best)]
    return found.low, found.high


def _layers_in(name: str) -> set[str]:
    """Names in a tensor's name that may be layers', without the number of the call.

    >>> sorted(_layers_in("backbone_1/bn_1/add_1;backbone_1/conv_2/depthwise1"))
    ['backbone', 'bn', 'conv']
    """
    inner = [part for path in name.split(";") for part in path.split("/")[:-1]]
    return {re.sub(r"_\d+$", "", part) for part in inner}
