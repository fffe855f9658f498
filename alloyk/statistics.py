"""Confidence intervals by resampling plates, because images of one plate are not independent.

Each figure gets its standard error from a bootstrap over plates (over images where plates are
unknown); the interval is symmetric around it on the logit scale (log scale for the log loss) with
Student's t for the number of plates. The plain percentile interval of the same bootstrap falls
short where plates are few and errors fewer; ``docs/evaluation.md`` has the measured coverage.
"""

from collections.abc import Iterator

import numpy as np

from alloyk.predictions import Predictions

CONFIDENCE = 0.95
RESAMPLES = 2000
# Numbers per block of resamples: as many as stay in the processor's cache.
BLOCK = 1_000_000
# A resample's error is known to 1.6 %, so further digits would be noise of the arithmetic.
DIGITS = 6
ROUNDING = 1e-12

RANK_FIGURES = ("average_precision", "roc_auc")


def clopper_pearson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact binomial interval (Clopper and Pearson, 1934) for `successes` out of `n`.

    >>> low, high = clopper_pearson(20, 20)
    >>> round(low, 4), high
    (0.8316, 1.0)
    """
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else beta.ppf(tail, successes, n - successes + 1)
    high = 1.0 if successes == n else beta.ppf(1 - tail, successes + 1, n - successes)
    return float(low), float(high)


def resampled_counts(n_groups: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each group is drawn in each resample, in blocks.

    Args:
        n_groups: Number of groups; each resample draws as many, with replacement.
        resamples: Number of resamples.
        seed: The same seed gives the same draws, so that two classifiers can be compared on them.

    Yields:
        `(block, n_groups)` float64 counts; each row sums to `n_groups`.
    """
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK // n_groups)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, n_groups, size=(rows, n_groups), dtype=np.int32)
        drawn += np.arange(rows, dtype=np.int32)[:, None] * n_groups
        counts = np.bincount(drawn.ravel(), minlength=rows * n_groups)
        yield counts.reshape(rows, n_groups).astype(np.float64)


def bootstrap(
    predictions: Predictions, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """The figures of each resample of plates.

    Average precision and AUC, which would need every resample sorted anew, are linearised: what
    is returned is their change in first order (`rank_influences`).

    Returns:
        ``accuracy, log_loss`` → `(resamples,)`; ``precision, recall, specificity, f1,
        average_precision, roc_auc`` → `(resamples, k)`, NaN where a resample leaves one undefined.
    """
    groups = predictions.groups
    n_groups = int(groups.max()) + 1
    by_group = {
        **_counts_by_group(predictions, n_groups),
        "loss": np.bincount(groups, _losses(predictions), n_groups)[:, None],
        **_rank_influences_by_group(predictions, n_groups),
    }
    columns = np.concatenate(list(by_group.values()), axis=1)
    edges = np.cumsum([part.shape[1] for part in by_group.values()])[:-1]
    sums = np.concatenate(
        [counts @ columns for counts in resampled_counts(n_groups, resamples, seed)]
    )
    drawn = dict(zip(by_group, np.split(sums, edges, axis=1), strict=True))
    size = drawn["true"].sum(axis=1)
    return {
        "accuracy": drawn["correct"].sum(axis=1) / size,
        "log_loss": drawn["loss"][:, 0] / size,
        **_rates(drawn["correct"], drawn["true"], drawn["predicted"], size[:, None]),
        **{name: drawn[name] for name in RANK_FIGURES},
    }


def _losses(predictions: Predictions) -> np.ndarray:
    """`(n,)`: the log loss of each image, limited as scikit-learn limits it."""
    eps = np.finfo(np.float64).eps
    rows = np.arange(len(predictions))
    return -np.log(np.clip(predictions.probabilities[rows, predictions.y_true], eps, 1 - eps))


def _counts_by_group(predictions: Predictions, n_groups: int) -> dict[str, np.ndarray]:
    """Correct images, images and decisions of each class in each group, `(n_groups, k)` each."""
    k = len(predictions.classes)
    hit = predictions.y_true == predictions.y_pred

    def count(classes, rows=slice(None)):
        cells = predictions.groups[rows] * k + classes[rows]
        counts = np.bincount(cells, minlength=n_groups * k)
        return counts.reshape(n_groups, k).astype(np.float64)

    return {
        "correct": count(predictions.y_true, hit),
        "true": count(predictions.y_true),
        "predicted": count(predictions.y_pred),
    }


def _rank_influences_by_group(predictions: Predictions, n_groups: int) -> dict[str, np.ndarray]:
    """Name → `(n_groups, k)`, NaN where the figure of the class is undefined."""
    k = len(predictions.classes)
    sums = {name: np.full((n_groups, k), np.nan) for name in RANK_FIGURES}
    for c in range(k):
        of_class = predictions.one_hot[:, c]
        if of_class.all():
            sums["average_precision"][:, c] = 0  # it is 1 whatever the ranking
        elif of_class.any():
            both = rank_influences(of_class, predictions.probabilities[:, c])
            for name, change in zip(RANK_FIGURES, both, strict=True):
                sums[name][:, c] = np.bincount(predictions.groups, change, n_groups)
    return sums


def _rates(correct, true, predicted, size) -> dict[str, np.ndarray]:
    """Precision, recall, specificity and F1, `(block, k)`, from counts of the same shape."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "precision": correct / predicted,
            "recall": correct / true,
            "specificity": 1 - (predicted - correct) / (size - true),
            "f1": 2 * correct / (true + predicted),
        }


def rank_influences(of_class: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What one more copy of each image would add to average precision and ROC AUC.

    The derivatives of the two weighted figures by the weight of each image. For the AUC they are
    the structural components of DeLong et al., 1988, summed over a plate as in Obuchowski, 1997.

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

    def from_here_down(values):
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


def confidence_intervals(
    predictions: Predictions, figures: dict, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """95 % intervals for the figures of `alloyk.metrics.classification_metrics`.

    Args:
        predictions: The predictions that `figures` were computed from.
        figures: Its result.
        resamples: Number of bootstrap resamples.
        seed: Of the resampling.

    Returns:
        Path of the figure (``accuracy``, ``macro.f1``, ``per_class.A.recall``) → ``[low, high]``,
        and path → why there is no interval, for figures that are defined but have none.
    """
    drawn = bootstrap(predictions, resamples=resamples, seed=seed)
    evidence = _groups_behind(predictions)
    n_groups = int(predictions.groups.max()) + 1
    what = "plate" if predictions.has_plates else "image"
    found: dict[str, list[float]] = {}
    missing: dict[str, str] = {}

    def add(name, value, replicates, groups, freedom=None, scale="logit"):
        if value is None:
            return
        interval = interval_around(value, replicates, groups, freedom=freedom, scale=scale)
        if interval is None:
            missing[f"confidence_intervals.{name}"] = (
                f"rests on one {what} only" if groups < 2 else f"every {what} gives the same"
            )
        else:
            found[name] = [round(bound, DIGITS) for bound in interval]

    means = {name: _over_classes(drawn[name], evidence[name]) for name in evidence}
    add("accuracy", figures["accuracy"], drawn["accuracy"], n_groups)
    add("balanced_accuracy", figures["balanced_accuracy"], *means["recall"])
    add("log_loss", figures["log_loss"], drawn["log_loss"], n_groups, scale="log")
    for name in means:
        add(f"macro.{name}", figures["macro"][name], *means[name])
    for k, label in enumerate(predictions.classes):
        for name in evidence:
            value = figures["per_class"][label][name]
            path = f"per_class.{label}.{name}"
            add(path, value, drawn[name][:, k], int(evidence[name][k]))
    return found, missing


def _groups_behind(predictions: Predictions) -> dict[str, np.ndarray]:
    """Name → `(k,)`: how many groups hold an image that the figure of the class rests on."""
    n_groups = int(predictions.groups.max()) + 1
    counts = _counts_by_group(predictions, n_groups)
    true, predicted = counts["true"], counts["predicted"]
    others = true.sum(axis=1, keepdims=True) - true
    of_class, of_others = (true > 0).sum(axis=0), (others > 0).sum(axis=0)
    return {
        "precision": (predicted > 0).sum(axis=0),
        "recall": of_class,
        "specificity": of_others,
        "f1": (true + predicted > 0).sum(axis=0),
        "average_precision": of_class,
        "roc_auc": np.minimum(of_class, of_others),
    }


def _over_classes(drawn: np.ndarray, evidence: np.ndarray):
    """Mean over classes of each resample, the groups it rests on, its degrees of freedom.

    Without an error in any of c classes with m groups or more each, the mean of c exact
    proportions is bounded like one proportion over c · m groups (the mean is not below the
    geometric mean). Degrees of freedom: Welch and Satterthwaite.
    """
    defined = np.isfinite(drawn).any(axis=0)
    drawn, evidence = drawn[:, defined], evidence[defined]
    if not defined.any():
        return np.full(len(drawn), np.nan), 0, 1.0
    with np.errstate(invalid="ignore"):
        present = np.isfinite(drawn)
        means = np.where(present, drawn, 0).sum(axis=1) / present.sum(axis=1)
        variance = np.nanvar(drawn, axis=0)
    freedom = np.maximum(evidence - 1, 1)
    if variance.any():
        pooled = variance.sum() ** 2 / (variance**2 / freedom).sum()
    else:
        pooled = freedom.min()
    return means, int(evidence.min()) * len(evidence), float(pooled)


def interval_around(
    value: float,
    replicates: np.ndarray,
    n_groups: int,
    *,
    freedom: float | None = None,
    scale: str = "logit",
) -> tuple[float, float] | None:
    """The 95 % interval around one figure, from its values in the resamples.

    A proportion of exactly 0 or 1 does not vary between resamples; it gets the exact binomial
    interval over its groups instead.

    Args:
        value: The figure on the data.
        replicates: `(resamples,)`, NaN where a resample left it undefined.
        n_groups: Groups that the figure rests on.
        freedom: Degrees of freedom of its standard error; `n_groups - 1` if None.
        scale: ``logit`` for figures from 0 to 1, ``log`` for positive ones.

    Returns:
        ``(low, high)``, or None where the groups say nothing about the error.
    """
    from scipy.stats import t

    if scale == "logit" and not ROUNDING < value < 1 - ROUNDING:
        return clopper_pearson(n_groups if value > 0.5 else 0, n_groups) if n_groups else None
    replicates = replicates[np.isfinite(replicates)]
    # Below this the resamples are equal but for rounding.
    if n_groups < 2 or len(replicates) < 2 or replicates.std() <= ROUNDING * abs(value):
        return None
    # Resampling n groups shows (n - 1) / n of the variance.
    error = replicates.std() * np.sqrt(n_groups / (n_groups - 1))
    reach = t.ppf((1 + CONFIDENCE) / 2, n_groups - 1 if freedom is None else freedom)
    if scale == "log":
        step = reach * error / value
        return float(value * np.exp(-step)), float(value * np.exp(step))
    step = reach * error / (value * (1 - value))
    odds = np.log(value / (1 - value))
    with np.errstate(over="ignore"):
        return float(1 / (1 + np.exp(step - odds))), float(1 / (1 + np.exp(-step - odds)))


def accuracy_interval(
    correct: np.ndarray, groups: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of the share of True in `correct`, by the same bootstrap over `groups`.

    Args:
        correct: `(n,)` bool.
        groups: `(n,)`, equal values for what belongs together.
        resamples: Number of bootstrap resamples.
        seed: Of the resampling.
    """
    _, groups = np.unique(groups, return_inverse=True)
    hits = np.bincount(groups, weights=correct)
    sizes = np.bincount(groups).astype(np.float64)
    n_groups = len(sizes)
    shares = [
        (counts @ hits) / (counts @ sizes) for counts in resampled_counts(n_groups, resamples, seed)
    ]
    return interval_around(float(np.mean(correct)), np.concatenate(shares), n_groups)
