"""The architectures: one builder, with random or pretrained weights."""

from alloyk.models.classifier import (
    ARCHITECTURES,
    build_model,
    feature_layer,
    set_backbone_trainable,
)
from alloyk.models.weights import expects_unit_range

__all__ = [
    "ARCHITECTURES",
    "build_model",
    "expects_unit_range",
    "feature_layer",
    "set_backbone_trainable",
]
