"""ResNet with basic blocks; structure and names are torchvision's, so its weight files fit."""

from collections.abc import Callable, Sequence
from functools import partial

import keras
from keras import layers

from alloyk.models.seeds import SeedStream


def _convolution(x, filters, size, stride, *, initializer, name):
    # A strided convolution is padded explicitly on all sides. "same" would pad an even image at the
    # bottom and right only, half a step away from what torchvision's weights expect.
    if explicit := size > 1 and stride > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    return layers.Conv2D(
        filters,
        size,
        stride,
        padding="valid" if explicit else "same",
        use_bias=False,
        kernel_initializer=initializer(),
        name=name,
    )(x)


def basic_block(
    x, filters: int, stride: int, *, convolve, norm, last_norm, activate, drop_path, name: str
):
    """Two 3×3 convolutions and a shortcut, a 1×1 convolution if the shapes differ."""
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = convolve(x, filters, 1, stride, name=f"{name}.downsample.0")
        shortcut = norm(name=f"{name}.downsample.1")(shortcut)
    x = convolve(x, filters, 3, stride, name=f"{name}.conv1")
    x = norm(name=f"{name}.bn1")(x)
    x = activate(name=f"{name}.activation1")(x)
    x = convolve(x, filters, 3, 1, name=f"{name}.conv2")
    x = last_norm(name=f"{name}.bn2")(x)
    x = layers.Add(name=f"{name}.add")([drop_path(x), shortcut])
    return activate(name=f"{name}.activation2")(x)


def build_resnet(
    image_shape: tuple[int, int, int],
    *,
    block: Callable,
    stage_blocks: Sequence[int],
    activation: str,
    seeds: SeedStream,
    kernel_initializer: str = "he_normal",
    batch_norm_momentum: float = 0.9,
    stochastic_depth: float = 0.0,
    stem_stride: int = 2,
    zero_init_residual: bool = False,
) -> keras.Model:
    """Residual backbone: 7×7 stem, 3×3 max pooling, one stage of blocks per entry.

    Args:
        image_shape: `(H, W, C)`.
        block: Function with the signature of `basic_block`.
        stage_blocks: Blocks per stage; stage i has 64 · 2ⁱ filters.
        activation: Name of a Keras activation.
        seeds: Source of the seeds of initialisers and dropouts.
        kernel_initializer: Name of a Keras initialiser.
        batch_norm_momentum: Fraction of the moving average kept at each step;
            torchvision's 0.1 is 0.9 in this convention.
        stochastic_depth: Probability of skipping the last block in training; lower for earlier
            blocks, in proportion to their position (Huang et al., 2016).
        stem_stride: Stride of the first convolution: 2, or 1 for small images.
        zero_init_residual: Start blocks as identities, see `build_model`.

    Returns:
        Model from `(H, W, C)` to a feature map `(H/32, W/32, 64 · 2ⁿ⁻¹)`, rounded up.

    Reference: [He et al., 2015](https://arxiv.org/abs/1512.03385).
    """
    convolve = partial(_convolution, initializer=partial(seeds.initializer, kernel_initializer))
    norm = partial(layers.BatchNormalization, momentum=batch_norm_momentum, epsilon=1e-5)
    last_norm = partial(norm, gamma_initializer="zeros") if zero_init_residual else norm
    activate = partial(layers.Activation, activation)

    inputs = x = keras.Input(image_shape)
    x = convolve(x, 64, 7, stem_stride, name="conv1")
    x = norm(name="bn1")(x)
    x = activate(name="activation1")(x)
    x = layers.ZeroPadding2D(1, name="maxpool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)
    done = 0
    for stage, blocks in enumerate(stage_blocks):
        for index in range(blocks):
            done += 1
            name = f"layer{stage + 1}.{index}"
            drop_path = layers.Dropout(
                stochastic_depth * done / sum(stage_blocks),
                noise_shape=(None, 1, 1, 1),
                seed=seeds(),
                name=f"{name}.drop_path",
            )
            x = block(
                x,
                64 * 2**stage,
                2 if stage and not index else 1,
                convolve=convolve,
                norm=norm,
                last_norm=last_norm,
                activate=activate,
                drop_path=drop_path if stochastic_depth else lambda x: x,
                name=name,
            )
    return keras.Model(inputs, x, name="backbone")


build_resnet18 = partial(build_resnet, block=basic_block, stage_blocks=(2, 2, 2, 2))
build_resnet34 = partial(build_resnet, block=basic_block, stage_blocks=(3, 4, 6, 3))
