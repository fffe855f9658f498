"""Gain as a function of signal: a polynomial for each pixel from flat frames behind absorbers.

The response of pixels is not linear, and differs between them, so that one flat frame corrects
them at one signal only. With the transmission `t = (raw - dark) / (flat - dark)` of a pixel, the
corrected transmission is `t · (c₀ + c₁ t + c₂ t²)`. The terms are
chosen so that all pixels agree on each absorber: they become the median of the detector there, and
1 without an absorber.

Reference: Kwan et al., An improved method for flat-field correction of flat panel x-ray detector,
Med. Phys. 33 (2006) 391, https://doi.org/10.1118/1.2163388.
"""

from collections.abc import Sequence

import numpy as np

from alloyk.errors import AlloykError

MAX_TERMS = 3
"""Maximum number of terms; more steps than this are fitted by least squares."""

MIN_STEP = 0.02
"""Minimum difference of two steps, as a fraction of the signal without an absorber."""

_CHUNK = 2**18  # pixels that are solved at a time


def fit_gain_curves(
    bright: np.ndarray, steps: Sequence[np.ndarray], dead: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit the polynomial of each pixel.

    Args:
        bright: `(height, width)`, response to the beam without an absorber.
        steps: The same behind absorbers, brightest first.
        dead: `(height, width)` bool, pixels that are left out.

    Returns:
        The terms `(terms, height, width)` float32, and the pixels without a polynomial that rises
        with the signal, `(height, width)` bool.

    Raises:
        AlloykError: Frames differ in size, or two steps are alike.
    """
    if any(step.shape != bright.shape for step in steps):
        sizes = " and ".join(
            f"{h}×{w}" for h, w in dict.fromkeys(s.shape for s in (bright, *steps))
        )
        raise AlloykError(f"the steps of data.flat must have one size, got {sizes}")
    good = ~dead
    safe = np.where(good, bright, 1.0).astype(np.float64)
    parts = [np.ones_like(safe), *(np.where(good, step, 1.0) / safe for step in steps)]
    levels = np.array([float(np.median(part[good])) for part in parts])
    if np.min(-np.diff(levels)) < MIN_STEP:
        found = ", ".join(f"{level:.3g}" for level in levels)
        raise AlloykError(
            f"the steps of data.flat must differ by at least {100 * MIN_STEP:.0f} % of the "
            f"brightest step, got relative signals {found}; use another absorber for each step, "
            "and none for one"
        )
    terms = min(len(parts), MAX_TERMS)
    flat_parts = np.stack([part.ravel() for part in parts], axis=1)
    # Of a pixel that is stuck or has no signal in some step, too few levels may be left.
    ordered = np.sort(flat_parts, axis=1)
    different = 1 + (np.diff(ordered, axis=1) > 0).sum(axis=1)
    undetermined = good.ravel() & (different - (ordered == 0).any(axis=1) < terms)
    flat_parts[undetermined] = levels
    solved = np.concatenate(
        [
            _solved(flat_parts[first : first + _CHUNK], levels, terms)
            for first in range(0, len(flat_parts), _CHUNK)
        ]
    )
    solved[dead.ravel()] = np.eye(terms)[0]
    curves = solved.T.reshape(terms, *bright.shape).astype(np.float32)
    return curves, ~_rising(curves) | undetermined.reshape(bright.shape)


def _solved(parts: np.ndarray, levels: np.ndarray, terms: int) -> np.ndarray:
    """Terms `(n, terms)` by least squares from transmissions `(n, steps)`.

    Residuals are relative to the level, so that thick steps count as much as thin ones.
    """
    matrix = np.stack([parts ** (power + 1) for power in range(terms)], axis=2) / levels[:, None]
    transposed = matrix.transpose(0, 2, 1)
    right = transposed.sum(axis=2)
    return np.linalg.solve(transposed @ matrix, right[..., None])[..., 0]


def _rising(curves: np.ndarray) -> np.ndarray:
    """Whether each pixel's polynomial rises from 0 to 1, `(height, width)` bool."""
    rising = np.ones(curves.shape[1:], bool)
    for part in np.linspace(0, 1, 9):
        slope = sum((power + 1) * curves[power] * part**power for power in range(len(curves)))
        rising &= slope > 0
    return rising
