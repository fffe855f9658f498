"""Loss and accuracy for images that are mixed from two, as `augment.mixup` makes them."""

from typing import Any

import keras
from keras import ops


class MixedLoss(keras.losses.Loss):
    """`share * loss(first class) + (1 - share) * loss(second class)`.

    Plain labels `(batch,)`, such as those of validation, are passed on to `loss`.

    Args:
        loss: A loss over sparse labels and logits, from `build_loss`.

    Shapes: y_true `(batch, 3)`: first class, second class, share of the first; y_pred
    `(batch, num_classes)` logits.
    Reference: [Zhang et al., 2018](https://arxiv.org/abs/1710.09412).
    """

    def __init__(self, loss: keras.losses.Loss) -> None:
        super().__init__(name=loss.name)
        self.loss = loss

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each image, `(batch,)`."""
        if not _is_mixed(y_true):
            return self.loss.call(y_true, y_pred)
        first, second, share = ops.unstack(y_true, axis=-1)
        in_first, in_second = self.loss.call(first, y_pred), self.loss.call(second, y_pred)
        return share * in_first + (1 - share) * in_second


class MixedAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """Share of images classified as the class with the larger share; plain labels work too."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count a batch; shapes as in `MixedLoss`."""
        y_true = ops.convert_to_tensor(y_true)
        if _is_mixed(y_true):
            first, second, share = ops.unstack(y_true, axis=-1)
            y_true = ops.where(share >= 0.5, first, second)
        return super().update_state(y_true, y_pred, sample_weight)


def _is_mixed(y_true: Any) -> bool:
    return len(y_true.shape) == 2 and y_true.shape[-1] == 3
