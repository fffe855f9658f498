"""The two small architectures: a dense network and a plain convolutional one."""

from collections.abc import Sequence

import keras

from alloyk.models.seeds import SeedStream


def build_fnn(
    image_shape: tuple[int, int, int],
    *,
    activation: str,
    seeds: SeedStream,
    layer_units: Sequence[int] = (512, 512),
    kernel_initializer: str = "he_normal",
) -> keras.Model:
    """Dense network: the flattened `(H, W, C)` image and one dense layer per entry of `units`."""
    inputs = x = keras.Input(image_shape)
    x = keras.layers.Flatten(name="flatten")(x)
    for number, units in enumerate(layer_units, 1):
        x = keras.layers.Dense(
            units, kernel_initializer=seeds.initializer(kernel_initializer), name=f"dense{number}"
        )(x)
        x = keras.layers.Activation(activation, name=f"dense{number}_activation")(x)
    return keras.Model(inputs, x, name="backbone")


def build_cnn(
    image_shape: tuple[int, int, int],
    *,
    activation: str,
    seeds: SeedStream,
    stage_filters: Sequence[int] = (32, 64, 128, 256),
    kernel_initializer: str = "he_normal",
    batch_norm_momentum: float = 0.9,
) -> keras.Model:
    """Small convolutional network: 3×3 convolution, batch norm and 2×2 max pooling per stage."""
    inputs = x = keras.Input(image_shape)
    for number, filters in enumerate(stage_filters, 1):
        name = f"stage{number}"
        x = keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer=seeds.initializer(kernel_initializer),
            name=f"{name}_conv",
        )(x)
        x = keras.layers.BatchNormalization(momentum=batch_norm_momentum, name=f"{name}_bn")(x)
        x = keras.layers.Activation(activation, name=f"{name}_activation")(x)
        x = keras.layers.MaxPooling2D(padding="same", name=f"{name}_pool")(x)
    return keras.Model(inputs, x, name="backbone")
