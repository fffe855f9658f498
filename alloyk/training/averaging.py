"""Validate and save an exponential moving average of the weights."""

from typing import Any

import keras

from alloyk.training.optimizers import without_loss_scaling


class AveragedWeights(keras.callbacks.Callback):
    """Give the model the averaged weights from validation until the epoch's weights are saved.

    The optimizer keeps the average (`use_ema`), so that a checkpoint has it. Listed before the
    callbacks that save the weights of the best epoch; `Restored`, listed after them, takes back
    the weights that training continues with.

    Reference: [Polyak and Juditsky, 1992](https://doi.org/10.1137/0330046).
    """

    def __init__(self) -> None:
        super().__init__()
        self._trained: list[Any] | None = None
        self.restored = Restored(self)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        optimizer = without_loss_scaling(self.model.optimizer)
        averages = optimizer._model_variables_moving_average  # as Keras' SwapEMAWeights
        variables = self.model.trainable_variables
        self._trained = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
        for variable, average in zip(variables, averages, strict=True):
            variable.assign(average)

    def put_back(self) -> None:
        """Give the model the weights that training continues with."""
        if self._trained is None:
            return
        for variable, array in zip(self.model.trainable_variables, self._trained, strict=True):
            variable.assign(array)
        self._trained = None


class Restored(keras.callbacks.Callback):
    """Put the trained weights back at the end of an epoch, see `AveragedWeights`."""

    def __init__(self, averaged: AveragedWeights) -> None:
        super().__init__()
        self.averaged = averaged

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.averaged.put_back()
