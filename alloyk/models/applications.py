"""Backbones of Keras Applications with a configurable activation, stem, initialiser and so on.

Keras Applications does not expose these settings, so each network is built as published and then
cloned layer by layer with changed settings; the graph is unchanged.
"""

from functools import partial

import keras

from alloyk.errors import AlloykError
from alloyk.models.seeds import SeedStream

APPLICATIONS = {
    "resnet50": keras.applications.ResNet50,
    "vgg16": keras.applications.VGG16,
    "vgg19": keras.applications.VGG19,
    "efficientnetb0": keras.applications.EfficientNetB0,
}
MIN_SIDE = 32  # Keras Applications refuses smaller images.
_PUBLISHED_DROP_RATE = 0.2  # EfficientNet's stochastic depth at its last block.


def build_application(
    image_shape: tuple[int, int, int],
    *,
    name: str,
    activation: str,
    seeds: SeedStream,
    kernel_initializer: str | None = "he_normal",
    batch_norm_momentum: float | None = None,
    stochastic_depth: float = _PUBLISHED_DROP_RATE,
    stem_stride: int = 2,
    zero_init_residual: bool = False,
) -> keras.Model:
    """Build a backbone of Keras Applications with random weights and chosen settings.

    EfficientNet's own rescaling and normalisation layers are omitted: the image is already
    normalised, by `alloyk.preprocessing` or from the input layers of a pretrained model.

    Args:
        image_shape: `(H, W, 3)`, each side at least 32.
        name: Key of `APPLICATIONS`.
        activation: Name of the Keras activation, in place of the published one.
        seeds: Source of the seeds of initialisers and dropouts.
        kernel_initializer: Name of a Keras initialiser for every kernel; None keeps the published
            one. VGG has no batch norm and stays at chance with Keras' Glorot-uniform.
        batch_norm_momentum: None keeps Keras' 0.99.
        stochastic_depth: Probability of skipping the last residual block (EfficientNet).
        stem_stride: Stride of the first convolution, 1 or 2 (ResNet-50, EfficientNet).
        zero_init_residual: Start residual blocks as identities, see `build_model`.

    Returns:
        Model from the image to a feature map.

    Raises:
        AlloykError: The image is too small.
    """
    height, width, _ = image_shape
    if min(height, width) < MIN_SIDE:
        raise AlloykError(
            f"{name} needs images of at least {MIN_SIDE}×{MIN_SIDE} pixels, got "
            f"{height}×{width}; increase preprocess.image_size or choose resnet18"
        )
    # EfficientNet's padding depends on the size of each feature map. The network is therefore built
    # at the input size that gives the same maps after the published stem as after the chosen one.
    scale = 2 // stem_stride
    published = APPLICATIONS[name](
        include_top=False, weights=None, input_shape=(scale * height, scale * width, 3)
    )

    def rewire(layer):
        config = layer.get_config()
        if config.get("activation") in ("relu", "silu"):
            config["activation"] = activation
        for key in ("kernel_initializer", "depthwise_initializer"):
            if config.get(key) is not None:
                config[key] = seeds.initializer(kernel_initializer or config[key])
        if isinstance(layer, keras.layers.BatchNormalization) and batch_norm_momentum is not None:
            config["momentum"] = batch_norm_momentum
        if zero_init_residual and _ends_residual_block(layer.name, published):
            config["gamma_initializer"] = "zeros"
        if isinstance(layer, keras.layers.Dropout):
            config["rate"] *= stochastic_depth / _PUBLISHED_DROP_RATE
            config["seed"] = seeds()
        if layer.name in ("conv1_conv", "stem_conv"):
            config["strides"] = stem_stride
        if layer.name == "stem_conv_pad" and stem_stride == 1:
            config["padding"] = 1
        return type(layer).from_config(config)

    def call(layer, *args, **kwargs):
        if isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization):
            return args[0]
        return layer(*args, **kwargs)

    inputs = keras.Input(image_shape)
    clone = keras.models.clone_model(
        published, input_tensors=inputs, clone_function=rewire, call_function=call
    )
    return keras.Model(inputs, clone.output, name="backbone")


def _ends_residual_block(name: str, published: keras.Model) -> bool:
    """Whether a layer is the last batch norm before the sum with the shortcut."""
    block, found, _ = name.rpartition("_project_bn")  # EfficientNet; not every block has a shortcut
    if found:
        return any(layer.name == f"{block}_add" for layer in published.layers)
    return name.endswith("_3_bn")  # ResNet-50


build_resnet50 = partial(build_application, name="resnet50")
build_vgg16 = partial(build_application, name="vgg16")
build_vgg19 = partial(build_application, name="vgg19")
build_efficientnetb0 = partial(build_application, name="efficientnetb0", kernel_initializer=None)
