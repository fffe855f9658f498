"""Classify images with a run, a ``.keras`` file, a SavedModel or a ``.tflite`` file.

`classifier` takes images of any kind, `backends` run each kind of file, `run_folder` finds a run's,
`metadata` is what a file says about itself, `latency` how long it takes. TensorFlow loads when a
file needs it, not before.
"""

from alloyk.inference.classifier import (
    FORMATS,
    STANDARD_INPUT,
    Classification,
    Classifier,
    find_images,
    image_from_bytes,
    load,
)

__all__ = [
    "FORMATS",
    "STANDARD_INPUT",
    "Classification",
    "Classifier",
    "find_images",
    "image_from_bytes",
    "load",
]
