"""The two small architectures: a dense network and a plain convolutional one."""

import keras

from alloyk.models.seeds import SeedStream


def build_fnn(
    image_shape: tuple[int, int, int],
    *,
    activation: str,
    seeds: SeedStream,
    depth: int = 2,
    width: int = 512,
    kernel_initializer: str = "he_normal",
) -> keras.Model:
    """Dense network: the flattened `(H, W, C)` image and `depth` dense layers of `width`."""
    inputs = x = keras.Input(image_shape)
    x = keras.layers.Flatten(name="flatten")(x)
    for number in range(1, depth + 1):
        x = keras.layers.Dense(
            width, kernel_initializer=seeds.initializer(kernel_initializer), name=f"dense{number}"
        )(x)
        x = keras.layers.Activation(activation, name=f"dense{number}_activation")(x)
    return keras.Model(inputs, x, name="backbone")


def build_cnn(
    image_shape: tuple[int, int, int],
    *,
    activation: str,
    seeds: SeedStream,
    depth: int = 4,
    width: int = 32,
    kernel_size: int = 3,
    kernel_initializer: str = "he_normal",
    batch_norm_momentum: float = 0.9,
) -> keras.Model:
    """Small convolutional network: convolution, batch norm and 2×2 max pooling in each stage.

    The first of `depth` stages has `width` filters, each further one twice as many.
    """
    inputs = x = keras.Input(image_shape)
    for number in range(1, depth + 1):
        name = f"stage{number}"
        x = keras.layers.Conv2D(
            width * 2 ** (number - 1),
            kernel_size,
            padding="same",
            use_bias=False,
            kernel_initializer=seeds.initializer(kernel_initializer),
            name=f"{name}_conv",
        )(x)
        x = keras.layers.BatchNormalization(momentum=batch_norm_momentum, name=f"{name}_bn")(x)
        x = keras.layers.Activation(activation, name=f"{name}_activation")(x)
        x = keras.layers.MaxPooling2D(padding="same", name=f"{name}_pool")(x)
    return keras.Model(inputs, x, name="backbone")
