"""Commands that compute in double precision, to tell an error from rounding."""

from functools import partialmethod

from own_process import run_command


def run_in_float64(*arguments: object) -> None:
    """`alloyk ARGUMENTS` with networks, losses and optimizers in float64."""
    import keras

    set_policy = keras.config.set_dtype_policy
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy = lambda policy: set_policy("float64")
    # The last layer asks for float32, because others may compute in float16.
    keras.layers.Dense.__init__ = partialmethod(_init_in_float64, keras.layers.Dense.__init__)
    run_command(*arguments)


def _init_in_float64(layer, init, *arguments, **options):
    init(layer, *arguments, **{**options, "dtype": "float64"})
