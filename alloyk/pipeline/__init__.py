"""From image files to batches: tf.data around reading, the preprocessing and augmentation.

list → read and decode → gray, normalise, equalise, resize → (keep) → shuffle → augment → batch

`reading` decodes and preprocesses, `images` keeps the result or reads it anew, `batches` makes the
epochs; `python_calls` lets tf.data's threads come to rest before an error goes on.

Every random choice is a function of the seed, the epoch and the place in it, and of nothing else:
the same seed repeats a training exactly, and a training that goes on at epoch 7 sees what it would
have seen without a break.
"""

from alloyk.pipeline.batches import (
    evaluation_batches,
    mean_and_std,
    steps_per_epoch,
    training_batches,
)
from alloyk.pipeline.images import KeptImages, StreamedImages, keep_images
from alloyk.pipeline.reading import reading_errors

__all__ = [
    "KeptImages",
    "StreamedImages",
    "evaluation_batches",
    "keep_images",
    "mean_and_std",
    "reading_errors",
    "steps_per_epoch",
    "training_batches",
]
