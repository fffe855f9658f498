"""The figures of a folder, each with an alternative text."""

from collections.abc import Callable
from pathlib import Path

from alloyk.alloys import display_name
from alloyk.messages import counted
from alloyk.reporting.page import Picture
from alloyk.runs.metrics import ClassMetric, Metrics

# The order on the page; other files of the folder follow.
ORDER = (
    "confusion_matrix", "confusion_matrix_normalized", "pr_curve", "roc_curve", "reliability",
    "coverage", "ceiling", "folds", "breakdown", "mistakes", "accuracy", "loss",
)  # fmt: skip
# Prefixes of the names of figures that have a fixed place on the page.
PLACED = (
    "reliability", "coverage", "ceiling", "folds", "breakdown", "estimated", "mistakes",
    "accuracy", "loss",
)  # fmt: skip
# Classes named in an alternative text at most; the tables have all of them.
MAX_CLASSES = 12


def pictures(folder: Path, metrics: Metrics) -> dict[str, Picture]:
    """Read every PNG file in a folder, in the order of `ORDER`.

    Args:
        folder: `figures` of a run or another folder of pictures; it may be absent.
        metrics: The metrics, for the alternative texts.

    Returns:
        File name without `.png` → picture.
    """
    files = {path.stem: path for path in sorted(Path(folder).glob("*.png"))}
    names = [name for name in ORDER if name in files]
    names += [name for name in files if name not in names]
    return {name: picture(files[name], metrics) for name in names}


def picture(path: Path, metrics: Metrics) -> Picture:
    """Read one PNG file as part of a page."""
    name = path.stem
    title, describe = _KNOWN.get(name, (name.replace("_", " ").capitalize(), None))
    for beginning, words in (
        ("breakdown_", "By class and"),
        ("estimated_", "Estimated against true"),
    ):
        if name.startswith(beginning):
            title = f"{words} {name.removeprefix(beginning)}"
    alt = describe(metrics) if describe else f"{title}. The tables have its numbers."
    return Picture(title, alt, path.read_bytes())


def _confusions(metrics: Metrics) -> str:
    names = [display_name(label) for label in metrics["classes"]]
    texts = []
    for name, row in list(zip(names, metrics["confusion_matrix"], strict=True))[:MAX_CLASSES]:
        found = [f"{count:,} as {other}" for other, count in zip(names, row, strict=True) if count]
        texts.append(f"{name}: {', '.join(found) or 'no image'}")
    rest = len(names) - len(texts)
    more = f"; and {counted(rest, 'more class')}" if rest > 0 else ""
    return f"Confusion matrix. Images of {'; of '.join(texts)}{more}."


def _per_class(metric: ClassMetric, name: str) -> Callable[[Metrics], str]:
    def describe(metrics: Metrics) -> str:
        values = [
            f"{display_name(label)} "
            + ("undefined" if found[metric] is None else f"{found[metric]:.4f}")
            for label, found in list(metrics["per_class"].items())[:MAX_CLASSES]
        ]
        return f"{name} of each class against the rest: {', '.join(values)}."

    return describe


def _reliability(metrics: Metrics) -> str:
    calibration = metrics.get("calibration")
    error = calibration.get("expected_calibration_error") if calibration else None
    text = "Accuracy against confidence"
    return text + ("." if error is None else f"; expected calibration error {error:.4f}.")


def _coverage(metrics: Metrics) -> str:
    wrong = 1 - metrics["accuracy"]
    return (
        "Share of misclassified images against the share of images classified, the most confident "
        f"first; with all images classified it is {100 * wrong:.2f} %. Dashed: its upper bound."
    )


def _ceiling(metrics: Metrics) -> str:
    values = {"this run": metrics["accuracy"]}
    values |= {f"{k} baseline": v["accuracy"] for k, v in (metrics.get("controls") or {}).items()}
    ceiling = metrics.get("ceiling")
    if ceiling:
        values["reference ceiling, simulated"] = ceiling["accuracy"]
    return f"Accuracies: {', '.join(f'{name} {value:.4f}' for name, value in values.items())}."


def _history(quantity: str) -> Callable[[Metrics], str]:
    def describe(metrics: Metrics) -> str:
        train = metrics.get("train")
        best = train.get("best_epoch") if train else None
        text = f"{quantity} in training and validation over epochs"
        return text + ("." if best is None else f"; the best epoch is {best}.")

    return describe


_KNOWN = {
    "confusion_matrix": ("Confusion matrix, images; rows are true", _confusions),
    "confusion_matrix_normalized": ("Confusion matrix, % of each true class", _confusions),
    "pr_curve": ("Precision against recall", _per_class("average_precision", "Average precision")),
    "roc_curve": ("ROC", _per_class("roc_auc", "Area under the ROC curve")),
    "reliability": ("Reliability: accuracy against confidence", _reliability),
    "coverage": ("Errors that remain when abstaining on uncertain images", _coverage),
    "breakdown": ("Accuracy by condition", None),
    "mistakes": ("The most confident mistakes", None),
    "ceiling": ("Accuracy beside reference ceiling and baselines", _ceiling),
    "accuracy": ("Accuracy over epochs", _history("Accuracy")),
    "loss": ("Loss over epochs", _history("Loss")),
}
