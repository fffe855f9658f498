"""The parts of a trained classifier: preprocessing, network, and the score to explain."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from alloyk.errors import ModelError
from alloyk.inference import Classifier, load
from alloyk.inference.metadata import refuse_channels
from alloyk.messages import shown
from alloyk.preprocessing.strips import LARGE_PIXELS, looped

# Excludes a class from a sum of powers: its power and gradient are 0 in float32.
LEFT_OUT = -1e30


@dataclass(frozen=True, eq=False)
class OpenedClassifier:
    """The two halves of a `model.keras`.

    Attributes:
        classifier: Both together, for decisions and for what images it takes.
        classes: Class labels in the order of the logits.
        simulated: Whether it was trained on simulated images.
        preprocessing: From raw images `(n, h, w, c)` of one size to gray ones in [0, 1].
        network: From gray images `(n, H, W, 1)` to logits `(n, k)`.
    """

    classifier: Classifier
    classes: tuple[str, ...]
    simulated: bool
    preprocessing: keras.Model
    network: keras.Model

    def seen(self, raw: np.ndarray) -> np.ndarray:
        """Return the gray image `(H, W)` float32 that the network sees of a raw one `(h, w, c)`."""
        images = keras.ops.convert_to_tensor(raw[None], "float32")
        preprocess = self._in_strips if raw.size > LARGE_PIXELS else self.preprocessing
        return np.asarray(preprocess(images))[0, ..., 0]

    @cached_property
    def _in_strips(self) -> Callable[[Any], Any]:
        """`preprocessing` for large images, which it would need many copies of."""
        import tensorflow as tf

        def preprocess(images: Any) -> Any:
            with looped():
                return self.preprocessing(images)

        shape = (None, *self.preprocessing.input_shape[1:])
        signature = [tf.TensorSpec(shape, tf.float32)]
        return tf.function(preprocess, input_signature=signature, autograph=False)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Return the logits `(n, k)` of gray images `(n, H, W)`."""
        return np.asarray(self.network(images[..., None], training=False))


def open_classifier(run: str | Path) -> OpenedClassifier:
    """Load the `model.keras` of a run, or a `.keras` file, in its two halves.

    Raises:
        ModelError: It is not a model of alloyk, is a SavedModel, a `.tflite` or an `.onnx` file,
            whose layers are not accessible, or is an ensemble.
    """
    return opened(load(run))


def opened(classifier: Classifier) -> OpenedClassifier:
    """Take a loaded classifier apart in its two halves.

    Raises:
        ModelError: As `open_classifier`.
    """
    run = classifier.path
    refuse_channels(
        classifier.metadata, run, "an explanation",
        "explain a model of one of its channels, trained with one value in data.channels.values",
    )  # fmt: skip
    model = getattr(classifier.backend, "model", None)
    if model is None:
        raise ModelError(
            f"{shown(run)} has no accessible layers; explain the run that it was exported from"
        )
    if [layer.name for layer in model.layers[:1]] != ["preprocessing"] or len(model.layers) != 2:
        raise ModelError(
            f"{shown(run)} must be one network after one preprocessing; explain its members"
        )
    preprocessing, network = model.layers
    outputs = network.output
    if isinstance(outputs, dict):  # numbers are estimated beside the class
        outputs = outputs["logits"]
    # One input, not a list of one, whatever was saved: Keras warns at every call otherwise.
    (outputs,) = outputs if isinstance(outputs, list) else [outputs]
    network = keras.Model(network.inputs[0], outputs, name=network.name)
    return OpenedClassifier(
        classifier, classifier.classes, classifier.simulated, preprocessing, network
    )


def log_odds(logits: Any) -> Any:
    """Log-odds of each class against all others: `log p − log(1 − p)`.

    They replace the logit that Selvaraju et al. use: adding one number to all logits
    changes no probability, but would change a map of a single logit.

    Args:
        logits: `(n, k)`.

    Returns:
        `(n, k)`.

    Example:
        >>> np.asarray(log_odds(np.array([[3.0, 1.0], [5.0, 5.0]], np.float32)))
        array([[ 2., -2.], [ 0.,  0.]], dtype=float32)
    """
    itself = LEFT_OUT * keras.ops.eye(logits.shape[-1], dtype="float32")
    others = keras.ops.logsumexp(keras.ops.add(logits[:, None, :], itself), axis=-1)
    return keras.ops.subtract(logits, others)
