"""Losses: of the class in `classification`, of several tasks together in `multitask`."""

from alloyk.training.losses.classification import (
    LOSSES,
    BalancedSoftmaxLoss,
    SparseCrossEntropyLoss,
    SparseFocalLoss,
    build_loss,
)

__all__ = [
    "LOSSES",
    "BalancedSoftmaxLoss",
    "SparseCrossEntropyLoss",
    "SparseFocalLoss",
    "build_loss",
]
