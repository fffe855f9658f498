"""Make batches from image files with tf.data: reading, preprocessing and augmentation.

list → read and decode → gray, normalise, equalise, resize → (keep) → shuffle → augment → batch

`reading` decodes and preprocesses, `images` caches the result or reads it in every epoch, and
`batches` builds the epochs; `python_calls` drains in-flight callbacks before an error propagates.

Every random choice depends only on the seed, the epoch and the position in the epoch. The same seed
repeats a training run exactly, and a training run resumed at epoch 7 sees the same batches as an
uninterrupted one.
"""

from alloyk.pipeline.batches import (
    evaluation_batches,
    mean_and_std,
    steps_per_epoch,
    training_batches,
)
from alloyk.pipeline.images import KeptImages, StreamedImages, keep_images
from alloyk.pipeline.parts import WHOLE, Part
from alloyk.pipeline.reading import reading_errors

__all__ = [
    "WHOLE",
    "KeptImages",
    "Part",
    "StreamedImages",
    "evaluation_batches",
    "keep_images",
    "mean_and_std",
    "reading_errors",
    "steps_per_epoch",
    "training_batches",
]
