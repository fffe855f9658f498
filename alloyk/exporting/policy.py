"""What an exported file must keep of the original, by format."""

from dataclasses import dataclass, replace

POINTS = 100  # percentage points in a share


@dataclass(frozen=True)
class Policy:
    """Requirements on an exported file; None where there is none.

    Attributes:
        same_decisions: Whether every predicted class must be the same.
        max_difference: Largest difference of a probability, `max |Δp|`.
        accuracy_loss: Largest loss of accuracy, a share. It must be excluded with 95 % confidence,
            by a paired test over plates.
        calibration_error_rise: Largest increase of the expected calibration error.
        estimate_difference: Largest difference of an estimated number, in standard deviations of
            its column over the training images.
    """

    same_decisions: bool = False
    max_difference: float | None = None
    accuracy_loss: float | None = None
    calibration_error_rise: float | None = None
    estimate_difference: float = 1e-3

    def with_accuracy_loss(self, points: float | None) -> "Policy":
        """The same with another largest loss of accuracy, in points, where there is one."""
        if points is None or self.accuracy_loss is None:
            return self
        return replace(self, accuracy_loss=points / POINTS)


FLOAT32 = Policy(same_decisions=True, max_difference=1e-4)
FLOAT16 = Policy(max_difference=1e-2, estimate_difference=1e-2)
QUANTIZED = Policy(accuracy_loss=0.005, calibration_error_rise=0.02, estimate_difference=0.1)
