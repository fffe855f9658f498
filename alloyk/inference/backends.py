"""The kinds of model file, each as a callable from raw images to the named outputs of the model.

Only the required kind is imported: a `.tflite` file runs without TensorFlow.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from alloyk.errors import ModelError, reason
from alloyk.inference.members import ONNX_SUFFIX
from alloyk.inference.metadata import SIGNATURE
from alloyk.inference.novelty import FEATURES
from alloyk.inference.novelty_file import has_detector
from alloyk.messages import shown
from alloyk.runtime.cores import available_cores
from alloyk.runtime.native_output import held_output
from alloyk.runtime.tensorflow import load_tensorflow
from alloyk.targets import LOGITS

# More threads gain little on one image.
MAX_THREADS = 4


class Backend(Protocol):
    """A loaded model.

    Attributes:
        input_shape: `(height, width, channels)` it takes; None where any number is accepted.
        outputs: Name of each output → its numbers for one image; None if not known.
        takes_batches: Whether several images of one shape can be passed at once.
    """

    input_shape: tuple[int | None, ...]
    outputs: Mapping[str, int | None]
    takes_batches: bool

    def __call__(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return the outputs, float32, of raw images `(n, height, width, channels)`, any numbers.

        The class output `(n, classes)` is described by `ModelMetadata.output`; each further one
        `(n, 1)` by its column.
        """


class KerasBackend:
    """A `.keras` file. It computes in float32, whatever precision it was trained in.

    Attributes:
        model: The model in the file.
        full_model: The same with its pooled features as a further output, where the file has a
            `NoveltyDetector`, which needs them.
    """

    takes_batches = True

    def __init__(self, path: Path, threads: int | None = None) -> None:
        load_tensorflow()
        import keras
        import tensorflow as tf

        import alloyk.preprocessing  # noqa: F401 - registers the layers
        from alloyk.models.precision import in_float32
        from alloyk.preprocessing.strips import LARGE_PIXELS, looped

        try:
            self.model = in_float32(keras.saving.load_model(path, compile=False))
        # Keras raises nearly anything on a damaged file.
        except Exception as error:
            raise ModelError(_cannot_load(path, error)) from error
        self.input_shape = tuple(self.model.input_shape[1:])
        self.full_model = _with_features(self.model) if has_detector(path) else self.model
        self.outputs: Mapping[str, int | None] = _keras_outputs(self.full_model)
        self._to_float32 = partial(tf.cast, dtype=tf.float32)

        def whole(images: Any) -> Any:
            return self.full_model(images, training=False)

        def in_strips(images: Any) -> Any:
            with looped():
                return self.full_model(images, training=False)

        raw_images = tf.TensorSpec((None, *self.input_shape), tf.float32)
        whole_call, strips_call = (
            tf.function(call, input_signature=[raw_images], autograph=False)
            for call in (whole, in_strips)
        )
        self._calls: tuple[Any, Any] = (whole_call, strips_call)
        self._large = LARGE_PIXELS

    def __call__(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return the outputs of raw images."""
        call = self._calls[math.prod(images.shape[1:]) > self._large]
        outputs = call(self._to_float32(images))
        if not isinstance(outputs, dict):
            outputs = {LOGITS: outputs}
        return {name: values.numpy() for name, values in outputs.items()}


class SavedModelBackend:
    """A SavedModel folder with one serving signature."""

    takes_batches = True

    def __init__(self, path: Path, threads: int | None = None) -> None:
        load_tensorflow()
        import tensorflow as tf

        try:
            self._loaded = tf.saved_model.load(str(path))  # owns the weights
            self._call = self._loaded.signatures[SIGNATURE]
        except Exception as error:
            raise ModelError(_cannot_load(path, error)) from error
        ((self._input, spec),) = self._call.structured_input_signature[1].items()
        self.input_shape = tuple(spec.shape[1:])
        self.outputs: Mapping[str, int | None] = {
            name: _last_of(output.shape.as_list())
            for name, output in self._call.structured_outputs.items()
        }
        self._to_float32 = partial(tf.cast, dtype=tf.float32)

    def __call__(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return the outputs of raw images."""
        outputs = self._call(**{self._input: self._to_float32(images)})
        return {name: values.numpy() for name, values in outputs.items()}


class TFLiteBackend:
    """A `.tflite` file, by LiteRT: one image of one size at a time, no TensorFlow."""

    takes_batches = False

    def __init__(self, path: Path, threads: int | None = None) -> None:
        from ai_edge_litert.interpreter import Interpreter

        threads = threads or min(MAX_THREADS, available_cores())
        try:
            with held_output():
                self._interpreter = Interpreter(str(path), num_threads=threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(_cannot_load(path, error)) from error
        (self._input,) = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_signature_runner(SIGNATURE).get_output_details()
        self.input_shape: tuple[int | None, ...] = tuple(
            int(size) for size in self._input["shape"][1:]
        )
        self.outputs: Mapping[str, int | None] = {
            name: _last_of(output["shape_signature"].tolist())
            for name, output in self._outputs.items()
        }

    def __call__(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return the outputs of raw images; NaN for one whose counts are too large for float32."""
        outputs: dict[str, list[np.ndarray]] = {name: [] for name in self._outputs}
        for image in images:
            raw = np.asarray(image[None], np.float32)
            self._interpreter.set_tensor(self._input["index"], raw)
            del raw  # a large image is held once, by the interpreter
            try:
                self._interpreter.invoke()
            except RuntimeError:  # an index that such an image makes is out of bounds
                for name, output in self._outputs.items():
                    outputs[name].append(np.full(output["shape"][1:], np.nan, np.float32))
                continue
            for name, output in self._outputs.items():
                outputs[name].append(self._interpreter.get_tensor(output["index"])[0])
        return {name: np.stack(values) for name, values in outputs.items()}


class ONNXBackend:
    """An `.onnx` file, by ONNX Runtime: one image of one size at a time, no TensorFlow."""

    takes_batches = False

    def __init__(self, path: Path, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError(
                f"an .onnx model needs onnxruntime, which is not installed, got {shown(path)}; "
                "install it with `pip install alloyk[onnx]`, or give another model file"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or min(MAX_THREADS, available_cores())
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            with held_output():
                self._session = onnxruntime.InferenceSession(
                    str(path), options, providers=["CPUExecutionProvider"]
                )
            (self._input,) = self._session.get_inputs()
        except Exception as error:  # ONNX Runtime has a type for each of its many reasons
            raise ModelError(_cannot_load(path, error)) from error
        self._outputs = self._session.get_outputs()
        self._refused = onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument
        self.input_shape: tuple[int | None, ...] = tuple(self._input.shape[1:])
        self.outputs: Mapping[str, int | None] = {
            output.name: _last_of(output.shape) for output in self._outputs
        }

    def __call__(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return the outputs of raw images; NaN for one whose counts are too large for float32."""
        found = [self._answer(np.asarray(image[None], np.float32)) for image in images]
        return {
            output.name: np.concatenate(values)
            for output, values in zip(self._outputs, zip(*found, strict=True), strict=True)
        }

    def _answer(self, raw: np.ndarray) -> list[np.ndarray]:
        """Each output `(1, …)` of an image `(1, height, width, channels)`."""
        try:
            return list(self._session.run(None, {self._input.name: raw}))
        except self._refused:  # an index that such an image makes is out of bounds
            return [np.full((1, *output.shape[1:]), np.nan) for output in self._outputs]


BACKENDS: dict[str, Callable[[Path, int | None], Backend]] = {
    "keras": KerasBackend,
    "savedmodel": SavedModelBackend,
    "tflite": TFLiteBackend,
    "onnx": ONNXBackend,
}


def model_file(path: str | Path) -> tuple[str, Path]:
    """Return which of `BACKENDS` loads a model, and the file or folder it loads.

    Args:
        path: A run folder, a `.keras` or `.onnx` file, a `.tflite` file of any name, or a
            SavedModel folder.

    Raises:
        ModelError: It is none of them.
    """
    path = Path(path)
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "savedmodel", path
        from alloyk.runs.folder import RunFolder  # loads pydantic, which no TFLite file needs

        return "keras", RunFolder(path).require_model("a run folder or a SavedModel")
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ModelError(
            f"cannot read the model {shown(path)}: {error.strerror}; give a run folder, a .keras, "
            ".tflite or .onnx file or a SavedModel folder"
        ) from error
    if head[4:] == b"TFL3":
        return "tflite", path
    if head.startswith(b"PK\x03\x04") and path.suffix == ".keras":  # Keras requires the suffix
        return "keras", path
    if path.suffix == ONNX_SUFFIX:  # ONNX has no magic number
        return "onnx", path
    raise ModelError(
        "a model must be a run folder, a .keras, .tflite or .onnx file or a SavedModel folder, got "
        f"{shown(path)}; check the path"
    )


def _keras_outputs(model: Any) -> dict[str, int | None]:
    import keras

    # A loaded Sequential has no outputs of its own.
    found = (model.layers[-1] if isinstance(model, keras.Sequential) else model).output
    if not isinstance(found, dict):
        (logits,) = found if isinstance(found, list) else [found]
        found = {LOGITS: logits}
    return {name: _last_of(output.shape) for name, output in found.items()}


def _last_of(shape: Sequence[Any]) -> int | None:
    """The last size of an output's shape; None if it is not fixed.

    >>> _last_of([1, 12]), _last_of([1, -1]), _last_of(["batch", "size"])
    (12, None, None)
    """
    return shape[-1] if shape and isinstance(shape[-1], int) and shape[-1] >= 0 else None


def _with_features(model: Any) -> Any:
    from alloyk.models.pooled import with_features

    return with_features(model, FEATURES) or model


def _cannot_load(path: Path, error: Exception) -> str:
    return f"cannot load the model {shown(path)}: {reason(error)}; train or export it again"
