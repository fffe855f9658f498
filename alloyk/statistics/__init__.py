"""How sure a figure is, when images of one plate are not independent.

`intervals` come from resampling plates, `influence` from each plate's weight in a figure; `paired`
tests classifiers that decided the same images.
"""

from alloyk.statistics.intervals import (
    CONFIDENCE,
    DIGITS,
    RESAMPLES,
    ROUNDING,
    accuracy_interval,
    confidence_intervals,
    resampled_counts,
    upper_bound,
)

__all__ = [
    "CONFIDENCE",
    "DIGITS",
    "RESAMPLES",
    "ROUNDING",
    "accuracy_interval",
    "confidence_intervals",
    "resampled_counts",
    "upper_bound",
]
