"""Classify images with a run, a `.keras` file, a SavedModel, a `.tflite` or an `.onnx` file.

`classifier` takes images of any kind, `image_files` finds them, `sources` decodes them, `results`
holds predictions and `tables` writes them, `abstention` leaves out uncertain ones, `backends` run
each kind of file, `metadata` describes a file, `training_counts` compares images with those of
training, `latency` measures time. TensorFlow loads only for files that need it.
"""

from alloyk.inference.classifier import Classifier, Stream, load
from alloyk.inference.image_files import STANDARD_INPUT, find_images
from alloyk.inference.results import Classification
from alloyk.inference.sources import image_from_bytes

__all__ = [
    "STANDARD_INPUT",
    "Classification",
    "Classifier",
    "Stream",
    "find_images",
    "image_from_bytes",
    "load",
]
