"""Bootstrap over plates: resample whole plates, because images of one plate are not independent."""

from collections.abc import Iterator

import numpy as np

from alloyk.metrics.classification import log_losses
from alloyk.metrics.jackknife import RANK_METRICS, counts_by_group, rank_influences_by_group
from alloyk.runs.predictions import Predictions

RESAMPLES = 2000
# Numbers per block of resamples; a block fits into the processor's cache.
BLOCK = 1_000_000


def resampled_counts(n_groups: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each group is drawn in each resample, in blocks.

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
    """Compute the metrics of each resample of plates.

    Average precision and AUC are linearised, because they would need every resample to be sorted:
    the result is their first-order change (`alloyk.metrics.jackknife`).

    Returns:
        `accuracy, log_loss` → `(resamples,)`; `precision, recall, specificity, f1,
        average_precision, roc_auc` → `(resamples, k)`, NaN where a resample leaves one undefined.
    """
    groups = predictions.groups
    n_groups = int(groups.max()) + 1
    by_group = {
        **counts_by_group(predictions, n_groups),
        "loss": np.bincount(groups, log_losses(predictions), n_groups)[:, None],
        **rank_influences_by_group(predictions, n_groups),
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
        **{name: drawn[name] for name in RANK_METRICS},
    }


def _rates(
    correct: np.ndarray, true: np.ndarray, predicted: np.ndarray, size: np.ndarray
) -> dict[str, np.ndarray]:
    """Precision, recall, specificity and F1, `(block, k)`, from counts of the same shape."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "precision": correct / predicted,
            "recall": correct / true,
            "specificity": 1 - (predicted - correct) / (size - true),
            "f1": 2 * correct / (true + predicted),
        }
