"""The reference ceiling: the accuracy of an ideal classifier under the simulator's model.

The estimates of plates and the densities of the classes are those of `estimates`. The ideal
classifier chooses the class of highest posterior density and is tested on held-out plates.

All classes use one covariance, that at the true plate, as the likelihood of an image linearised
there requires. With a covariance per class, its size alone would reveal the class, whatever the
image shows.

It is a reference, not a theorem: see "Limitations" in `docs/ceiling.md`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from alloyk.errors import ConfigError
from alloyk.simulator.ceiling.estimates import BLOCKS, Block, arithmetic_errors, step_covariances
from alloyk.simulator.ceiling.fisher import Reduction
from alloyk.simulator.dataset import sampling
from alloyk.simulator.physics.beam import Beam
from alloyk.simulator.physics.scene import (
    Circumstances,
    draw_channel,
    draw_circumstances,
    nominal_exposures,
)
from alloyk.simulator.physics.validity import refuse_saturation, validity_notes
from alloyk.simulator.settings.parameters import Parameters

_NOW = 100  # random stream, apart from those of data sets and of `estimates`


@dataclass(frozen=True)
class Ceiling:
    """Accuracy of the ideal classifier.

    Attributes:
        classes: Labels.
        shares: Share of each class among the images.
        image_size: Pixels along each side.
        accuracy: Share of correctly classified images.
        error: Monte Carlo error of the accuracy, one standard deviation.
        confusion_matrix: Share of each true class (rows) predicted as each class, `(k, k)`.
        recall_error: Monte Carlo error of the recall of each class.
        thickness_rmse_mm: Root mean square error of the best estimate of a plate's true
            thickness, with unknown alloy.
        thickness_error_mm: Its Monte Carlo error.
        thickness_spread_mm: The same error of the nominal thickness, without an image.
        by_block: Accuracy in each block of draws, for paired comparisons.
    """

    classes: tuple[str, ...]
    shares: tuple[float, ...]
    image_size: int
    accuracy: float
    error: float
    confusion_matrix: tuple[tuple[float, ...], ...]
    recall_error: tuple[float, ...]
    thickness_rmse_mm: float
    thickness_error_mm: float
    thickness_spread_mm: float
    by_block: tuple[float, ...]

    @property
    def recall(self) -> dict[str, float]:
        """Label → recall."""
        return {c: self.confusion_matrix[i][i] for i, c in enumerate(self.classes)}

    def as_dict(self) -> dict[str, Any]:
        """For JSON, as in facts.json and metrics.json."""
        return {
            "accuracy": self.accuracy,
            "error": self.error,
            "classes": list(self.classes),
            "shares": list(self.shares),
            "image_size": self.image_size,
            "recall": self.recall,
            "recall_error": dict(zip(self.classes, self.recall_error, strict=True)),
            "confusion_matrix": [list(row) for row in self.confusion_matrix],
            "thickness_rmse_mm": self.thickness_rmse_mm,
            "thickness_error_mm": self.thickness_error_mm,
            "thickness_spread_mm": self.thickness_spread_mm,
        }


def reference_ceiling(
    parameters: Parameters,
    image_size: int = 224,
    *,
    shares: Mapping[str, float] | None = None,
    seed: int = 0,
    drawn_circumstances: bool = False,
) -> Ceiling:
    """The ceiling for single images of unseen plates, or samples with `tube.channels_kvp`.

    Args:
        parameters: Parameters of the simulator.
        image_size: Pixels along each side.
        shares: Label → share or number of images; equal by default.
        seed: Seed of all random numbers. A seed draws the same plates for any parameters, so
            that differences have smaller errors than the ceilings themselves.
        drawn_circumstances: Whether to linearise the model at circumstances drawn for each block
            instead of at their means.

    Raises:
        ConfigError: The beam cannot be computed, the image size is below 8, there is only one
            class or none with a share, or the images saturate or carry no information.

    Example:
        >>> from alloyk.simulator.settings.presets import preset_parameters
        >>> found = reference_ceiling(preset_parameters("easy"), 64)
        >>> round(found.accuracy, 3)
        1.0
    """
    if image_size < 8:
        raise ConfigError(f"image_size must be >= 8, got {image_size}")
    if len(parameters.alloys) < 2:
        raise ConfigError(
            f"alloys must name two or more alloys to compare, got {parameters.alloys[0]}"
        )
    prior = np.array([1 if shares is None else shares.get(c, 0) for c in parameters.alloys], float)
    if not prior.sum() > 0:
        raise ConfigError(
            f"shares must be above 0 for at least one of {', '.join(parameters.alloys)}, got "
            f"{dict(shares or {})}"
        )
    beam = Beam(parameters)
    refuse_saturation(beam, image_size)
    blocks = _draw_blocks(beam, image_size, seed, drawn_circumstances)
    return _summary(blocks, parameters.alloys, prior / prior.sum(), image_size)


def _draw_blocks(beam: Beam, image_size: int, seed: int, drawn_circumstances: bool) -> list[Block]:
    """Draw the plates of all repetitions, and the covariance of an estimate for each of them."""
    parameters = beam.parameters
    drawn: list[Callable[[int], list[Circumstances]]] = [partial(nominal_exposures, parameters)]
    if drawn_circumstances:
        drawn = [partial(_drawn_exposures, parameters, seed, nth) for nth in range(BLOCKS)]
    with arithmetic_errors():
        reduction = Reduction(beam)
        found = [step_covariances(beam, reduction, exposures, image_size) for exposures in drawn]
        return [Block(beam, reduction, found[nth % len(drawn)], seed, nth) for nth in range(BLOCKS)]


def _drawn_exposures(
    parameters: Parameters, seed: int, nth: int, nth_of_plate: int
) -> list[Circumstances]:
    """The circumstances of a sample's images, one or one for each channel, drawn for a block."""
    rng = sampling.generator(seed, _NOW, nth)
    now = draw_circumstances(parameters, rng, nth_of_plate)
    channels = parameters.tube.channels_kvp
    return [draw_channel(parameters, now, kvp, rng) for kvp in channels] if channels else [now]


def _summary(
    blocks: list[Block], classes: tuple[str, ...], prior: np.ndarray, image_size: int
) -> Ceiling:
    """Classify the plates of all repetitions; means and Monte Carlo errors over them."""
    matrices, squares_mm2, spreads_mm2 = map(
        np.stack, zip(*(block.classify(prior) for block in blocks), strict=True)
    )
    recall = matrices.diagonal(axis1=1, axis2=2)
    accuracies, squares_mm2, spreads_mm2 = recall @ prior, squares_mm2 @ prior, spreads_mm2 @ prior
    rmse_mm = float(np.sqrt(squares_mm2.mean()))
    return Ceiling(
        classes=classes,
        shares=tuple(prior.tolist()),
        image_size=image_size,
        accuracy=float(accuracies.mean()),
        error=float(_standard_error(accuracies)),
        confusion_matrix=tuple(map(tuple, matrices.mean(axis=0).tolist())),
        recall_error=tuple(_standard_error(recall).tolist()),
        thickness_rmse_mm=rmse_mm,
        thickness_error_mm=float(_standard_error(squares_mm2)) / max(2 * rmse_mm, 1e-12),
        thickness_spread_mm=float(np.sqrt(spreads_mm2.mean())),
        by_block=tuple(accuracies.tolist()),
    )


def caveats(parameters: Parameters, image_size: int = 224) -> list[str]:
    """One sentence for each approximation that affects the ceiling of a set-up."""
    tube, notes = parameters.tube, []
    if tube.voltage_range_kvp:
        low, high = tube.voltage_range_kvp
        notes.append(
            f"The uniform range of {low:g} to {high:g} kV is approximated by a Gaussian of equal "
            "standard deviation."
        )
    if tube.voltage_steps_kvp:
        if len(set(tube.voltage_steps_kvp)) > 1:
            voltages = ", ".join(f"{kvp:g}" for kvp in tube.voltage_steps_kvp)
            notes.append(f"For single images that take {voltages} kV in turn.")
        notes.append("The stepped voltages are taken as known except for their drift.")
    if tube.channels_kvp and len(tube.channels_kvp) > 1:
        voltages = ", ".join(f"{kvp:g}" for kvp in tube.channels_kvp)
        notes.append(
            f"For all {len(tube.channels_kvp)} images of a sample together, {voltages} kV, each of "
            "the full exposure: they share plate, pose and scatter."
        )
    if parameters.layout.name == "full":
        notes.append(
            "Computed at the mean pose, where the ends of the ramp are on the field's borders; "
            "a shift that brings an end into view adds information (--drawn)."
        )
    if not parameters.texture.is_off:
        notes.append("The texture of the plates is ignored.")
    return notes + validity_notes(Beam(parameters), image_size)


def _standard_error(values: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the first axis."""
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))
