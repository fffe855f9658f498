"""The text of `report.txt`."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from alloyk.alloys import display_name
from alloyk.messages import counted, few
from alloyk.metrics.classification import PER_CLASS
from alloyk.metrics.fold_spread import SUMMARY_METRICS, metric_at
from alloyk.metrics.regression import ERROR_METRICS
from alloyk.metrics.selective import threshold_text
from alloyk.runs.facts import UNKNOWN_GROUPING
from alloyk.runs.metrics import Interval, Metrics
from alloyk.runs.predictions import Predictions

OTHER_DATA = "other data"
"""Value of `grouped_by`: the images are not a split of the run's own data set."""

# A label may have dots, and the path of estimates without any true value ends with it.
_METRICS = "|".join((*PER_CLASS, *ERROR_METRICS))
_PER_CLASS = re.compile(
    rf"(?P<before>(?:.*\.)?per_class\.)(?P<label>.+?)(?P<metric>(?:\.(?:{_METRICS}))?)"
)


def describe(predictions: Predictions, metrics: Metrics) -> str:
    """Describe the evaluated images in one line.

    For example `test split, 1,800 images of 300 plates, simulated`.
    """
    images = counted(len(predictions))
    if predictions.has_plates:
        images += f" of {counted(metrics['resampling']['groups'], 'plate')}"
    parts = [metrics["evaluated"], images]
    return ", ".join([*parts, "simulated"] if metrics["simulated"] else parts)


def format_report(predictions: Predictions, metrics: Metrics) -> str:
    """The text of `report.txt`: classification report, accuracy, grouping of the split."""
    from sklearn.metrics import classification_report

    table = classification_report(
        predictions.y_true,
        predictions.y_pred,
        labels=np.arange(len(metrics["classes"])),
        target_names=[display_name(label) for label in metrics["classes"]],
        digits=4,
        zero_division=np.nan,
    )
    intervals = metrics["confidence_intervals"]
    lines = [describe(predictions, metrics), describe_grouping(metrics["grouped_by"])]
    lines += metrics["notes"]
    if metrics["simulated"]:
        lines.append("The images are simulated: no real radiograph was evaluated.")
    lines += ["", table]
    for name, title in SUMMARY_METRICS.items():
        value = metric_at(metrics, name)
        between = "[{:.4f}, {:.4f}]".format(*intervals[name]) if name in intervals else ""
        number = "undefined" if value is None else f"{value:.4f}"
        lines.append(f"{title:<18} {number:>9}  {between}".rstrip())
    lines += _references(metrics)
    lines += _further(metrics)
    lines += _estimates(metrics)
    over = metrics["resampling"]["over"]
    lines += ["", f"In brackets: 95 % confidence interval, from resampling {over}."]
    if over == "images":
        lines.append(
            "Plates are not known: if images share a plate, these intervals are too narrow."
        )
    lines += [f"Undefined: {line}" for line in undefined_lines(metrics["undefined"])]
    return "\n".join(lines) + "\n"


def undefined_lines(undefined: Mapping[str, str]) -> list[str]:
    """List the metrics without a value and why; classes with the same reason share a line.

    >>> undefined_lines({"per_class.A.recall": "the split has no image of A",
    ...                  "per_class.B.recall": "the split has no image of B"})
    ['per_class.*.recall of 2 classes (A, B): the split has no image of the class']
    """
    shared: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for name, why in undefined.items():
        found = _PER_CLASS.fullmatch(name)
        if found is None:
            shared[name, why] = []
            continue
        label = found["label"]
        common = re.sub(rf"\b(of|as) {re.escape(label)}(?=$|,)", r"\1 the class", why)
        key = f"{found['before']}*{found['metric']}", common
        shared.setdefault(key, []).append((label, why))
    lines = []
    for (name, why), classes in shared.items():
        if len(classes) == 1:
            label, why = classes[0]
            name = name.replace("*", label)
        elif classes:
            labels = few(display_name(label) for label, _ in classes)
            name += f" of {len(classes)} classes ({labels})"
        lines.append(f"{name}: {why}")
    return lines


def describe_grouping(grouped_by: str | None) -> str:
    """Describe in one sentence how images were grouped; see `ImageDataset.grouped_by`.

    Args:
        grouped_by: As there, or `OTHER_DATA`, or `UNKNOWN_GROUPING`.
    """
    match grouped_by:
        case None:
            return (
                "Split image by image: images of one plate may be in training and test, so the "
                "results may be optimistic."
            )
        case "folders" | "manifest":
            return f"Split as given by the data set's {grouped_by}."
        case _ if grouped_by == OTHER_DATA:
            return (
                "Evaluated on other data than the run's own: whether its plates were used in "
                "training is not known."
            )
        case _ if grouped_by == UNKNOWN_GROUPING:
            return "What the split was grouped by is not known."
        case _:
            return f"Split grouped by {grouped_by}: no {grouped_by} is in two splits."


def _references(metrics: Metrics) -> list[str]:
    """Lines on the reference ceiling and the baselines, where `metrics` has them."""
    lines = []
    for name, baseline in (metrics.get("controls") or {}).items():
        between = _interval(baseline["interval"])
        title = f"{name} baseline"
        lines.append(f"{title:<18} {baseline['accuracy']:>9.4f}  {between}  {baseline['what']}")
    ceiling = metrics.get("ceiling")
    if ceiling:
        value, error = ceiling["accuracy"], ceiling["error"]
        lines.append(f"{'reference ceiling':<18} {value:>9.4f}  ± {error:.4f}")
        lines += [
            "",
            "The reference ceiling is what an ideal classifier reaches under the simulator's own "
            "model, from one image, or one sample of several channels, of a plate not used in "
            "training.",
            *ceiling.get("notes", []),
        ]
        interval = metrics["confidence_intervals"].get("accuracy")
        if interval and interval[0] > value + 2 * error:
            lines.append(
                "The accuracy is above the ceiling: these plates were used in training, or the "
                "images carry information on the class that the simulator's model lacks."
            )
    return lines


def _further(metrics: Metrics) -> list[str]:
    """Lines on folds, plates, calibration and abstention, where `metrics` has them."""
    lines = []
    folds = metrics.get("folds")
    if folds:
        lines.append("")
        for name, shown in SUMMARY_METRICS.items():
            spread = folds["figures"][name]
            if spread["sd"] is not None:
                lines.append(f"{shown:<18} {spread['mean']:>9.4f}  ± {spread['sd']:.4f} over folds")
    plates = metrics.get("plates")
    if plates:
        between = _interval(plates["interval"])
        lines.append(f"{'accuracy per plate':<18} {plates['accuracy']:>9.4f}  {between}".rstrip())
    if metrics.get("calibration"):
        calibration = metrics["calibration"]
        error = calibration["expected_calibration_error"]
        lines += ["", f"Expected calibration error {error:.4f}."]
        scaling = calibration["temperature_scaling"]
        if scaling and scaling["temperature"] is not None:
            lines[-1] += (
                f" After temperature scaling ({scaling['temperature']:.3f}, fitted on validation): "
                f"{scaling['expected_calibration_error']:.4f}, log loss {scaling['log_loss']:.4f}."
            )
        elif scaling:
            lines[-1] += f" No temperature scaling: {scaling['why']}."
    return lines + _unlike(metrics) + _abstention(metrics)


def _unlike(metrics: Metrics) -> list[str]:
    """A line on images that are unlike those of training, where the run can tell."""
    unlike = metrics.get("unlike")
    if not unlike:
        return []
    known = unlike["validation_share"]
    beside = "" if known is None else f" (validation: {100 * known:.2f} %)"
    return [
        f"Unlike the training images: {100 * unlike['share']:.2f} % of the images{beside}. "
        f"Silent errors (not unlike, confident, wrong): {100 * unlike['silent_errors']:.2f} %."
    ]


def _abstention(metrics: Metrics) -> list[str]:
    """A line for each threshold, and one for each reason why there is none."""
    by_threshold: dict[float | None, list[dict[str, Any]]] = {}
    for row in metrics["abstention"]:
        by_threshold.setdefault(row["threshold"], []).append(row)
    lines = []
    for threshold, rows in by_threshold.items():
        rates = [f"{100 * row['wanted_error_rate']:g} %" for row in rows]
        last = rows[-1]
        also = " and on images unlike those of training" if metrics.get("unlike") else ""
        if threshold is None:
            whys = [f"{rate}: {row['why']}" for rate, row in zip(rates, rows, strict=True)]
            lines.append("No confidence threshold is shown to keep the error rate at")
            lines += [f"  {why}." for why in whys]
            continue
        line = (
            f"For an error rate of {' or '.join(rates)}: abstain below a confidence of "
            f"{threshold_text(threshold)}{also} (chosen on {last['chosen_on']}, where at most "
            f"{100 * last['error_bound']:.2f} % are wrong with 95 % confidence)"
        )
        if last["error_rate"] is None:
            lines.append(f"{line}; no image here reaches it.")
            continue
        between = last["interval"]
        between = " [{:.2f}, {:.2f}]".format(*(100 * x for x in between)) if between else ""
        over = metrics["resampling"]["over"]
        over = over if last["groups"] > 1 else over.removesuffix("s")
        lines.append(
            f"{line}; that classifies {100 * last['coverage']:.1f} % of the images, of "
            f"{last['groups']:,} {over}, {100 * last['error_rate']:.2f} %{between} of them wrong."
        )
    return lines


def _estimates(metrics: Metrics) -> list[str]:
    """A table for each column of numbers that was estimated: all images, then each class."""
    lines = []
    for column, errors in metrics.get("regression", {}).items():
        if not errors["n"]:  # "Undefined" has the reason
            continue
        name = f"regression.{column}"
        rows = [("all", name, errors)]
        rows += [(display_name(label), f"{name}.per_class.{label}", of_class)
                 for label, of_class in errors["per_class"].items()]  # fmt: skip
        width = max(18, *(len(title) for title, *_ in rows))
        heads = [f"{title:<29}" for title in ("MAE", "RMSE", "R²")]
        lines += ["", f"{column}, estimated", f"{'':<{width}} {''.join(heads)}  images"]
        for title, path, values in rows:
            cells = "".join(
                f"{_with_interval(values[metric], metrics, f'{path}.{metric}'):<29}"
                for metric in ("mae", "rmse", "r2")
            )
            lines.append(f"{title:<{width}} {cells} {values['n']:>7,}")
    return lines


def _with_interval(value: float | None, metrics: Metrics, path: str) -> str:
    if value is None:
        return "undefined"
    interval = metrics["confidence_intervals"].get(path)
    return f"{value:#.4g}" + (" [{:#.4g}, {:#.4g}]".format(*interval) if interval else "")


def _interval(interval: Interval | None) -> str:
    return "[{:.4f}, {:.4f}]".format(*interval) if interval else ""
