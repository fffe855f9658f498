"""The reference ceiling: which accuracy an ideal classifier reaches under the simulator's model.

One image gives an estimate of the plate's two coefficients, with the covariance of
`fisher`. The plates of each class are spread over composition and thickness; that
spread, convolved with the Gaussian of the estimate, is the density of the class. The ideal
classifier picks the class of highest posterior density, and is tried on plates held out.

All classes are weighed by one covariance, that at the plate in question, as the likelihood of an
image linearised there asks. With a covariance of its own for each class its mere size would tell
the class, however little the image does.

It is a reference, not a theorem: see "What the ceiling is not" in ``docs/ceiling.md``.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from alloyk.alloys import ELEMENTS, get_alloy, plate_density_g_cm3
from alloyk.errors import AlloykError
from alloyk.simulator.ceiling.fisher import Reduction, coefficient_covariance
from alloyk.simulator.dataset import sampling
from alloyk.simulator.physics.beam import Beam
from alloyk.simulator.physics.forward import plate_depth
from alloyk.simulator.physics.plate import draw_compositions, draw_plate
from alloyk.simulator.physics.scene import Circumstances, draw_circumstances, nominal_circumstances
from alloyk.simulator.physics.thickness import ThicknessLaw
from alloyk.simulator.physics.validity import refuse_saturation, validity_notes
from alloyk.simulator.settings.parameters import Parameters

BLOCKS = 12
"""Independent repetitions; the Monte Carlo error is their spread."""

HELD_OUT = 900
"""Plates tried in each of them, shared evenly by the classes and their thicknesses."""

COMPOSITIONS = 384
"""Compositions that make up the density of a class; the thickness is integrated exactly."""

# Streams of random numbers of their own, so that no plate of a data set is met again.
_NOW, _DENSITY, _HELD_OUT = range(100, 103)


@dataclass(frozen=True)
class Ceiling:
    """What the ideal classifier reaches.

    Attributes:
        classes: Labels.
        shares: Share of each class among the images.
        image_size: Pixels along each side.
        accuracy: Share of the images that it classifies rightly.
        error: Monte Carlo error of the accuracy, one standard deviation.
        confusion_matrix: Share of each true class (rows) that is called each class, ``(k, k)``.
        recall_error: Monte Carlo error of the recall of each class.
        thickness_rmse_mm: Root mean square error of the best estimate of a plate's true
            thickness, alloy unknown.
        thickness_error_mm: Its Monte Carlo error.
        thickness_spread_mm: The same for who knows the nominal thickness and looks at no image.
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
        """Label → share of its images that is recognised."""
        return {c: self.confusion_matrix[i][i] for i, c in enumerate(self.classes)}

    def as_dict(self) -> dict:
        """For JSON; what facts.json and metrics.json hold."""
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
    """The ceiling for single images of plates never seen before.

    Args:
        parameters: Of the simulator.
        image_size: Pixels along each side.
        shares: Label → share of the images, or their number; even by default.
        seed: Of all random numbers; the same seed draws the same plates for other parameters, so
            that differences are surer than the ceilings themselves.
        drawn_circumstances: Linearise the model at circumstances drawn anew for each block,
            instead of at their means.

    Raises:
        AlloykError: A beam that cannot be computed, an image size under 8, one class only, or a
            set-up whose images say nothing or saturate.

    Example:
        >>> from alloyk.simulator.settings.presets import preset_parameters
        >>> found = reference_ceiling(preset_parameters("easy"), 64)
        >>> round(found.accuracy, 3)
        1.0
    """
    if image_size < 8:
        raise AlloykError(f"wanted an image_size of 8 or more, found {image_size}")
    if len(parameters.alloys) < 2:
        raise AlloykError(
            f"wanted two or more alloys to tell apart, found {parameters.alloys[0]} alone"
        )
    beam = Beam(parameters)
    refuse_saturation(beam, image_size)
    nows = [nominal_circumstances(parameters)]
    if drawn_circumstances:
        rngs = [sampling.generator(seed, _NOW, nth) for nth in range(BLOCKS)]
        nows = [draw_circumstances(parameters, rng, nth) for nth, rng in enumerate(rngs)]
    with _numbers_that_hold():
        reduction = Reduction(beam)
        covariances = [_covariances(beam, reduction, now, image_size) for now in nows]
        blocks = [
            _Block(beam, reduction, covariances[nth % len(nows)], seed, nth)
            for nth in range(BLOCKS)
        ]
    prior = np.array([1 if shares is None else shares.get(c, 0) for c in parameters.alloys], float)
    prior /= prior.sum()
    matrices, squares_mm2, spreads_mm2 = map(
        np.stack, zip(*(block.classify(prior) for block in blocks), strict=True)
    )
    recall = matrices.diagonal(axis1=1, axis2=2)
    accuracies, squares_mm2, spreads_mm2 = recall @ prior, squares_mm2 @ prior, spreads_mm2 @ prior
    rmse_mm = float(np.sqrt(squares_mm2.mean()))
    return Ceiling(
        classes=parameters.alloys,
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


@contextmanager
def _numbers_that_hold() -> Iterator[None]:
    """Turn arithmetic that overflows, or a matrix without an inverse, into one line."""
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            yield
    except (np.linalg.LinAlgError, ArithmeticError) as error:
        raise AlloykError(
            f"wanted images that tell something of the plate, found none ({error}): look at what "
            "was set last, above all filters, scatter, exposure and what the field shows"
        ) from None


def caveats(parameters: Parameters, image_size: int = 224) -> list[str]:
    """What this ceiling leaves out or approximates for a set-up, a sentence each."""
    tube, notes = parameters.tube, []
    if tube.voltage_range_kvp:
        low, high = tube.voltage_range_kvp
        notes.append(
            f"The uniform range of {low:g} to {high:g} kV counts as a Gaussian of the same spread."
        )
    if tube.voltage_steps_kvp:
        notes.append("The stepped voltages are taken as known but for their drift.")
    if parameters.layout.name == "full":
        notes.append(
            "Taken at the mean pose, where the ends of the ramp lie on the borders of the field; "
            "a shift that brings one into view tells more (--drawn)."
        )
    if not parameters.texture.is_off:
        notes.append("The texture of the plates is left out.")
    return notes + validity_notes(Beam(parameters), image_size)


def _standard_error(values: np.ndarray) -> np.ndarray:
    """Of the mean over the first axis."""
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))


def _covariances(
    beam: Beam, reduction: Reduction, now: Circumstances, image_size: int
) -> dict[tuple[str, float], np.ndarray]:
    """(Label, nominal thickness) → covariance of the estimate, taken at the nominal plate."""
    plate = beam.parameters.plate
    nominal = plate.model_copy(
        update={"thickness_range_mm": None, "thickness_law": "exact", "composition_law": "nominal"}
    )
    found = {}
    for label in beam.parameters.alloys:
        for thickness_mm in plate.nominal_thicknesses_mm:
            one = draw_plate(0, label, thickness_mm, nominal, np.random.default_rng(0))
            depth = plate_depth(beam, one)
            found[label, thickness_mm] = coefficient_covariance(
                beam, now, depth, image_size, reduction
            )
    return found


class _Block:
    """Independent draws: the compositions that make up the classes, and plates held out."""

    def __init__(self, beam: Beam, reduction: Reduction, covariances: dict, seed: int, nth: int):
        self.classes, spread = beam.parameters.alloys, beam.parameters.plate
        nominals_mm = spread.nominal_thicknesses_mm
        each = max(HELD_OUT // (len(self.classes) * len(nominals_mm)), 1)

        def units(label, count, rng):
            """Coefficients per mm of plates as they lean in the beam, shape ``(count, 2)``."""
            fractions = draw_compositions(label, spread, rng, count)
            density = plate_density_g_cm3(get_alloy(label), fractions)[:, None]
            tilt_deg = np.clip(spread.tilt_sd_deg * rng.standard_normal(count), -80, 80)
            return density * (fractions @ of_elements) / np.cos(np.radians(tilt_deg))[:, None]

        pure = np.eye(len(ELEMENTS))
        of_elements = reduction.coefficients([beam.plate_mu_per_mm(row, 1.0) for row in pure])
        self.parts, self.precisions, truth, true_mm, estimates = [], [], [], [], []
        for c, label in enumerate(self.classes):
            known = units(label, COMPOSITIONS, sampling.generator(seed, _DENSITY, nth, c))
            for n, nominal_mm in enumerate(nominals_mm):
                covariance = covariances[label, nominal_mm]
                law = ThicknessLaw.of(spread, label, nominal_mm)
                self.parts.append((c, law, known))
                self.precisions.append(np.linalg.inv(covariance))
                rng = sampling.generator(seed, _HELD_OUT, nth, c, n)
                thickness_mm = law.thickness_mm(rng.random(each), rng.standard_normal(each))
                noise = rng.standard_normal((each, 2)) @ np.linalg.cholesky(covariance).T
                estimates.append(thickness_mm[:, None] * units(label, each, rng) + noise)
                true_mm.append(thickness_mm)
                truth += [c] * each
        self.estimates, self.true_mm = np.concatenate(estimates), np.concatenate(true_mm)
        self.truth = np.array(truth)
        self.nominal_mm = np.tile(np.repeat(nominals_mm, each), len(self.classes))
        if spread.thickness_range_mm:  # whose nominal thicknesses nobody has ordered
            self.nominal_mm[:] = np.mean(spread.thickness_range_mm)

    def classify(self, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Decide by the highest posterior density.

        Returns:
            Share of each true class that is called each class, ``(k, k)``; the mean square error
            of the best estimate of the thickness for each true class in mm², ``(k,)``; and that of
            the nominal thickness.
        """
        k = len(self.classes)
        density, moment = np.zeros((2, len(self.estimates), k))
        groups = np.split(np.arange(len(self.estimates)), len(self.precisions))
        for group, precision in zip(groups, self.precisions, strict=True):
            for c, law, units in self.parts:
                found, mean_mm = law.density(self.estimates[group], units, precision)
                density[group, c] += found
                moment[group, c] += found * mean_mm
        posterior = density * prior
        total = posterior.sum(axis=1)
        best_mm = np.divide(
            (moment * prior).sum(axis=1), total, out=self.nominal_mm.copy(), where=total > 0
        )
        # Where every density is 0 in float64 the first class is called, which is never for better.
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
