"""The result of an export."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from alloyk.exporting.agreement import Agreement
from alloyk.exporting.calibration import Calibration
from alloyk.exporting.parity import Parity
from alloyk.exporting.policy import Policy
from alloyk.exporting.quantization import Scheme
from alloyk.inference.latency import Speed


@dataclass(frozen=True)
class Draws:
    """The calibration of a file.

    Attributes:
        calibration: The images of both draws.
        difference: Agreement on the test images of the file and one made from the other draw.
    """

    calibration: Calibration
    difference: Agreement


@dataclass(frozen=True)
class Attempt:
    """A file that was tried.

    Attributes:
        what: Which.
        size_bytes: Its size; None if it could not be made.
        failed: What it failed of its policy, or why it cannot be used; empty if it passed.
    """

    what: str
    size_bytes: int | None
    failed: tuple[str, ...]


@dataclass(frozen=True)
class ExportReport:
    """Result of an export.

    Attributes:
        path: The file, or the folder.
        format: Key of `FORMATS`.
        input_shape: `(height, width, channels)` of its input images, with None for any size.
        parity: Comparison with the original model on the raw images of the test split.
        policy: What was required of it.
        allowed: Column → largest allowed difference of its estimates.
        resized: Number of these images that were resized to the file's input size for both models.
        recorded: Agreement with the run's recorded predictions; None if those are of other images,
            or if images were resized.
        size_bytes: Size of the file or folder.
        speed: On one thread, for one image of `timed_shape`.
        timed_shape: `(height, width, channels)`.
        proof: Folder with `parity.json` and `parity.png`.
        scheme: How the network is quantised; None for not at all.
        draws: Calibration images; None for a format without.
        attempts: Files tried until one passed, the last one; empty for a chosen format.
        advice: How to get a smaller file, for the user; empty if there is none.
    """

    path: Path
    format: str
    input_shape: tuple[int | None, ...]
    parity: Parity
    policy: Policy
    allowed: Mapping[str, float]
    resized: int
    recorded: Agreement | None
    size_bytes: int
    speed: Speed
    timed_shape: tuple[int, int, int]
    proof: Path
    scheme: Scheme | None = None
    draws: Draws | None = None
    attempts: tuple[Attempt, ...] = ()
    advice: str = ""

    @property
    def agreement(self) -> Agreement:
        """Agreement with the original model on the test split."""
        return self.parity.agreement

    @property
    def latency_seconds(self) -> float:
        """Median time of one image on one thread."""
        return self.speed.median_seconds
