"""One builder for all architectures: backbone, classification head, one more head per target."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import keras

from alloyk.errors import AlloykError
from alloyk.models.applications import (
    APPLICATIONS,
    build_efficientnetb0,
    build_resnet50,
    build_vgg16,
    build_vgg19,
)
from alloyk.models.estimate import estimate_head
from alloyk.models.plain import build_cnn, build_fnn
from alloyk.models.resnet import build_resnet18, build_resnet34
from alloyk.models.seeds import SeedStream
from alloyk.models.weights import check_weights, expects_unit_range, is_imagenet, load_weights
from alloyk.targets import LOGITS, Target

ACTIVATIONS = {
    "relu": "relu",
    "leakyrelu": "leaky_relu",
    "gelu": "gelu",
    "swish": "silu",
    "silu": "silu",
}


class Architecture(NamedTuple):
    """How `build_model` builds an architecture.

    Attributes:
        build: Builds the backbone.
        activation: The study's activation, for training from scratch.
        pretrained_activation: The activation of the published weights; None if there are none.
        imagenet_input: Standardisation that published weights expect, see `_imagenet_input`.
        options: Backbone options that apply.
    """

    build: Callable[..., keras.Model]
    activation: str
    pretrained_activation: str | None = None
    imagenet_input: Literal["torch", "caffe"] | None = None
    options: frozenset[str] = frozenset()


_BATCH_NORM = frozenset({"batch_norm_momentum"})
_SIZE = frozenset({"depth", "width"})
_RESIDUAL = _BATCH_NORM | {"stem_stride", "zero_init_residual"}
_SKIPPABLE = _RESIDUAL | {"stochastic_depth"}

ARCHITECTURES = {
    "fnn": Architecture(build_fnn, "relu", options=_SIZE),
    "cnn": Architecture(build_cnn, "relu", options=_BATCH_NORM | _SIZE | {"kernel_size"}),
    "resnet18": Architecture(build_resnet18, "relu", "relu", "torch", _SKIPPABLE),
    "resnet34": Architecture(build_resnet34, "leaky_relu", "relu", "torch", _SKIPPABLE),
    "resnet50": Architecture(build_resnet50, "gelu", "relu", "caffe", _RESIDUAL),
    "vgg16": Architecture(build_vgg16, "relu", "relu", "caffe"),
    "vgg19": Architecture(build_vgg19, "relu", "relu", "caffe"),
    # Keras' own rescaling layers are equivalent to torchvision's standardisation.
    "efficientnetb0": Architecture(build_efficientnetb0, "silu", "silu", "torch", _SKIPPABLE),
}


def build_model(
    name: str,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    activation: str | None = None,
    weights: str | Path | None = None,
    hidden_units: int = 512,
    dropout: float = 0.3,
    seed: int | None = None,
    imagenet_input: bool | None = None,
    kernel_initializer: str | None = None,
    batch_norm_momentum: float | None = None,
    stochastic_depth: float | None = None,
    stem_stride: int | None = None,
    zero_init_residual: bool | None = None,
    depth: int | None = None,
    width: int | None = None,
    kernel_size: int | None = None,
    targets: Sequence[Target] = (),
) -> keras.Model:
    """Build a classifier: backbone, global average pooling, dense, activation, dropout, dense.

    Without ImageNet weights the input is a standardised image. With them it is an image in
    [0, 1]: the standardisation that the weights expect is then part of the model (see
    `expects_unit_range`). A one-channel image is repeated to three channels if the backbone needs
    three. With published weights three channels take the places of red, green and blue.

    Args:
        name: Key of `ARCHITECTURES`.
        image_shape: `(H, W, C)`; C 1 or 3 with published weights.
        num_classes: Number of classes, at least 2.
        activation: `relu`, `leaky_relu`, `gelu` or `swish`, in backbone and head. None takes the
            study's for random weights and the published one for ImageNet weights.
        weights: None for random weights; `imagenet` (downloaded, Keras Applications only); or a
            file, see `alloyk.models.weights`.
        hidden_units: Width of the head's dense layer; 0 omits dense, activation and dropout.
        dropout: Rate in the head.
        seed: Seed of the initial weights and dropout masks; None draws a random one.
        imagenet_input: Whether to include ImageNet's standardisation. None decides by `weights`;
            True rebuilds the graph of a pretrained model without loading weights.
        kernel_initializer: Keras initialiser of the backbone's kernels. None takes He-normal;
            EfficientNet's own for EfficientNet.
        batch_norm_momentum: Fraction of the moving average kept at each step. None takes 0.9
            for cnn, resnet18 and resnet34, and Keras' 0.99 for resnet50 and efficientnetb0.
        stochastic_depth: Probability of skipping the last residual block in training. None takes 0
            for resnet18 and resnet34 and the published 0.2 for efficientnetb0.
        stem_stride: Stride of the first convolution, 1 or 2 (None: 2).
        zero_init_residual: Start residual blocks as identities: γ of their last batch norm is 0
            (Goyal et al. 2017, section 5.1). None: False.
        depth: Number of dense layers of fnn (None: 2) or of stages of cnn (None: 4).
        width: Units per dense layer of fnn (None: 512), filters of the first stage of cnn
            (None: 32); each further stage has twice as many.
        kernel_size: Side of the kernels of cnn (None: 3).
        targets: Numbers to estimate as well, each by a separate head after the pooling.

    Returns:
        Functional model, `(batch, H, W, C)` float32 to `(batch, num_classes)` float32 logits. Its
        layer `backbone` is itself a model. With `targets` the output is a dictionary:
        `logits`, and for each column `(batch, 1)` float32 in the column's unit.

    Raises:
        AlloykError: The name or an option is unknown, or the weights do not fit or cannot be read.
        ValueError: A number is out of range.

    Example:
        >>> model = build_model("resnet18", (64, 64, 1), 6, seed=0)
        >>> model.output_shape
        (None, 6)
    """
    architecture = _architecture(name)
    _check_numbers(image_shape, num_classes, hidden_units, dropout, stem_stride)
    weights = None if weights == "none" else weights
    pretrained = is_imagenet(weights)
    activation = _choose_activation(name, architecture, activation, pretrained)
    options = _backbone_options(
        name,
        batch_norm_momentum=batch_norm_momentum,
        stochastic_depth=stochastic_depth,
        stem_stride=stem_stride,
        zero_init_residual=zero_init_residual,
        depth=depth,
        width=width,
        kernel_size=kernel_size,
    )
    if kernel_initializer is not None:
        options["kernel_initializer"] = kernel_initializer
    if imagenet_input is None:
        imagenet_input = expects_unit_range(weights)
    if pretrained or imagenet_input:
        _check_published(name, architecture, weights, image_shape, imagenet_input)
    if weights is not None:
        check_weights(name, weights)

    seeds = SeedStream(seed)
    inputs = x = keras.Input(image_shape, name="image", dtype="float32")
    if image_shape[-1] == 1 and (imagenet_input or name in APPLICATIONS):
        x = keras.layers.Concatenate(name="gray_to_rgb")([x, x, x])
    if imagenet_input:
        x = _imagenet_input(x, architecture.imagenet_input)
    backbone = architecture.build(tuple(x.shape[1:]), activation=activation, seeds=seeds, **options)
    x = backbone(x)
    if len(x.shape) == 4:
        x = keras.layers.Identity(name="features")(x)
        x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    outputs = logits = _classification_head(
        x, num_classes, hidden_units=hidden_units, activation=activation, dropout=dropout,
        seeds=seeds,
    )  # fmt: skip
    if targets:
        outputs = {LOGITS: logits}
        for target in targets:
            outputs[target.column] = estimate_head(
                x, target, hidden_units=hidden_units, activation=activation, seeds=seeds
            )
    model = keras.Model(inputs, outputs, name=name)
    if weights is not None:
        load_weights(model, weights)
    return model


def _check_published(
    name: str,
    architecture: Architecture,
    weights: str | Path | None,
    image_shape: tuple[int, int, int],
    imagenet_input: bool,
) -> None:
    """Raise AlloykError if a network, or images, cannot have published weights."""
    if architecture.imagenet_input is None:
        raise AlloykError(
            f"{name} has no published weights, got weights={weights}; use weights=none"
        )
    if imagenet_input and image_shape[-1] not in (1, 3):
        raise AlloykError(
            f"published weights take images of 1 or 3 channels, got {image_shape[-1]}; use "
            "weights=none"
        )


def _backbone_options(name: str, **options: float | None) -> dict[str, Any]:
    """Return the given options; raise if the architecture does not have one."""
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    if unknown := given.keys() - ARCHITECTURES[name].options:
        raise AlloykError(
            f"{name} has no {sorted(unknown)[0]}; omit it, or choose one of "
            + ", ".join(k for k, a in ARCHITECTURES.items() if unknown <= a.options)
        )
    return given


def _classification_head(
    x: Any,
    num_classes: int,
    *,
    hidden_units: int,
    activation: str,
    dropout: float,
    seeds: SeedStream,
) -> Any:
    """Logits from pooled features: dense, activation, dropout, dense."""
    if hidden_units:
        x = keras.layers.Dense(
            hidden_units, kernel_initializer=seeds.initializer("he_normal"), name="hidden"
        )(x)
        x = keras.layers.Activation(activation, name="hidden_activation")(x)
        x = keras.layers.Dropout(dropout, seed=seeds(), name="dropout")(x)
    return keras.layers.Dense(
        num_classes,
        kernel_initializer=seeds.initializer("glorot_uniform"),
        dtype="float32",  # Also under mixed precision: float16 logits overflow in the loss.
        name=LOGITS,
    )(x)


def set_backbone_trainable(model: keras.Model, trainable: bool) -> None:
    """Freeze or unfreeze the backbone; the model must be compiled again afterwards.

    Batch norm in a frozen backbone runs in inference mode and keeps its moving averages.

    Args:
        model: Result of `build_model`, or a model that contains one.
        trainable: False to train the head alone.
    """
    backbone = _find_layer(model, "backbone")
    if backbone is None:
        raise ValueError(f"model must be built by build_model, got {model.name}")
    backbone.trainable = trainable


def feature_layer(model: keras.Model) -> keras.layers.Layer:
    """Find the layer whose output is the last convolutional feature map, for Grad-CAM.

    Args:
        model: Result of `build_model`.

    Returns:
        Layer with output `(batch, h, w, filters)`, reachable from `model.inputs`.

    Raises:
        AlloykError: The architecture has no feature map (fnn).

    Example:
        >>> model = build_model("cnn", (32, 32, 1), 2)
        >>> keras.Model(model.inputs, [feature_layer(model).output, model.output]).output_shape
        [(None, 2, 2, 256), (None, 2)]
    """
    layer = _find_layer(model, "features")
    if layer is None:
        raise AlloykError(
            f"the model must be a convolutional network, got {model.name}; choose another "
            "architecture or method"
        )
    return layer


def _find_layer(model, name):
    for layer in model.layers:
        if layer.name == name:
            return layer
        if isinstance(layer, keras.Model) and (found := _find_layer(layer, name)) is not None:
            return found
    return None


def _imagenet_input(x, style):
    """Standardise an RGB image in [0, 1] as in the training of ImageNet weights of this style."""
    if style == "torch":  # (x − mean) / standard deviation, per channel
        mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        scale: float | list[float] = [1 / d for d in deviation]
        offset = [-m / d for m, d in zip(mean, deviation, strict=True)]
    else:  # caffe: 0…255 minus the mean, channels in the order blue, green, red
        x = keras.ops.flip(x, axis=-1)
        scale, offset = 255.0, [-103.939, -116.779, -123.68]
    # float32 also under mixed precision: half precision would round 16-bit radiographs.
    return keras.layers.Rescaling(scale, offset, dtype="float32", name="imagenet_input")(x)


def _architecture(name):
    if name not in ARCHITECTURES:
        raise AlloykError(
            f"the architecture must be one of {', '.join(ARCHITECTURES)}, got {name!r}"
        )
    return ARCHITECTURES[name]


def _choose_activation(name, architecture, activation, pretrained):
    published = architecture.pretrained_activation
    if activation is None:
        return published if pretrained and published else architecture.activation
    key = activation.lower().replace("_", "").replace("-", "")
    if key not in ACTIVATIONS:
        raise AlloykError(f"activation must be relu, leaky_relu, gelu or swish, got {activation!r}")
    if pretrained and published != ACTIVATIONS[key]:
        raise AlloykError(
            f"{name} with ImageNet weights must have activation {published}, got "
            f"{activation}; omit the activation or use weights=none"
        )
    return ACTIVATIONS[key]


def _check_numbers(image_shape, num_classes, hidden_units, dropout, stem_stride):
    if len(image_shape) != 3 or image_shape[-1] < 1:
        raise ValueError(f"image_shape must be (H, W, C) with C >= 1, got {image_shape}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be >= 2, got {num_classes}")
    if hidden_units < 0:
        raise ValueError(f"hidden_units must be >= 0, got {hidden_units}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be >= 0 and < 1, got {dropout}")
    if stem_stride not in (None, 1, 2):
        raise ValueError(f"stem_stride must be 1 or 2, got {stem_stride}")
