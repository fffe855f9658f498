"""How an exported file compares with the original, and whether that meets the format's policy."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from alloyk.exporting.agreement import Agreement, Outputs, compare
from alloyk.exporting.policy import POINTS, Policy
from alloyk.exporting.subject import Subject
from alloyk.inference import Classifier
from alloyk.messages import shown
from alloyk.metrics.bounds import upper_bound
from alloyk.metrics.calibration import log_loss, reliability
from alloyk.metrics.selective import ERROR_RATES, abstaining, abstention
from alloyk.metrics.significance import accuracy_difference, least_difference
from alloyk.runs.predictions import Predictions

EXAMPLES = 20  # names of images listed in parity.json
RESAMPLES = 1000


@dataclass(frozen=True)
class Pair:
    """One metric of the original and of the file."""

    original: float
    file: float

    @property
    def difference(self) -> float:
        """That of the file minus that of the original."""
        return self.file - self.original

    def as_json(self) -> dict[str, float]:
        """Both and their difference."""
        return {**asdict(self), "difference": self.difference}


@dataclass(frozen=True)
class Parity:
    """An exported file compared with the original on the test split.

    Attributes:
        agreement: Decisions and probabilities.
        plates: Number of plates; of images where plates are unknown.
        has_plates: Whether plates are known.
        median_confidence: Median over images of the original's largest probability: where it is
            near 1, agreement means little.
        accuracy: Accuracy of both.
        interval: 95 % interval of the difference of accuracy, paired, over plates; None if the
            plates give none.
        least: One-sided 95 % lower bound of that difference, likewise.
        calibration_error: Expected calibration error of both.
        log_loss: Log loss of both.
        abstention: For each target error rate, the threshold to use with the file, and whether it
            is that of the run; see `abstention_rows`. Empty before that is known.
    """

    agreement: Agreement
    plates: int
    has_plates: bool
    median_confidence: float
    accuracy: Pair
    interval: tuple[float, float] | None
    least: float | None
    calibration_error: Pair
    log_loss: Pair
    abstention: tuple[dict[str, Any], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The content of `parity.json` about the comparison."""
        found = self.agreement
        return {
            "images": found.images,
            "plates": self.plates if self.has_plates else None,
            "median_confidence": self.median_confidence,
            "decisions": {
                "agree": found.images - len(found.differing),
                "differ": len(found.differing),
                "examples": list(found.differing[:EXAMPLES]),
            },
            "probability_difference": {
                "max": found.max_difference,
                "mean": found.mean_difference,
                "worst": found.worst,
            },
            "accuracy": {
                **self.accuracy.as_json(),
                "interval": list(self.interval) if self.interval else None,
                "lower_bound": self.least,
            },
            "calibration_error": self.calibration_error.as_json(),
            "log_loss": self.log_loss.as_json(),
            "estimates": dict(found.estimates),
            "unlike_flags_that_differ": found.flags,
            "abstention": list(self.abstention),
        }


def parity_of(subject: Subject, exported: Classifier) -> tuple[Parity, Outputs]:
    """Compare a file with the original on the test split.

    Args:
        subject: The original and its images.
        exported: The file.

    Returns:
        The comparison, and the file's outputs for the test images.
    """
    outputs = subject.found(exported)
    before, after = subject.predictions(subject.expected()), subject.predictions(outputs)
    first, second = (one.y_pred == one.y_true for one in (before, after))
    groups = before.groups
    interval = accuracy_difference(first, second, groups, resamples=RESAMPLES)["interval"]
    return Parity(
        agreement=compare(subject.names(), subject.expected(), outputs),
        plates=int(groups.max()) + 1,
        has_plates=before.has_plates,
        median_confidence=float(np.median(before.probabilities.max(axis=1))),
        accuracy=Pair(float(first.mean()), float(second.mean())),
        interval=(interval[0], interval[1]) if interval else None,
        least=least_difference(first, second, groups, resamples=RESAMPLES),
        calibration_error=Pair(
            *(reliability(one).expected_calibration_error for one in (before, after))
        ),
        log_loss=Pair(log_loss(before), log_loss(after)),
    ), outputs


def abstention_rows(
    subject: Subject, exported: Classifier, outputs: Outputs
) -> tuple[dict[str, Any], ...]:
    """Threshold of confidence for each target error rate.

    The run's threshold is carried over if the file, abstaining below it, meets the target on
    validation images, by the same upper bound that chose it; otherwise the file's own is taken.

    Args:
        subject: The original and its images.
        exported: The file.
        outputs: What the file predicts for the test images.

    Returns:
        A row for each rate: `wanted_error_rate`, `original` (the run's threshold or None),
        `threshold` (None if no threshold meets the target), `carried_over`, and the file's
        `coverage` and `error_rate` on the test images.
    """
    validation = None
    if subject.names("val"):
        validation = subject.predictions(subject.found(exported, "val"), "val")
    kept = subject.original.metadata.thresholds
    return tuple(_thresholds(kept, subject.predictions(outputs), validation))


def _thresholds(
    kept: Mapping[float, float], test: Predictions, validation: Predictions | None
) -> list[dict[str, Any]]:
    """The rows of `abstention_rows`, from the run's thresholds and the file's predictions."""
    rows = []
    rates = sorted({*ERROR_RATES, *kept}, reverse=True)
    for own in abstention(test, validation, rates, resamples=2):
        rate = own["wanted_error_rate"]
        threshold = kept.get(rate)
        carried_over = threshold is not None and _meets(validation or test, threshold, rate)
        used = threshold if carried_over else own["threshold"]
        result = {} if used is None else abstaining(test, used, resamples=2)
        rows.append(
            {
                "wanted_error_rate": rate,
                "original": threshold,
                "threshold": used,
                "carried_over": carried_over,
                "coverage": result.get("coverage"),
                "error_rate": result.get("error_rate"),
            }
        )
    return rows


def _meets(predictions: Predictions, threshold: float, rate: float) -> bool:
    """Whether the upper bound of the error rate from a threshold up meets a target."""
    decided = (predictions.confidence >= threshold) & ~predictions.flagged
    if not decided.any():
        return False
    wrong = (predictions.y_pred != predictions.y_true)[decided]
    _, groups = np.unique(predictions.groups[decided], return_inverse=True)
    return bool(upper_bound(wrong, groups) <= rate)


def shortfalls(parity: Parity, policy: Policy, spreads: Mapping[str, float]) -> list[str]:
    """What a file fails of its policy, a clause each; empty if it passes.

    Args:
        parity: The comparison.
        policy: The requirements.
        spreads: Column that the models estimate → standard deviation over the training images.
    """
    # Not `>`: every comparison with NaN is false.
    found, failed = parity.agreement, []
    if policy.same_decisions and found.differing:
        failed.append(
            f"all predicted classes must be the same, got {len(found.differing)} of "
            f"{found.images} that differ (for example {shown(found.differing[0])})"
        )
    limit = policy.max_difference
    if limit is not None and not found.max_difference <= limit:
        failed.append(
            f"max |Δp| must be at most {limit:.0e}, got {found.max_difference:.1e} "
            f"(for {shown(found.worst)})"
        )
    if policy.accuracy_loss is not None:
        failed += _accuracy_shortfall(parity, policy.accuracy_loss)
    rise = policy.calibration_error_rise
    if rise is not None and not parity.calibration_error.difference <= rise:
        failed.append(
            f"the calibration error must rise by at most {rise:.3f}, got "
            f"{parity.calibration_error.difference:.3f}"
        )
    for name, difference in found.estimates.items():
        allowed = policy.estimate_difference * spreads[name]
        if not difference <= allowed:
            failed.append(
                f"the difference of {name} must be at most {allowed:.1e}, got {difference:.1e}"
            )
    return failed


def _accuracy_shortfall(parity: Parity, loss: float) -> list[str]:
    least, what = parity.least, "plates" if parity.has_plates else "images"
    if least is not None and least >= -loss:
        return []
    found = parity.accuracy.difference * POINTS
    bound = "unknown" if least is None else f"{least * POINTS:+.3g}"
    text = (
        f"the loss of accuracy must be at most {loss * POINTS:g} points with 95 % confidence, "
        f"got a lower bound of {bound} over {parity.plates:,} {what} (measured: {found:+.3g})"
    )
    if found >= -loss * POINTS:
        text += f"; these {what} are too few to decide: use more test images, or a larger --margin"
    return [text]
