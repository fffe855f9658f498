"""The best possible detection of plates that training lacks.

A plate of another alloy or thickness can be detected only as far as its image differs from the
images of training. By the lemma of Neyman and Pearson, no detector with a false-alarm rate finds
more of them than the one that compares the likelihood ratio with a threshold, and that one must
know what it looks for. Where even it fails, no statistic of the image can help.

Estimates and densities are those of the reference ceiling, with its limitations.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from alloyk.errors import ConfigError
from alloyk.simulator.ceiling.estimates import BLOCKS, Block, arithmetic_errors, step_covariances
from alloyk.simulator.ceiling.fisher import Reduction
from alloyk.simulator.physics.beam import Beam
from alloyk.simulator.physics.scene import nominal_exposures
from alloyk.simulator.settings.parameters import Parameters


@dataclass(frozen=True)
class Detection:
    """What the best detector finds.

    Attributes:
        share: Detected share of the foreign plates.
        error: Its Monte Carlo error, one standard deviation.
        false_alarms: Share of plates like those of training that are reported too.
    """

    share: float
    error: float
    false_alarms: float


def best_detection(
    parameters: Parameters,
    foreign: Parameters,
    image_size: int = 224,
    *,
    false_alarms: float = 0.01,
    seed: int = 0,
    blocks: int = BLOCKS,
) -> Detection:
    """The largest share of foreign plates that a detector can find in single images.

    Args:
        parameters: Set-up and plates of training.
        foreign: The same set-up with other alloys, thicknesses or compositions.
        image_size: Pixels along each side.
        false_alarms: Share of plates like those of training that may be reported, in (0, 1).
        seed: Seed of all random numbers.
        blocks: Number of independent repetitions, 2 or more.

    Raises:
        ConfigError: The rate is not between 0 and 1, or the set-up cannot be computed.

    Source: J. Neyman and E. S. Pearson, Phil. Trans. R. Soc. A 231 (1933) 289.
    """
    if not 0 < false_alarms < 1:
        raise ConfigError(f"false_alarms must be between 0 and 1, got {false_alarms}")
    beams = [Beam(parameters), Beam(foreign)]
    exposures_of = partial(nominal_exposures, parameters)
    with arithmetic_errors():
        reduction = Reduction(beams[0])
        found = [step_covariances(beam, reduction, exposures_of, image_size) for beam in beams]
    shares = []
    for nth in range(blocks):
        with arithmetic_errors():
            known, other = (
                Block(beam, reduction, covariance, seed, nth)
                for beam, covariance in zip(beams, found, strict=True)
            )
        threshold = np.quantile(_log_ratios(known, known, other), 1 - false_alarms)
        shares.append(np.mean(_log_ratios(other, known, other) > threshold))
    return Detection(
        float(np.mean(shares)),
        float(np.std(shares, ddof=1) / np.sqrt(blocks)),
        false_alarms,
    )


def _log_ratios(plates: Block, known: Block, other: Block) -> np.ndarray:
    """Logarithm of the likelihood ratio, other over known, at the estimates of held-out plates."""
    ratios = np.empty(len(plates.estimates))
    for group, precision in plates.groups:
        likelihoods = [
            block.density(plates.estimates[group], precision)[0].sum(axis=1) / len(block.parts)
            for block in (other, known)
        ]
        # Densities below float64's range are 0; both 0 says nothing.
        other_log, known_log = (np.log(np.maximum(each, 1e-300)) for each in likelihoods)
        ratios[group] = other_log - known_log
    return ratios
