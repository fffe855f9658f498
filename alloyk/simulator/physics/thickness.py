"""Distribution of a plate's thickness, and its posterior given an estimate of coefficients."""

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.special import ndtr

from alloyk.alloys import get_alloy, thickness_tolerance_mm
from alloyk.simulator.settings.parameters import RANGE_PARTS, PlateSpread

Numbers = TypeVar("Numbers", float, np.ndarray)

REACH = 9.0
"""Standard deviations beyond which a density is taken as 0."""


@dataclass(frozen=True)
class ThicknessLaw:
    """Distribution of the true thickness of plates of one alloy and nominal thickness.

    Attributes:
        nominal_mm: Centre.
        sd_mm: Standard deviation of a normal law; 0 for no spread.
        half_width_mm: Half the width of a uniform law; 0 for a normal one.
    """

    nominal_mm: float
    sd_mm: float
    half_width_mm: float

    @classmethod
    def of(cls, spread: PlateSpread, label: str, nominal_mm: float) -> "ThicknessLaw":
        """The law of plates of one alloy and nominal thickness."""
        if spread.thickness_range_mm:
            low, high = spread.thickness_range_mm
            return cls(nominal_mm, 0.0, (high - low) / RANGE_PARTS / 2)
        tolerance = spread.tolerance_scale * thickness_tolerance_mm(get_alloy(label), nominal_mm)
        match spread.thickness_law:
            case "relative":
                return cls(nominal_mm, spread.thickness_relative_sd * nominal_mm, 0.0)
            case "normal":
                return cls(nominal_mm, tolerance / 3, 0.0)
            case "uniform":
                return cls(nominal_mm, 0.0, tolerance)
            case "exact":
                return cls(nominal_mm, 0.0, 0.0)

    def thickness_mm(self, uniform: Numbers, normal: Numbers) -> Numbers:
        """True thickness from a number uniform in 0 to 1 and a standard normal one."""
        return self.nominal_mm + self.sd_mm * normal + self.half_width_mm * (2 * uniform - 1)

    def density(
        self, estimates: np.ndarray, units: np.ndarray, precision: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Density of estimates of plates of this law; the thickness is integrated in closed form.

        Plates have coefficients `t · unit` with `t` of this law and each unit equally likely;
        an estimate adds Gaussian noise of the given precision. As a function of `t` its likelihood
        is Gaussian too, so the integral over a normal or uniform law has a closed form.

        Args:
            estimates: Shape `(n, 2)`.
            units: Coefficients per mm, shape `(m, 2)`.
            precision: Inverse covariance of an estimate, shape `(2, 2)`.

        Returns:
            The density at each estimate and the mean thickness in mm there, given that the plate
            is of this law; both of shape `(n,)`.
        """
        weighted = units @ precision
        inverse_variance = (weighted * units).sum(axis=1)  # of the thickness, given the unit
        found, mean_mm = np.zeros(len(estimates)), np.full(len(estimates), self.nominal_mm)
        near = self._near(estimates, units.mean(axis=0), precision)
        if not near.any():
            return found, mean_mm
        likely_mm = estimates[near] @ weighted.T / inverse_variance
        # Distance of an estimate from the line of its unit, computed without cancellation.
        across = estimates[near] @ np.array([[0, 1], [-1, 0]]) @ units.T
        distance = across**2 * (np.linalg.det(precision) / inverse_variance)
        height = np.exp(-distance / 2) * math.sqrt(np.linalg.det(precision)) / (2 * math.pi)
        if self.half_width_mm:
            at, posterior_mm = self._uniform(likely_mm, 1 / np.sqrt(inverse_variance))
        else:
            at, posterior_mm = self._normal(likely_mm, 1 / inverse_variance)
        height *= at
        total = height.mean(axis=1)
        found[near] = total
        weighted_mm = (height * posterior_mm).mean(axis=1)
        mean_mm[near] = np.divide(weighted_mm, total, out=mean_mm[near], where=total > 0)
        return found, mean_mm

    def _normal(self, likely_mm: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """∫ exp(−(t − likely)² / 2 variance) N(t; nominal, sd²) dt, and the mean of t under it."""
        prior = self.sd_mm**2
        both = variance + prior
        miss = likely_mm - self.nominal_mm
        at = np.sqrt(variance / both) * np.exp(-(miss**2) / (2 * both))
        return at, self.nominal_mm + miss * (prior / both)

    def _uniform(self, likely_mm: np.ndarray, sd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for a uniform law."""
        half = self.half_width_mm
        low = (self.nominal_mm - half - likely_mm) / sd
        high = (self.nominal_mm + half - likely_mm) / sd
        # ndtr is accurate in its lower tail only.
        flip = low > 0
        low, high = np.where(flip, -high, low), np.where(flip, -low, high)
        mass = ndtr(high) - ndtr(low)
        edges = (np.exp(-(low**2) / 2) - np.exp(-(high**2) / 2)) / math.sqrt(2 * math.pi)
        edges = np.where(flip, -edges, edges)
        mean = np.divide(edges, mass, out=np.zeros_like(mass), where=mass > 1e-300)
        posterior_mm = np.clip(
            likely_mm + sd * mean, self.nominal_mm - half, self.nominal_mm + half
        )
        return mass * sd * math.sqrt(2 * math.pi) / (2 * half), posterior_mm

    def _near(self, estimates: np.ndarray, unit: np.ndarray, precision: np.ndarray) -> np.ndarray:
        """Which estimates are within reach of the mean unit, with a margin for the others."""
        inverse_variance = unit @ precision @ unit
        likely_mm = estimates @ precision @ unit / inverse_variance
        reach = REACH * (self.sd_mm + 1 / math.sqrt(inverse_variance)) + self.half_width_mm
        return np.abs(likely_mm - self.nominal_mm) < reach + 0.1 * self.nominal_mm
