"""Classification losses over sparse integer labels and logits, for balanced and long-tailed data.

| name | loss per image, p = softmax(logits), y = true class | label smoothing |
|---|---|---|
| `cross_entropy` | −log p_y | yes |
| `focal` | −(1 − p_y)^γ log p_y | no |
| `class_balanced` | w_y times cross-entropy | yes |
| `class_balanced_focal` | w_y times focal | no |
| `balanced_softmax` | cross-entropy of softmax(logits + τ log n) | yes |

w are the effective-number weights, n the images per class in the training split. Focal loss takes
no label smoothing: it depends on the true class only, and its factor already limits the confidence
of the network.

Cui et al. use the focal loss over one sigmoid per class. The softmax form is used here, so that the
probabilities of a network sum to 1 after every loss.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

register = keras.saving.register_keras_serializable(package="alloyk")


def effective_number_weights(class_counts: Sequence[int], beta: float) -> np.ndarray:
    """Weight classes by the inverse of their effective number of samples, (1 − βⁿ) / (1 − β).

    Args:
        class_counts: Images per class, `(num_classes,)`.
        beta: 0 <= beta < 1. With 0 all classes have the same weight; near 1 it is 1 / n.

    Returns:
        Weights `(num_classes,)`, float64, with the sum `num_classes`.

    Raises:
        ValueError: beta is out of range, or a class has no image.

    Reference: [Cui et al., 2019](https://arxiv.org/abs/1901.05555).

    Example:
        >>> effective_number_weights([100, 100], beta=0.9999).tolist()
        [1.0, 1.0]
    """
    if not 0 <= beta < 1:
        raise ValueError(f"`beta` must be >= 0 and < 1, got {beta}")
    counts = _check_counts(class_counts)
    # expm1 keeps the digits that 1 − βⁿ loses where βⁿ is close to 1.
    effective = np.ones_like(counts) if beta == 0 else -np.expm1(counts * np.log(beta))
    return len(counts) / effective / np.sum(1 / effective)


@register
class SparseCrossEntropyLoss(keras.losses.Loss):
    """Cross-entropy `-log(p)`, p = true-class probability, with smoothing and class weights.

    Args:
        label_smoothing: Share s of the target that is spread evenly over all classes; the loss is
            `-(1 - s) * log(p) - s * mean(log(p of every class))`.
        class_weights: Factor per true class, `(num_classes,)`, or None. The batch mean divides by
            the number of images, not by the sum of the weights.

    Shapes: y_true `(batch,)` int; y_pred `(batch, num_classes)` logits.
    Raises: ValueError if label_smoothing is not in [0, 1).
    """

    def __init__(
        self,
        label_smoothing: float,
        class_weights: Sequence[float] | np.ndarray | None = None,
        name: str = "sparse_cross_entropy",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"`label_smoothing` must be >= 0 and < 1, got {label_smoothing}")
        self.label_smoothing = label_smoothing
        self.class_weights = _as_floats(class_weights)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each image, `(batch,)`."""
        labels, log_p = _true_class(y_true, log_all := ops.log_softmax(y_pred))
        loss = -log_p
        if self.label_smoothing:
            uniform = -ops.mean(log_all, axis=-1)
            loss = (1 - self.label_smoothing) * loss + self.label_smoothing * uniform
        return _weigh(loss, labels, self.class_weights)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return super().get_config() | {
            "label_smoothing": self.label_smoothing,
            "class_weights": self.class_weights,
        }


@register
class SparseFocalLoss(keras.losses.Loss):
    """Focal loss `-(1 - p) ** gamma * log(p)`, p = true-class probability.

    Args:
        gamma: Float >= 0. Focusing parameter; 0 gives cross-entropy.
        class_weights: Factor per true class, `(num_classes,)`, or None.

    Shapes: y_true `(batch,)` int; y_pred `(batch, num_classes)` logits.
    Raises: ValueError if `gamma` is negative.
    Reference: [Lin et al., 2017](https://arxiv.org/abs/1708.02002).
    """

    def __init__(
        self,
        gamma: float,
        class_weights: Sequence[float] | np.ndarray | None = None,
        name: str = "sparse_focal",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if gamma < 0:
            raise ValueError(f"`gamma` must be >= 0, got {gamma}")
        self.gamma = gamma
        self.class_weights = _as_floats(class_weights)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each image, `(batch,)`."""
        labels, log_p = _true_class(y_true, ops.log_softmax(y_pred))
        # Floored: the power has an infinite slope at 0 when gamma < 1.
        miss = ops.maximum(-ops.expm1(log_p), keras.config.epsilon())
        return _weigh(-(miss**self.gamma) * log_p, labels, self.class_weights)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return super().get_config() | {"gamma": self.gamma, "class_weights": self.class_weights}


@register
class BalancedSoftmaxLoss(SparseCrossEntropyLoss):
    """Cross-entropy of `softmax(logits + tau log(class_counts))`.

    With tau = 1 the network learns logits as if all classes were equally frequent. In evaluation,
    without the added logarithms, they favour no class; a larger tau favours the rare ones, as in
    the logit-adjusted loss of Menon et al. Label smoothing acts on the shifted softmax.

    Args:
        class_counts: Images per class in the training split, `(num_classes,)`, all positive.
        label_smoothing: As in `SparseCrossEntropyLoss`.
        tau: Strength of the shift, 0 (plain cross-entropy) or more. Files of earlier versions have
            none and mean 1.

    Shapes: y_true `(batch,)` int; y_pred `(batch, num_classes)` logits.
    Raises: ValueError if a class has no image.
    References: [Ren et al., 2020](https://arxiv.org/abs/2007.10740),
    [Menon et al., 2021](https://arxiv.org/abs/2007.07314).
    """

    def __init__(
        self,
        class_counts: Sequence[int],
        label_smoothing: float,
        tau: float = 1.0,
        name: str = "balanced_softmax",
        **kwargs: Any,
    ) -> None:
        super().__init__(label_smoothing, name=name, **kwargs)
        self.class_counts = _check_counts(class_counts).astype(int).tolist()
        self.tau = tau

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each image, `(batch,)`."""
        shift = self.tau * np.log(self.class_counts, dtype="float32")
        return super().call(y_true, y_pred + shift)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        config = super().get_config() | {"class_counts": self.class_counts, "tau": self.tau}
        del config["class_weights"]
        return config


def _cross_entropy(class_counts: Sequence[int], *, label_smoothing: float) -> keras.losses.Loss:
    return SparseCrossEntropyLoss(label_smoothing)


def _focal(class_counts: Sequence[int], *, gamma: float) -> keras.losses.Loss:
    return SparseFocalLoss(gamma)


def _class_balanced(
    class_counts: Sequence[int], *, beta: float, label_smoothing: float
) -> keras.losses.Loss:
    return SparseCrossEntropyLoss(label_smoothing, effective_number_weights(class_counts, beta))


def _class_balanced_focal(
    class_counts: Sequence[int], *, beta: float, gamma: float
) -> keras.losses.Loss:
    return SparseFocalLoss(gamma, effective_number_weights(class_counts, beta))


def _balanced_softmax(
    class_counts: Sequence[int], *, tau: float, label_smoothing: float
) -> keras.losses.Loss:
    return BalancedSoftmaxLoss(class_counts, label_smoothing, tau)


LOSSES: dict[str, Callable[..., keras.losses.Loss]] = {
    "cross_entropy": _cross_entropy,
    "focal": _focal,
    "class_balanced": _class_balanced,
    "class_balanced_focal": _class_balanced_focal,
    "balanced_softmax": _balanced_softmax,
}


def build_loss(name: str, *, class_counts: Sequence[int], **options: float) -> keras.losses.Loss:
    """Build a loss by name.

    Args:
        name: Key of `LOSSES`.
        class_counts: Images per class in the training split.
        **options: All options of the loss, out of `gamma`, `beta`, `tau` and `label_smoothing`;
            their defaults are in `alloyk.config.choices`.

    Returns:
        Loss over `(batch,)` integer labels and `(batch, num_classes)` logits.

    Raises:
        ValueError: Unknown name, or a value out of its range.
        TypeError: An option is missing, or one that the loss does not have.

    Example:
        >>> build_loss("focal", class_counts=[30, 30], gamma=1.0).gamma
        1.0
    """
    if name not in LOSSES:
        raise ValueError(f"`name` must be one of {', '.join(LOSSES)}, got {name!r}")
    return LOSSES[name](class_counts, **options)


def _true_class(y_true: Any, log_p: Any) -> tuple[Any, Any]:
    """Return labels `(batch,)` and the log-probability of each label, `(batch,)`."""
    labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
    return labels, ops.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]


def _weigh(loss: Any, labels: Any, class_weights: Sequence[float] | None) -> Any:
    if class_weights is None:
        return loss
    return loss * ops.take(ops.convert_to_tensor(class_weights, loss.dtype), labels)


def _as_floats(weights: Sequence[float] | np.ndarray | None) -> list[float] | None:
    return None if weights is None else [float(weight) for weight in weights]


def _check_counts(class_counts: Sequence[int]) -> np.ndarray:
    counts = np.asarray(class_counts, "float64")
    if counts.ndim != 1 or len(counts) < 2 or not np.all(counts >= 1):
        raise ValueError(
            "`class_counts` must have at least one training image of each of two or more classes, "
            f"got {list(class_counts)}"
        )
    return counts
