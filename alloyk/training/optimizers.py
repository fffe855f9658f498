"""The study's optimizers, each with decoupled weight decay and gradient clipping."""

from typing import NamedTuple

import keras


class Optimizer(NamedTuple):
    """What `build_optimizer` knows about a name.

    Attributes:
        build: Keras' class.
        options: What it takes, with the values that None stands for.
    """

    build: type[keras.optimizers.Optimizer]
    options: dict[str, float | bool]


_ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}

OPTIMIZERS = {
    "adam": Optimizer(keras.optimizers.Adam, _ADAM),
    "adamw": Optimizer(keras.optimizers.AdamW, _ADAM),
    "sgd": Optimizer(keras.optimizers.SGD, {}),
    "momentum": Optimizer(keras.optimizers.SGD, {"momentum": 0.9, "nesterov": False}),
    "rmsprop": Optimizer(
        keras.optimizers.RMSprop, {"rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False}
    ),
}
# Variables of batch norm, every bias, and the learned weights of tasks; anchored, for a layer may
# be called beta itself.
NOT_DECAYED = (r"(^|/)(bias|gamma|beta|log_variances)(:\d+)?$",)


def build_optimizer(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    *,
    weight_decay: float = 0.0,
    decay_norms_and_biases: bool = False,
    clip_norm: float | None = None,
    momentum: float | None = None,
    nesterov: bool | None = None,
    rho: float | None = None,
    centered: bool | None = None,
    beta_1: float | None = None,
    beta_2: float | None = None,
    epsilon: float | None = None,
) -> keras.optimizers.Optimizer:
    """Build an optimizer by name.

    Weight decay is decoupled (Loshchilov and Hutter, 2019) for all of them: each step first takes
    `learning_rate * weight_decay * w` off a weight and then applies the gradient's step, whose
    moments know nothing of the decay. So adam with weight decay is adamw. PyTorch's `weight_decay`
    of SGD, Adam and RMSprop is added to the gradient instead: with plain SGD that is the same,
    with the others it is not.

    Args:
        name: Key of `OPTIMIZERS`; `momentum` is SGD with momentum.
        learning_rate: A number, or a schedule.
        weight_decay: 0 or more.
        decay_norms_and_biases: Also decay biases and the scale and offset of batch norm. Keras
            does not store this choice with a saved optimizer: build anew, then load its state.
        clip_norm: Gradients are scaled together so that their global norm is at most this.
        momentum: For momentum (None: 0.9) and rmsprop (None: 0).
        nesterov: For momentum (None: False).
        rho: Share of the old mean square kept at each step, for rmsprop (None: 0.9).
        centered: Subtract the squared mean gradient, for rmsprop (None: False).
        beta_1: Decay of the first moment, for adam and adamw (None: 0.9).
        beta_2: Decay of the second moment, for adam and adamw (None: 0.999).
        epsilon: None takes 1e-7. For rmsprop it is inside the square root; for adam and adamw it
            is the ε̂ of Kingma and Ba (2015), added before the bias correction (PyTorch: after).

    Returns:
        A Keras optimizer.

    Raises:
        ValueError: Unknown name, an option the optimizer does not have, a negative decay or norm.

    Example:
        >>> optimizer = build_optimizer("momentum", 0.01, weight_decay=1e-4)
        >>> optimizer.momentum
        0.9
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"Wanted one of {', '.join(OPTIMIZERS)}. Received: name={name!r}")
    if weight_decay < 0:
        raise ValueError(f"Wanted 0 or more. Received: weight_decay={weight_decay}")
    if clip_norm is not None and clip_norm <= 0:
        raise ValueError(f"Wanted a positive number. Received: clip_norm={clip_norm}")
    given = {
        "momentum": momentum,
        "nesterov": nesterov,
        "rho": rho,
        "centered": centered,
        "beta_1": beta_1,
        "beta_2": beta_2,
        "epsilon": epsilon,
    }
    given = {key: value for key, value in given.items() if value is not None}
    build, options = OPTIMIZERS[name]
    if unknown := given.keys() - options:
        raise ValueError(
            f"{name} takes {', '.join(options) or 'no option'}. Received: {sorted(unknown)[0]}"
        )
    optimizer = build(
        learning_rate, weight_decay=weight_decay, global_clipnorm=clip_norm, **options | given
    )
    if not decay_norms_and_biases:
        optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return optimizer
