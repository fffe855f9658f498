"""The part of a simulated set-up that the samples of a data set show."""

from collections.abc import Mapping
from typing import Any

from alloyk.errors import ConfigError
from alloyk.simulator.settings.overrides import with_overrides
from alloyk.simulator.settings.parameters import Parameters

VOLTAGE = "tube_voltage_kvp"
"""Column of a simulated data set that distinguishes the channels."""


def parameters_as_used(parameters: Parameters, channels: Mapping[str, Any] | None) -> Parameters:
    """The parameters of the samples that a run takes of a simulated data set.

    Args:
        parameters: Parameters of the data set.
        channels: `column` and `values` of `data.channels`; None or empty if each image is a sample.

    Raises:
        ConfigError: The samples are not those of one set-up: they are single images at different
            voltages, or their channels differ in another column than the voltage.
    """
    simulated = parameters.tube.channels_kvp or ()
    if not channels:
        if len(simulated) > 1:
            raise ConfigError(
                "the images of the set-up must have one voltage, got "
                f"{', '.join(f'{kvp:g}' for kvp in simulated)} kV as single images; set "
                "data.channels"
            )
        return parameters
    try:
        values = [float(str(value).replace(",", ".")) for value in channels["values"]]
    except ValueError:
        values = []
    if channels["column"] != VOLTAGE or not values or set(values) - set(simulated):
        raise ConfigError(
            f"data.channels must be voltages of tube.channels_kvp by the column {VOLTAGE}, got "
            f"{channels['column']} {', '.join(map(str, channels['values']))}"
        )
    return with_overrides(parameters, {"tube.channels_kvp": values})


def unused_steps(parameters: Parameters, images_per_plate: int) -> tuple[float, ...]:
    """The stepped voltages, in kV, that no image takes: plates have fewer images than steps."""
    return tuple((parameters.tube.voltage_steps_kvp or ())[images_per_plate:])


def steps_as_taken(parameters: Parameters, images_per_plate: int) -> Parameters:
    """The parameters with a stepped voltage for each image of a plate; the same without steps.

    Plates with fewer images than steps never take the last ones, and those with more take the
    first ones more often.

    Args:
        parameters: Parameters of the data set.
        images_per_plate: Number of images of each plate.
    """
    steps = parameters.tube.voltage_steps_kvp
    if not steps or images_per_plate % len(steps) == 0:
        return parameters
    taken = [steps[nth % len(steps)] for nth in range(images_per_plate)]
    return with_overrides(parameters, {"tube.voltage_steps_kvp": taken})
