"""The influence of each plate on a metric (infinitesimal jackknife).

The influence of a group on a metric is the derivative of the metric with respect to the weight of
the group's images. Influences sum to 0, and the sum of their squares is the variance of the metric
over groups.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from alloyk.runs.predictions import Predictions

RANK_METRICS = ("average_precision", "roc_auc")


@dataclass(frozen=True, eq=False)
class Evidence:
    """The data behind one metric.

    Attributes:
        influence: `(n_groups,)`, sums to 0; NaN where the metric is undefined.
        groups: Number of groups that the metric is computed from.
        binomial: Its variance if images were independent; 0 if it is not a share of images.
    """

    influence: np.ndarray
    groups: int
    binomial: float = 0.0


def evidence_of_share(correct: np.ndarray, groups: np.ndarray) -> Evidence:
    """Return the evidence of the share of True in `correct` `(n,)`; groups `(n,)` int from 0."""
    share = float(np.mean(correct))
    influence = np.bincount(groups, correct - share) / len(correct)
    return Evidence(influence, len(influence), share * (1 - share) / len(correct))


def mean_evidence(parts: list[Evidence]) -> Evidence:
    """Return the evidence of the mean of several metrics.

    If none of c classes with at least m groups each has an error, the mean of the c proportions is
    bounded like one proportion over c · m groups, because a mean is not below the geometric mean.
    Classes that share groups count at most as many groups as exist.
    """
    shared = len(parts) * min(part.groups for part in parts)
    return Evidence(
        influence=np.mean([part.influence for part in parts], axis=0),
        groups=min(shared, len(parts[0].influence)),
        binomial=sum(part.binomial for part in parts) / len(parts) ** 2,
    )


def evidence_by_class(predictions: Predictions) -> dict[str, list[Evidence | None]]:
    """Metric → its evidence for each class, None where it is undefined."""
    n_groups = int(predictions.groups.max()) + 1
    counts = counts_by_group(predictions, n_groups)
    correct, true, predicted = counts["correct"], counts["true"], counts["predicted"]
    others = true.sum(axis=1, keepdims=True) - true
    rejected = others - (predicted - correct)
    ranks = rank_influences_by_group(predictions, n_groups)

    found: dict[str, list[Evidence | None]] = {}
    for name, part, whole in (
        ("precision", correct, predicted),
        ("recall", correct, true),
        ("specificity", rejected, others),
    ):
        found[name] = [_ratio(*columns) for columns in zip(part.T, whole.T, strict=True)]
    found["f1"] = [
        _ratio(*columns, of_images=False)
        for columns in zip(2 * correct.T, (true + predicted).T, strict=True)
    ]
    of_class, of_others = (true > 0).sum(axis=0), (others > 0).sum(axis=0)
    for name, groups in zip(RANK_METRICS, (of_class, np.minimum(of_class, of_others)), strict=True):
        found[name] = [
            Evidence(column, int(n)) if np.isfinite(column).all() else None
            for column, n in zip(ranks[name].T, groups, strict=True)
        ]
    return found


def _ratio(part: np.ndarray, whole: np.ndarray, *, of_images: bool = True) -> Evidence | None:
    """Evidence of `part.sum() / whole.sum()`, both `(n_groups,)`."""
    total = whole.sum()
    if not total:
        return None
    share = part.sum() / total
    return Evidence(
        influence=(part - share * whole) / total,
        groups=int((whole > 0).sum()),
        binomial=float(share * (1 - share) / total) if of_images else 0.0,
    )


def counts_by_group(predictions: Predictions, n_groups: int) -> dict[str, np.ndarray]:
    """Count correct images, images and predictions by group and class, `(n_groups, k)` each."""
    k = len(predictions.classes)
    hit = predictions.y_true == predictions.y_pred

    def count(classes: np.ndarray, rows: Any = slice(None)) -> np.ndarray:
        cells = predictions.groups[rows] * k + classes[rows]
        counts = np.bincount(cells, minlength=n_groups * k)
        return counts.reshape(n_groups, k).astype(np.float64)

    return {
        "correct": count(predictions.y_true, hit),
        "true": count(predictions.y_true),
        "predicted": count(predictions.y_pred),
    }


def rank_influences_by_group(predictions: Predictions, n_groups: int) -> dict[str, np.ndarray]:
    """Influences on the ranking metrics: metric → `(n_groups, k)`, NaN where undefined."""
    k = len(predictions.classes)
    sums = {name: np.full((n_groups, k), np.nan) for name in RANK_METRICS}
    for c in range(k):
        of_class = predictions.one_hot[:, c]
        if of_class.all():
            sums["average_precision"][:, c] = 0  # it is 1 whatever the ranking
        elif of_class.any():
            both = rank_influences(of_class, predictions.probabilities[:, c])
            for name, change in zip(RANK_METRICS, both, strict=True):
                sums[name][:, c] = np.bincount(predictions.groups, change, n_groups)
    return sums


def rank_influences(of_class: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Influence of each image on average precision and ROC AUC.

    These are the derivatives of the weighted metrics with respect to the weight of each image. For
    the AUC they are the structural components of DeLong et al., 1988, summed over a plate as in
    Obuchowski, 1997.

    Args:
        of_class: `(n,)` bool, with both values.
        probability: `(n,)` of the class.

    Returns:
        Two arrays `(n,)`; each sums to 0.
    """
    order = np.argsort(-probability, kind="stable")
    ordered, positive = probability[order], of_class[order].astype(np.float64)
    # Equal probabilities share one threshold: the last image of each run of equals.
    last = np.append(ordered[1:] != ordered[:-1], True)
    ends = np.flatnonzero(last)
    run = np.cumsum(np.append(False, last[:-1]))
    flagged = (ends + 1).astype(np.float64)
    true = np.cumsum(positive)[ends]
    n_positive, n_other = true[-1], flagged[-1] - true[-1]

    in_run = np.diff(true, prepend=0)
    ap = (in_run * true / flagged).sum() / n_positive

    def from_here_down(values: np.ndarray) -> np.ndarray:
        return np.cumsum(values[::-1])[::-1]

    # The image raises the precision at its own threshold and at every lower one.
    raised, diluted = in_run / flagged, in_run * true / flagged**2
    by_run = positive * from_here_down(raised)[run] - from_here_down(diluted)[run]
    to_ap = (by_run + positive * ((true / flagged)[run] - ap)) / n_positive

    others = np.diff(flagged - true, prepend=0)
    others_below = n_other - np.cumsum(others) + others / 2
    positives_above = np.cumsum(in_run) - in_run / 2
    auc = (in_run * others_below).sum() / (n_positive * n_other)
    to_auc = np.where(
        positive == 1,
        (others_below[run] / n_other - auc) / n_positive,
        (positives_above[run] / n_positive - auc) / n_other,
    )
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return to_ap[back], to_auc[back]
