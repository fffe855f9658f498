"""Quantise the network in a float32 `.tflite` file; the preprocessing stays in float32.

The network is what lies between the standardised image and the pooled features, and the hidden
layers after them. Standardisation, pooling and the output layers stay in float32 too: they are
small, and a rounded feature or logit would change every probability.
"""

import io
import re
import warnings
from collections.abc import Collection, Iterable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from alloyk.errors import AlloykError, ModelError, reason
from alloyk.runtime.native_output import held_output

# Parts of a network, as the layers of `alloyk.models` name them in a tensor's name.
_NETWORK = re.compile(r"/(backbone|hidden|hidden_activation|estimate_[^/;]*_hidden)(_\d+)?(/|;|$)")

WITH_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Kinds of operators whose weights are stored in 8 or 16 bits."""

_FLOAT16_MAX = float(np.finfo(np.float16).max)

PART = 30
"""Calibration images whose extremes are one sample of an 8-bit activation's range."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Scheme:
    """How the network is stored and computed.

    Attributes:
        weights: Bits of a weight: 16 is float16, 8 is int8, symmetric and per channel.
        activations: Bits of an activation: None is float32, 8 is int8, 16 is int16.
        in_float: Operators (`NetworkOperator.name`) that stay in float32.
    """

    weights: Literal[8, 16]
    activations: Literal[8, 16] | None = None
    in_float: frozenset[str] = field(default_factory=frozenset)


SCHEMES = {
    "tflite-fp16": Scheme(weights=16),
    "tflite-w8": Scheme(weights=8),
    "tflite-16x8": Scheme(weights=8, activations=16),
    "tflite-int8": Scheme(weights=8, activations=8),
}


@dataclass(frozen=True)
class NetworkOperator:
    """An operator of the network in a `.tflite` file.

    Attributes:
        name: Name of its output tensor; Keras' names of the layers are part of it.
        kind: TensorFlow Lite's name, such as `CONV_2D`.
        inputs: Names of the tensors it computes from, weights not included.
        largest_weight: Largest magnitude of its weights and biases; 0 if it has none.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    largest_weight: float = 0.0


def network_operators(content: bytes) -> list[NetworkOperator]:
    """Return the operators of the network in a float32 file, in the order of execution.

    Args:
        content: The file.

    Raises:
        AlloykError: It has none: it was not built by `alloyk.models`.
    """
    interpreter = _interpreter(content)
    constant = _constant_tensors(interpreter)
    names = {one["index"]: one["name"] for one in interpreter.get_tensor_details()}
    found = []
    for operator in interpreter._get_ops_details():  # there is no public list
        outputs = [names[index] for index in operator["outputs"] if index in names]
        if operator["op_name"] == "DELEGATE" or not any(map(_NETWORK.search, outputs)):
            continue
        weights = [constant[index] for index in operator["inputs"] if index in constant]
        floats = [array for array in weights if array.dtype == np.float32 and array.size]
        found.append(
            NetworkOperator(
                name=outputs[0],
                kind=operator["op_name"],
                inputs=tuple(
                    names[index] for index in operator["inputs"]
                    if index in names and index not in constant
                ),
                largest_weight=max((float(np.abs(array).max()) for array in floats), default=0.0),
            )
        )  # fmt: skip
    if not any(operator.kind in WITH_WEIGHTS for operator in found):
        raise AlloykError(
            "a quantised file must have a network made by alloyk.build_model, got none in this "
            "model; choose --format tflite"
        )
    return found


def _interpreter(content: bytes, *, keep: bool = False) -> Any:
    """An interpreter; `keep` keeps every tensor, and computes without a delegate."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with held_output(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that kept tensors take memory
        interpreter = Interpreter(
            model_content=bytes(content),
            experimental_preserve_all_tensors=keep,
            experimental_op_resolver_type=plain,
        )
        interpreter.allocate_tensors()
    return interpreter


def _constant_tensors(interpreter: Any) -> dict[int, np.ndarray]:
    """Index → value of the tensors that no operator writes and that are not the input."""
    written = {i for one in interpreter._get_ops_details() for i in one["outputs"]}
    inputs = {one["index"] for one in interpreter.get_input_details()}
    constant = {}
    for tensor in interpreter.get_tensor_details():
        index = tensor["index"]
        if index in written or index in inputs:
            continue
        try:
            constant[index] = interpreter.get_tensor(index)
        except ValueError:  # a temporary of an operator
            continue
    return constant


def activation_ranges(
    content: bytes,
    images: Iterable[np.ndarray],
    operators: Iterable[NetworkOperator],
) -> dict[str, np.ndarray]:
    """Return the smallest and largest value of each activation of the network, image by image.

    Args:
        content: The float32 file.
        images: n images, each `(height, width, channels)` as the file takes it.
        operators: From `network_operators`.

    Returns:
        Tensor name → `(n, 2)` float64; each row contains 0 as the arithmetic requires.
    """
    names = {name for one in operators for name in (one.name, *one.inputs)}
    interpreter = _interpreter(content, keep=True)
    (image_input,) = interpreter.get_input_details()
    tensors = {
        one["name"]: one["index"] for one in interpreter.get_tensor_details()
        if one["name"] in names and one["dtype"] == np.float32
    }  # fmt: skip
    ranges: dict[str, list[Range]] = {name: [] for name in tensors}
    for image in images:
        interpreter.set_tensor(image_input["index"], np.asarray(image, np.float32)[None])
        interpreter.invoke()
        for name, index in tensors.items():
            values = interpreter.get_tensor(index)
            ranges[name].append((min(0.0, float(values.min())), max(0.0, float(values.max()))))
    return {name: np.array(rows).reshape(-1, 2) for name, rows in ranges.items()}


def range_for(rows: np.ndarray, bits: Literal[8, 16]) -> Range:
    """The range that an activation is quantised to.

    16 bits have room for the extremes. 8 bits have not: one value far from all others makes every
    step coarser. So the range is the mean over random parts of `PART` images of the smallest and
    largest value in each, like the moving average over batches in quantisation-aware training
    (Jacob et al., 2018), and what lies beyond is clipped.

    Args:
        rows: `(n, 2)` of `activation_ranges`.
        bits: Of an activation.
    """
    parts = 1 if bits == 16 else max(len(rows) // PART, 1)
    order = np.random.default_rng(0).permutation(len(rows))
    drawn = np.array_split(rows[order], parts)
    low = np.mean([part[:, 0].min() for part in drawn])
    high = np.mean([part[:, 1].max() for part in drawn])
    return float(low), float(high)


def quantize(
    content: bytes,
    scheme: Scheme,
    operators: Iterable[NetworkOperator],
    ranges: Mapping[str, Range] | None = None,
) -> bytes:
    """Return the file with its network quantised.

    Args:
        content: The float32 file.
        scheme: How.
        operators: From `network_operators`.
        ranges: Tensor name → its range; needed if the scheme quantises activations.

    Raises:
        AlloykError: A range is missing.
        ModelError: The quantiser cannot do it.
    """
    chosen = [one for one in operators if one.name not in scheme.in_float]
    if scheme.weights == 16:
        # float16 ends at 65,504; larger folded weights would become infinite.
        chosen = [one for one in chosen if one.largest_weight <= _FLOAT16_MAX]
    if scheme.activations is None:
        chosen = [one for one in chosen if one.kind in WITH_WEIGHTS]
    if not chosen:
        return content
    return _quantized(content, scheme, chosen, ranges)


def _quantized(
    content: bytes,
    scheme: Scheme,
    operators: Collection[NetworkOperator],
    ranges: Mapping[str, Range] | None,
) -> bytes:
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.quantizer import Quantizer

    # The converter's copy; the quantiser changes it.
    quantizer = Quantizer(bytearray(content))
    for one in operators:
        if one.kind not in TFLOperationName.__members__:
            continue  # LEAKY_RELU and others have no rule: they stay in float32
        _add_rule(quantizer, one, scheme)
    statistics = None
    if scheme.activations is not None:
        if not ranges:
            raise AlloykError("calibration images must be given to quantise activations, got none")
        statistics = {
            name: {"min": np.array([low], np.float32), "max": np.array([high], np.float32)}
            for name, (low, high) in ranges.items()
        }
    try:
        # The quantiser draws its bars with sys.stderr, which is not always the descriptor held.
        with held_output(), redirect_stderr(io.StringIO()):
            result = quantizer.quantize(
                statistics, enable_progress_bar=False, enable_progress_report=False
            )
    except Exception as error:  # of any type: the quantiser is young
        raise ModelError(
            f"the network cannot be quantised: {reason(error)}; choose another --format"
        ) from error
    return bytes(result.quantized_model)


def _add_rule(quantizer: Any, operator: NetworkOperator, scheme: Scheme) -> None:
    """Tell the quantiser what to do with one operator; without a rule it stays in float32."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    # The quantiser ends each name by a semicolon; without it longer names match too.
    scope = f"^{re.escape(operator.name)};"
    kind = qtyping.TFLOperationName[operator.kind]
    if scheme.weights == 16:
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        quantizer.update_quantization_recipe(scope, kind, config, AlgorithmName.FLOAT_CASTING)
    elif scheme.activations is None:
        quantizer.add_weight_only_config(scope, kind, 8)
    else:
        try:
            quantizer.add_static_config(scope, kind, scheme.activations, 8)
        except ValueError:  # no such kernel: it stays in float32
            return
