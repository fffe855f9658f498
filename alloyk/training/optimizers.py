"""The study's optimizers, each with decoupled weight decay and gradient clipping."""

from typing import NamedTuple

import keras

from alloyk.training import fused_optimizers


class Optimizer(NamedTuple):
    """What `build_optimizer` knows about a name.

    Attributes:
        build: The class, of `alloyk.training.fused_optimizers`.
        options: Names of its options; their defaults are in `alloyk.config.choices`.
    """

    build: type[keras.optimizers.Optimizer]
    options: tuple[str, ...]


_ADAM = ("beta_1", "beta_2", "epsilon")

OPTIMIZERS = {
    "adam": Optimizer(fused_optimizers.Adam, _ADAM),
    "adamw": Optimizer(fused_optimizers.AdamW, _ADAM),
    "sgd": Optimizer(fused_optimizers.SGD, ()),
    "momentum": Optimizer(fused_optimizers.SGD, ("momentum", "nesterov")),
    "rmsprop": Optimizer(fused_optimizers.RMSprop, ("rho", "momentum", "epsilon")),
}
# Variables of batch norm, every bias, and the learned weights of tasks. Anchored, because a layer
# may be called beta.
NOT_DECAYED = (r"(^|/)(bias|gamma|beta|log_variances)(:\d+)?$",)


def without_loss_scaling(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer around which Keras scales the loss in mixed precision, otherwise itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def build_optimizer(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    *,
    weight_decay: float,
    clip_norm: float | None,
    decay_norms_and_biases: bool = False,
    average_weights: float | None = None,
    **options: float,
) -> keras.optimizers.Optimizer:
    """Build an optimizer by name.

    Weight decay is decoupled (Loshchilov and Hutter, 2019) for all of them: each step first
    subtracts `learning_rate * weight_decay * w` from a weight and then applies the gradient's step,
    whose moments do not include the decay. So adam with weight decay is adamw. PyTorch adds
    `weight_decay` of SGD, Adam and RMSprop to the gradient instead: the same with plain SGD, not
    with the others.

    Args:
        name: Key of `OPTIMIZERS`; `momentum` is SGD with momentum.
        learning_rate: A number, or a schedule.
        weight_decay: 0 or more.
        clip_norm: Gradients are scaled so that their global norm is at most this; None: not.
        decay_norms_and_biases: Also decay biases and the scale and offset of batch norm. Keras
            does not store this choice with a saved optimizer: build it again, then load its state.
        average_weights: Momentum of an exponential moving average of the weights, which the
            optimizer keeps beside them; None: none is kept.
        **options: All options of the optimizer: `beta_1` and `beta_2`, the decay of the first and
            second moment; `epsilon`, inside the square root for rmsprop, for adam and adamw the ε̂
            of Kingma and Ba (2015), added before the bias correction (PyTorch: after); `momentum`;
            `nesterov`; `rho`, the share of the old mean square kept at each step.

    Returns:
        A Keras optimizer.

    Raises:
        ValueError: Unknown name, an option that is missing or that the optimizer does not have, a
            negative decay or norm.

    Example:
        >>> optimizer = build_optimizer(
        ...     "momentum", 0.01, weight_decay=1e-4, clip_norm=None, momentum=0.9, nesterov=False
        ... )
        >>> optimizer.momentum
        0.9
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"`name` must be one of {', '.join(OPTIMIZERS)}, got {name!r}")
    if weight_decay < 0:
        raise ValueError(f"`weight_decay` must be >= 0, got {weight_decay}")
    if clip_norm is not None and clip_norm <= 0:
        raise ValueError(f"`clip_norm` must be positive, got {clip_norm}")
    build, names = OPTIMIZERS[name]
    if set(options) != set(names):
        found = ", ".join(options) or "none"
        raise ValueError(f"the options of {name} must be {', '.join(names) or 'none'}, got {found}")
    averaging = (
        {} if average_weights is None else {"use_ema": True, "ema_momentum": average_weights}
    )
    optimizer = build(
        learning_rate, weight_decay=weight_decay, global_clipnorm=clip_norm, **averaging, **options
    )
    if not decay_norms_and_biases:
        optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return optimizer
