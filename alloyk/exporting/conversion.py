"""Write a Keras classifier, preprocessing included, in another format."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from alloyk.errors import ModelError, reason
from alloyk.exporting.policy import FLOAT16, FLOAT32, QUANTIZED, Policy
from alloyk.exporting.quantization import SCHEMES, Scheme
from alloyk.inference.metadata import PROBABILITIES, SIGNATURE
from alloyk.preprocessing.strips import LARGE_PIXELS, looped
from alloyk.runtime.native_output import held_output
from alloyk.targets import LOGITS

OPSET = 18
"""Version of ONNX' operators."""


@dataclass(frozen=True)
class ExportFormat:
    """A format of `alloyk export`.

    Attributes:
        write: `write(classifier, path, image_shape)` writes a Keras model from raw images to
            logits as one that returns probabilities, and its other outputs unchanged;
            `image_shape` is `(height, width, channels)`, with None for any size.
        suffix: Suffix of the file's name; empty for a folder.
        fixed_shape: Whether the file takes images of one shape only.
        policy: What it must keep of the original.
        scheme: How its network is quantised after that; None for not at all.
    """

    write: Callable[[keras.Model, Path, tuple], None]
    suffix: str
    fixed_shape: bool
    policy: Policy
    scheme: Scheme | None = None


def _classify(classifier: keras.Model, image_shape: tuple) -> Any:
    """A function from raw images to probabilities and the other outputs, by name."""
    forward = _by_size(classifier) if None in image_shape else _whole(classifier)
    batch = None if None in image_shape else 1
    spec = tf.TensorSpec((batch, *image_shape), tf.float32, name="image")

    @tf.function(input_signature=[spec])
    def classify(image):
        outputs = forward(image)
        if not isinstance(outputs, dict):
            return {PROBABILITIES: keras.ops.softmax(outputs)}
        estimates = {name: values for name, values in outputs.items() if name != LOGITS}
        return {PROBABILITIES: keras.ops.softmax(outputs[LOGITS]), **estimates}

    return classify


def _whole(classifier: keras.Model) -> Callable[[Any], Any]:
    def forward(image: Any) -> Any:
        return classifier(image, training=False)

    return forward


def _by_size(classifier: keras.Model) -> Callable[[Any], Any]:
    """Return the classifier as a function that visits large images in strips."""
    whole = _whole(classifier)

    def in_strips(image: Any) -> Any:
        with looped():
            return whole(image)

    def forward(image: Any) -> Any:
        height, width, channels = keras.ops.shape(image)[1:]
        large = tf.convert_to_tensor(
            height * width * channels > LARGE_PIXELS
        )  # may be known, with flats
        return tf.cond(large, lambda: in_strips(image), lambda: whole(image))

    return forward


def write_savedmodel(classifier: keras.Model, path: Path, image_shape=(None, None, None)) -> None:
    """Write a SavedModel folder with one signature, `image` → `probabilities` and estimates.

    Args:
        classifier: Model from raw images to logits, or to a dictionary of logits and estimates.
        path: The folder.
        image_shape: `(height, width, channels)`, with None for any size; a complete shape also
            fixes the batch size at 1.
    """
    classify = _classify(classifier, image_shape)
    # Not keras.export.ExportArchive: Keras 3.15 stores every weight twice.
    module = tf.Module()
    module.weights = [variable.value for variable in classifier.weights]
    with held_output():
        tf.saved_model.save(module, str(path), signatures={SIGNATURE: classify})


def write_tflite(classifier: keras.Model, path: Path, image_shape: tuple[int, int, int]) -> None:
    """Write a float32 `.tflite` file of built-in operators for one image of `image_shape`.

    Raises:
        ModelError: The converter has no built-in operators for the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        # A SavedModel freezes the weights. Converting a function directly omitted them without an
        # error, and the file returned NaN.
        write_savedmodel(classifier, Path(folder), image_shape)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            with held_output():
                content = converter.convert()
        except Exception as error:  # ConverterError is private, and other types are raised too
            raise ModelError(
                f"TensorFlow Lite cannot convert this model: {reason(error)}; its output is above"
            ) from error
    path.write_bytes(content)


def write_onnx(classifier: keras.Model, path: Path, image_shape: tuple[int, int, int]) -> None:
    """Write a float32 `.onnx` file of standard operators for one image of `image_shape`.

    Raises:
        ModelError: The converter is not installed, or cannot convert the model.
    """
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise ModelError(
            "onnx needs the packages tf2onnx, onnx and onnxruntime, which are not installed; "
            "install them with `pip install alloyk[onnx]`, or choose another --format"
        ) from error
    classify = _classify(classifier, image_shape)
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    try:
        with held_output():
            tf2onnx.convert.from_function(
                classify,
                classify.input_signature,
                opset=OPSET,
                custom_op_handlers={"Erfc": (_write_erfc, [])},
                output_path=str(path),
            )
        onnx.checker.check_model(str(path))  # of unknown operators tf2onnx says nothing
    except Exception as error:  # of many types
        raise ModelError(
            f"tf2onnx cannot convert this model: {reason(error)}; choose another --format"
        ) from error


def _write_erfc(graph: Any, node: Any, name: str, arguments: list[Any]) -> None:
    """Write the complementary error function, of GELU, as 1 − erf(x): ONNX has erf only.

    Args:
        graph: tf2onnx's.
        node: The operator `Erfc`.
        name: Its name.
        arguments: Unused.
    """
    one = graph.make_const(f"{name}__one", np.ones((), np.float32))
    (value,), (result,) = node.input, node.output
    shape, kind = graph.get_shape(result), graph.get_dtype(result)
    graph.remove_node(node.name)
    erf = graph.make_node("Erf", [value], name=f"{name}__erf", shapes=[shape], dtypes=[kind])
    graph.make_node(
        "Sub", [one.output[0], erf.output[0]], outputs=[result], name=name,
        shapes=[shape], dtypes=[kind],
    )  # fmt: skip


FORMATS = {
    "savedmodel": ExportFormat(write_savedmodel, suffix="", fixed_shape=False, policy=FLOAT32),
    "tflite": ExportFormat(write_tflite, suffix=".tflite", fixed_shape=True, policy=FLOAT32),
    "onnx": ExportFormat(write_onnx, suffix=".onnx", fixed_shape=True, policy=FLOAT32),
    **{
        name: ExportFormat(
            write_tflite,
            suffix=".tflite",
            fixed_shape=True,
            policy=FLOAT16 if scheme.weights == 16 else QUANTIZED,
            scheme=scheme,
        )
        for name, scheme in SCHEMES.items()
    },
}
