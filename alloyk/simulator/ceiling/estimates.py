"""Class densities and held-out plates, in terms of the two coefficients of a plate.

One image gives an estimate of a plate's two coefficients with the covariance of `fisher`. The
plates of a class are distributed over composition and thickness; this distribution, convolved with
the Gaussian of the estimate, is the density of the class.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from alloyk.alloys import ELEMENTS, get_alloy, plate_density_g_cm3
from alloyk.errors import ConfigError
from alloyk.simulator.ceiling.fisher import Reduction, joint_covariance
from alloyk.simulator.dataset import sampling
from alloyk.simulator.physics.beam import Beam
from alloyk.simulator.physics.forward import plate_depth
from alloyk.simulator.physics.plate import draw_compositions, draw_plate
from alloyk.simulator.physics.scene import Circumstances
from alloyk.simulator.physics.thickness import ThicknessLaw

BLOCKS = 12
"""Number of independent repetitions; their spread gives the Monte Carlo error."""

HELD_OUT = 900
"""Held-out plates per repetition, equally many of each class and thickness."""

COMPOSITIONS = 384
"""Compositions that represent a class; the thickness is integrated exactly."""

Covariances = Mapping[tuple[str, float], np.ndarray]
"""(Label, nominal thickness) → covariance of an estimate."""

# Separate random streams, so that no plate of a data set is drawn again.
_DENSITY, _HELD_OUT = 101, 102


def covariances(
    beam: Beam, reduction: Reduction, exposures: Sequence[Circumstances], image_size: int
) -> Covariances:
    """The covariance of the estimate at each nominal plate.

    Args:
        beam: The beam.
        reduction: Reduction of the same beam.
        exposures: Circumstances of a sample's images: one, or one for each channel.
        image_size: Pixels along each side.
    """
    plate = beam.parameters.plate
    nominal = plate.model_copy(
        update={"thickness_range_mm": None, "thickness_law": "exact", "composition_law": "nominal"}
    )
    found = {}
    for label in beam.parameters.alloys:
        for thickness_mm in plate.nominal_thicknesses_mm:
            one = draw_plate(0, label, thickness_mm, nominal, np.random.default_rng(0))
            depth = plate_depth(beam, one)
            found[label, thickness_mm] = joint_covariance(
                beam, exposures, depth, image_size, reduction
            )
    return found


def step_covariances(
    beam: Beam,
    reduction: Reduction,
    exposures_of: Callable[[int], Sequence[Circumstances]],
    image_size: int,
) -> list[Covariances]:
    """`covariances` at each of the stepped voltages; a single entry without them.

    Args:
        beam: The beam.
        reduction: Reduction of the same beam.
        exposures_of: From the number of an image among those of its plate to the circumstances of
            that sample's images.
        image_size: Pixels along each side.
    """
    steps = beam.parameters.tube.voltage_steps_kvp or (0.0,)
    found = {
        kvp: covariances(beam, reduction, exposures_of(steps.index(kvp)), image_size)
        for kvp in dict.fromkeys(steps)
    }
    return [found[kvp] for kvp in steps]


@contextmanager
def arithmetic_errors() -> Iterator[None]:
    """Turn overflow and singular matrices into the error that the images carry no information."""
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            yield
    except (np.linalg.LinAlgError, ArithmeticError) as error:
        raise ConfigError(
            f"the images must carry information about the plate, but they do not ({error}); check "
            "the settings changed last, above all filters, scatter, exposure and layout"
        ) from None


class Block:
    """One repetition: compositions that represent the classes, and held-out plates.

    Args:
        beam: The beam.
        reduction: Reduction of the same beam.
        covariances: Those of `step_covariances`; the held-out plates take them in turn.
        seed: Seed of all random numbers.
        nth: Number of the repetition.
    """

    def __init__(
        self,
        beam: Beam,
        reduction: Reduction,
        covariances: Sequence[Covariances],
        seed: int,
        nth: int,
    ) -> None:
        self.classes, spread = beam.parameters.alloys, beam.parameters.plate
        nominals_mm = spread.nominal_thicknesses_mm
        each = max(HELD_OUT // (len(self.classes) * len(nominals_mm)), 1)

        def units(label: str, count: int, rng: np.random.Generator) -> np.ndarray:
            """Coefficients per mm of tilted plates, shape `(count, 2)`."""
            fractions = draw_compositions(label, spread, rng, count)
            density = plate_density_g_cm3(get_alloy(label), fractions)[:, None]
            tilt_deg = np.clip(spread.tilt_sd_deg * rng.standard_normal(count), -80, 80)
            return density * (fractions @ of_elements) / np.cos(np.radians(tilt_deg))[:, None]

        pure = np.eye(len(ELEMENTS))
        of_elements = reduction.coefficients(
            np.stack([beam.plate_mu_per_mm(row, 1.0) for row in pure])
        )
        truth: list[int] = []
        self.parts, true_mm, estimates = [], [], []
        self.groups: list[tuple[np.ndarray, np.ndarray]] = []
        """Indices and precision of the estimates that share a covariance."""
        # Shifted from block to block, so that a remainder favours no step.
        step_of = (np.arange(each) + nth) % len(covariances)
        for c, label in enumerate(self.classes):
            known = units(label, COMPOSITIONS, sampling.generator(seed, _DENSITY, nth, c))
            for n, nominal_mm in enumerate(nominals_mm):
                law = ThicknessLaw.of(spread, label, nominal_mm)
                self.parts.append((c, law, known))
                rng = sampling.generator(seed, _HELD_OUT, nth, c, n)
                thickness_mm = law.thickness_mm(rng.random(each), rng.standard_normal(each))
                noise = rng.standard_normal((each, 2))
                for step in np.unique(step_of):
                    own = np.flatnonzero(step_of == step)
                    covariance = covariances[step][label, nominal_mm]
                    noise[own] = noise[own] @ np.linalg.cholesky(covariance).T
                    self.groups.append((len(truth) + own, np.linalg.inv(covariance)))
                estimates.append(thickness_mm[:, None] * units(label, each, rng) + noise)
                true_mm.append(thickness_mm)
                truth += [c] * each
        self.estimates, self.true_mm = np.concatenate(estimates), np.concatenate(true_mm)
        self.truth = np.array(truth)
        self.nominal_mm = np.tile(np.repeat(nominals_mm, each), len(self.classes))
        if spread.thickness_range_mm:  # a plate from a range has no nominal thickness
            self.nominal_mm[:] = np.mean(spread.thickness_range_mm)

    def density(
        self, estimates: np.ndarray, precision: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Density of each class at estimates, summed over its thicknesses.

        Args:
            estimates: Shape `(n, 2)`.
            precision: Inverse covariance of an estimate, shape `(2, 2)`.

        Returns:
            Density, and density times the mean thickness in mm there; both `(n, k)`.
        """
        density, moment = np.zeros((2, len(estimates), len(self.classes)))
        for c, law, units in self.parts:
            found, mean_mm = law.density(estimates, units, precision)
            density[:, c] += found
            moment[:, c] += found * mean_mm
        return density, moment

    def classify(self, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Classify the held-out plates by the highest posterior density.

        Returns:
            Share of each true class predicted as each class, `(k, k)`; the mean square error in
            mm² of the best estimate of the thickness for each true class, `(k,)`; and that of
            the nominal thickness.
        """
        k = len(self.classes)
        density, moment = np.zeros((2, len(self.estimates), k))
        for group, precision in self.groups:
            density[group], moment[group] = self.density(self.estimates[group], precision)
        posterior = density * prior
        total = posterior.sum(axis=1)
        best_mm = np.divide(
            (moment * prior).sum(axis=1), total, out=self.nominal_mm.copy(), where=total > 0
        )
        # Where all densities are 0 in float64, the first class is predicted.
        matrix = np.zeros((k, k))
        np.add.at(matrix, (self.truth, posterior.argmax(axis=1)), 1)
        matrix /= matrix.sum(axis=1, keepdims=True)
        return (
            matrix,
            self._by_class((best_mm - self.true_mm) ** 2),
            self._by_class((self.nominal_mm - self.true_mm) ** 2),
        )

    def _by_class(self, values: np.ndarray) -> np.ndarray:
        return np.array([values[self.truth == c].mean() for c in range(len(self.classes))])
