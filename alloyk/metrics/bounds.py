"""One-sided bounds of an error rate, for thresholds and quantised files that must keep one."""

import numpy as np

from alloyk.metrics.intervals import CONFIDENCE, ROUNDING, degrees_of_freedom
from alloyk.metrics.jackknife import Evidence


def upper_bound(wrong: np.ndarray, groups: np.ndarray) -> float:
    """One-sided 95 % upper bound of a share, over groups.

    The exact binomial bound for the effective number of images (Korn and Graubard, Survey
    Methodology 24, 1998), whose standard error is computed from the influences of the groups. A
    few wrong images say little about how alike those of a group are: the bound is therefore never
    below that of no wrong image at all, which takes a group as one observation.

    Args:
        wrong: `(n,)` bool, n > 0.
        groups: `(n,)` int, equal for images of one plate.

    Returns:
        The bound; 1 if the groups give no estimate of the error.

    >>> wrong = np.zeros(59, dtype=bool)
    >>> round(upper_bound(wrong, np.arange(59)), 4)
    0.0495
    """
    from scipy.stats import beta, t

    images = np.bincount(groups)
    share, seen = float(wrong.mean()), images > 0
    n_groups, n_images = int(seen.sum()), len(wrong)
    without_error = bound_without_error(n_groups)
    if not share:
        return without_error
    influence = (np.bincount(groups, wrong) - share * images)[seen] / n_images
    error = np.sqrt((influence**2).sum() * n_groups / max(n_groups - 1, 1))
    if error <= ROUNDING:
        return 1.0
    evidence = Evidence(influence, n_groups, share * (1 - share) / n_images)
    freedom = degrees_of_freedom(evidence, error)
    known = t.ppf(CONFIDENCE, n_images - 1) / t.ppf(CONFIDENCE, freedom)
    effective = min(share * (1 - share) * (known / error) ** 2, n_images)
    right = (1 - share) * effective
    return max(float(beta.ppf(CONFIDENCE, share * effective + 1, right)), without_error)


def bound_without_error(n: int) -> float:
    """Exact one-sided 95 % upper bound of a share, none found in `n` independent observations."""
    return float(1 - (1 - CONFIDENCE) ** (1 / n))
