"""How certain the best trial of a search is.

Trials are evaluated on the same images, so that they are compared in pairs: by a bootstrap over the
validation plates, in which every resample draws the same plates for all trials, or by their means
over the same folds.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from alloyk.metrics.bootstrap import RESAMPLES, resampled_counts
from alloyk.metrics.classification import log_losses
from alloyk.metrics.intervals import (
    CONFIDENCE,
    ROUNDING,
    interval_of_share,
    log_interval,
    on_the_log_scale,
    wilson,
)
from alloyk.metrics.jackknife import evidence_of_share
from alloyk.metrics.significance import error_and_freedom
from alloyk.runs.folder import RunFolder
from alloyk.runs.predictions import Predictions, read_predictions
from alloyk.runs.search_records import Trial, TrialRecords, falls

UPPER = (1 + CONFIDENCE) / 2


class Certainty(NamedTuple):
    """A trial's metric on the validation images, and how it compares with the best trial.

    Attributes:
        value: Accuracy, or log loss.
        interval: Its 95 % interval; None if the images give no estimate of its error.
        tied: Whether the images do not show that the trial and the best one differ: the 95 %
            interval of the difference contains 0.
    """

    value: float
    interval: tuple[float, float] | None
    tied: bool


def metric_of(monitor: str) -> str:
    """What trials are compared by on their validation predictions.

    >>> metric_of("val_loss"), metric_of("val_accuracy")
    ('log_loss', 'accuracy')
    """
    return "log_loss" if falls(monitor) else "accuracy"


def trial_certainties(
    records: TrialRecords, best_first: Sequence[Trial], monitor: str, *, by_fold: bool = False
) -> dict[str, Certainty]:
    """The certainty of each trial whose validation predictions are there; none without the best.

    Args:
        records: The trials of a search.
        best_first: Those that are finished, the best first.
        monitor: What the search compares them by.
        by_fold: Whether their objective is a mean over folds.

    Raises:
        ModelError: A predictions file is damaged.
    """
    files = {t.name: RunFolder(records.folder(t)).predictions_file("val") for t in best_first}
    found = {name: read_predictions(file) for name, file in files.items() if file.exists()}
    if not best_first or best_first[0].name not in found:
        return {}
    accuracy = metric_of(monitor) == "accuracy"
    measure = fold_certainties if by_fold else certainties
    return measure(found, best_first[0].name, accuracy=accuracy)


def certainties(
    predictions: Mapping[str, Predictions], best: str, *, accuracy: bool, seed: int = 0
) -> dict[str, Certainty]:
    """The certainty of each trial.

    Args:
        predictions: Name of a trial → its predictions of the same validation images, in one order.
        best: Name of the best trial.
        accuracy: Whether trials are compared by accuracy; otherwise by log loss.
        seed: Seed of the resamples.
    """
    names = list(predictions)
    metrics = np.stack([_per_image(predictions[name], accuracy) for name in names], axis=1)
    groups = predictions[best].groups
    n_groups = int(groups.max()) + 1
    sums = np.zeros((n_groups, len(names)))
    np.add.at(sums, groups, metrics)
    sizes = np.bincount(groups, minlength=n_groups).astype(float)
    drawn = np.concatenate(
        [
            (counts @ sums) / (counts @ sizes)[:, None]
            for counts in resampled_counts(n_groups, RESAMPLES, seed)
        ]
    )
    reference = names.index(best)
    found = {}
    for i, name in enumerate(names):
        value, own = float(metrics[:, i].mean()), drawn[:, i]
        interval = (
            interval_of_share(value, own, evidence_of_share(metrics[:, i], groups))
            if accuracy
            else log_interval(value, own, n_groups)
        )
        gain = metrics[:, i] - metrics[:, reference]
        found[name] = Certainty(value, interval, _is_tied(gain, groups, own - drawn[:, reference]))
    return found


def _is_tied(
    gain: npt.NDArray[np.float64],
    groups: npt.NDArray[np.int64],
    replicates: npt.NDArray[np.float64],
) -> bool:
    """Whether a mean gain may be 0, by Student's t as in `accuracy_difference`.

    Where every group shows the same gain, by the sign test: two equal trials differ in the same
    direction on n groups with a probability of 2 · 0.5ⁿ.
    """
    mean = float(gain.mean())
    if abs(mean) <= ROUNDING:
        return True
    found = error_and_freedom(gain, groups, replicates)
    if found is None:
        return bool(2 * 0.5 ** (int(groups.max()) + 1) > 1 - CONFIDENCE)
    error, freedom = found
    return bool(abs(mean) <= t.ppf(UPPER, freedom) * error)


def fold_certainties(
    predictions: Mapping[str, Predictions], best: str, *, accuracy: bool
) -> dict[str, Certainty]:
    """The certainty of each trial from the spread over its folds.

    The training runs of two folds share most images, so that the variance of a mean over K folds is
    taken as (1/K + 1/(K − 1)) times the variance between folds, with Student's t and K − 1 degrees
    of freedom: the corrected interval of
    [Nadeau and Bengio, 2003](https://doi.org/10.1023/A:1024068626366). That of an accuracy is
    Wilson's for this error, that of a log loss symmetric on the log scale, which keeps them in
    their range. Equal values in all folds tell nothing of their spread: then the plates of all
    folds do, as in `certainties`.

    Args:
        predictions: Name of a trial → its predictions of the same images, in one order, with the
            fold of each in a column `fold`.
        best: Name of the best trial.
        accuracy: Whether trials are compared by accuracy; otherwise by log loss.
    """
    over_plates = certainties(predictions, best, accuracy=accuracy)
    names = list(predictions)
    fold = predictions[best].table["fold"].to_numpy()
    metrics = np.stack([_per_image(predictions[name], accuracy) for name in names], axis=1)
    means = np.stack([metrics[fold == one].mean(axis=0) for one in sorted(set(fold))])
    values, errors = _mean_over_folds(means)
    differences, of_difference = _mean_over_folds(means - means[:, [names.index(best)]])
    quantile = float(t.ppf(UPPER, len(means) - 1))
    interval_of = wilson if accuracy else on_the_log_scale
    found = {}
    for i, name in enumerate(names):
        value, error, whole = float(values[i]), float(errors[i]), over_plates[name]
        interval = interval_of(value, error, quantile) if error > ROUNDING else whole.interval
        apart = abs(differences[i]) > quantile * of_difference[i]
        tied = not apart if of_difference[i] > ROUNDING else whole.tied
        found[name] = Certainty(value, interval, bool(tied))
    return found


def _mean_over_folds(
    values: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Means of `(folds, trials)` and their standard errors."""
    folds = len(values)
    error = values.std(axis=0, ddof=1) * np.sqrt(1 / folds + 1 / (folds - 1))
    return values.mean(axis=0), error


def _per_image(predictions: Predictions, accuracy: bool) -> npt.NDArray[np.float64]:
    """Whether each image is right, or its log loss."""
    if accuracy:
        right: npt.NDArray[np.float64] = (predictions.y_pred == predictions.y_true).astype(float)
        return right
    return log_losses(predictions)
