"""The metrics of an evaluation, as `metrics.json` holds them.

These are plain dictionaries with declared keys: what is computed, what is written and what is read
back are the same object, and a type checker knows the type of each key. A file of an earlier
version may lack some of them.
"""

from typing import Any, Literal, TypeAlias, TypedDict

Interval = list[float]
"""`[low, high]` at 95 %."""


ClassMetric: TypeAlias = Literal[
    "precision", "recall", "specificity", "f1", "average_precision", "roc_auc"
]


class ClassMetrics(TypedDict):
    """Metrics of one class against the rest, or their macro or micro mean; None if undefined."""

    precision: float | None
    recall: float | None
    specificity: float | None
    f1: float | None
    average_precision: float | None
    roc_auc: float | None
    support: int


class TrainMetrics(TypedDict):
    """Training metrics from `history.csv`; see `alloyk.runs.history.training_metrics`."""

    final_loss: float | None
    final_val_loss: float | None
    best_epoch: int
    seconds: float | None
    parameters: int | None


class Ceiling(TypedDict, total=False):
    """The reference ceiling, with its Monte Carlo errors."""

    accuracy: float
    error: float
    classes: list[str]
    recall: dict[str, float]
    recall_error: dict[str, float]
    notes: list[str]


class BaselineMetrics(TypedDict):
    """Accuracy of a baseline on the same images."""

    what: str
    accuracy: float
    interval: Interval | None


class Resampling(TypedDict):
    """What the intervals rest on."""

    over: str
    groups: int
    resamples: int
    seed: int


class PlateMetrics(TypedDict):
    """Metrics with one decision per plate."""

    n: int
    accuracy: float
    balanced_accuracy: float
    confusion_matrix: list[list[int]]
    interval: Interval | None


class Calibration(TypedDict):
    """Calibration error, before and after temperature scaling."""

    expected_calibration_error: float
    bins: int
    temperature_scaling: dict[str, Any] | None


class Unlike(TypedDict):
    """How many images are unlike the training images, and how many errors remain unnoticed.

    Attributes:
        share: Share of the images.
        validation_share: Share of the run's validation images; None if not known.
        silent_errors: Share of the images that are confidently wrong and not flagged.
    """

    share: float
    validation_share: float | None
    silent_errors: float


class Metrics(TypedDict, total=False):
    """The content of `metrics.json`."""

    n: int
    classes: list[str]
    accuracy: float
    balanced_accuracy: float
    log_loss: float
    confusion_matrix: list[list[int]]
    per_class: dict[str, ClassMetrics]
    macro: ClassMetrics
    micro: ClassMetrics
    undefined: dict[str, str]
    confidence_intervals: dict[str, Interval]
    resampling: Resampling
    plates: PlateMetrics | None
    regression: dict[str, dict[str, Any]]
    calibration: Calibration
    abstention: list[dict[str, Any]]
    unlike: Unlike | None
    split: str
    evaluated: str
    grouped_by: str | None
    simulated: bool | None
    notes: list[str]
    ceiling: Ceiling | None
    controls: dict[str, BaselineMetrics]
    train: TrainMetrics | None
    folds: dict[str, Any] | None
