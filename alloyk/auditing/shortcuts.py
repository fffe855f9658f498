"""Findings about shortcuts to the class, and about the effect of histogram equalisation.

Each shortcut is tested by a small decision tree on images that it was not fitted to; if plates or
series are known, none is on both sides. The metric is balanced accuracy; chance is 1 / classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alloyk.auditing.findings import CHECK, FIX, NOTE, Audited, Finding, percent

FOLDS = 4
DEPTH = 3
TREES = 60
SEED = 0

# Number of images used, drawn at random; enough for ± 2 points.
MAX_IMAGES = 4000
MAX_FOREST_IMAGES = 1000
MIN_PER_CLASS = 8

# A rule is reported if it covers this fraction of the way from chance to certainty …
MIN_GAIN = 0.2
# … and is above chance by this many standard errors.
STANDARD_ERRORS = 4

# Above this accuracy from size or format only, results of a network are not credible.
DECISIVE = 0.9

# Equalising erases the signal if less than this fraction of the block means' accuracy remains.
LEFT = 0.5


@dataclass(frozen=True, eq=False)
class _Rows:
    """Images that a rule is tested on.

    Attributes:
        rows: Their rows.
        labels: `(n,)` int.
        groups: `(n,)` int; images of one group stay together.
        chance: Balanced accuracy of guessing.
        error: Standard error of the balanced accuracy of guessing.
    """

    rows: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    chance: float
    error: float

    def significant(self, accuracy: float) -> bool:
        """Whether a rule of this accuracy is significantly better than guessing."""
        above = accuracy - self.chance
        return above > max(STANDARD_ERRORS * self.error, MIN_GAIN * (1 - self.chance))


def shortcuts(audited: Audited) -> Iterator[Finding]:
    """Whether size, format, brightness or border predict the class."""
    chosen = _chosen(audited, MAX_IMAGES)
    if chosen is None:
        return
    measures = audited.scan.measures.iloc[chosen.rows]
    sides = measures[["height", "width"]].to_numpy(np.float64)
    kinds = [measures[name].astype("category").cat.codes for name in ("format", "dtype", "mode")]
    for name, what, features, severity, advice in (
        (
            "shortcut-size", "The image size", sides, FIX,
            "Crop all to one size before training: resizing leaves traces of the size.",
        ),
        (
            "shortcut-format", "File format, depth and colour mode", np.stack(kinds, axis=1), FIX,
            "Save all classes in one format from the raw data: compression leaves traces.",
        ),
        (
            "shortcut-brightness", "The mean brightness",
            measures[["mean"]].to_numpy(np.float64), CHECK,
            "Denser alloys are darker, which is signal; but if classes were exposed on different "
            "days or settings, it is the exposure. Expose all in mixed order with the same "
            "settings, set data.flat, or normalise; then compare the network with this accuracy.",
        ),
        (
            "shortcut-border", "The outermost two pixels", audited.scan.border[chosen.rows], CHECK,
            "Look for frames, stamps and collimator edges that only some classes have, and crop "
            "them; if plates fill the field, it is the metal itself.",
        ),
    ):  # fmt: skip
        if not np.isfinite(features).all() or (features == features[0]).all():
            continue
        accuracy = _tree_accuracy(features, chosen)
        if not chosen.significant(accuracy):
            continue
        yield Finding(
            name,
            CHECK if severity == FIX and accuracy < DECISIVE else severity,
            f"{what} alone predicts the class in {percent(accuracy)} of the images "
            f"(chance: {percent(chosen.chance)}).",
            advice,
            values={"balanced_accuracy": accuracy, "chance": chosen.chance},
        )


@dataclass(frozen=True)
class EqualizationEffect:
    """How well block means predict the class, before and after equalising.

    Attributes:
        before: Balanced accuracy on the images.
        after: Balanced accuracy on the equalised images.
        chance: Balanced accuracy of guessing.
        error: Standard error of the balanced accuracy of guessing.
        significant: Whether the block means of the images are significantly better than guessing.
    """

    before: float
    after: float
    chance: float
    error: float
    significant: bool


def equalization_effect(audited: Audited) -> EqualizationEffect | None:
    """Predict the class from block means of the images and of the equalised images.

    Returns:
        None if there are too few labelled images.
    """
    chosen = _chosen(audited, MAX_FOREST_IMAGES)
    if chosen is None:
        return None
    thumbs = audited.scan.thumbs[chosen.rows].astype(np.float32).reshape(len(chosen.rows), -1)
    means = audited.measure("mean")[chosen.rows].astype(np.float32)[:, None]
    low = thumbs.min(axis=1, keepdims=True)
    extent = np.maximum(thumbs.max(axis=1, keepdims=True) - low, 1e-6)
    before = _forest_accuracy(np.hstack([thumbs * means, (thumbs - low) / extent]), chosen)
    equalized = audited.scan.equalized[chosen.rows].astype(np.float32)
    after = _forest_accuracy(equalized.reshape(len(chosen.rows), -1), chosen)
    return EqualizationEffect(
        before, after, chosen.chance, chosen.error, chosen.significant(before)
    )


def equalization(audited: Audited) -> Iterator[Finding]:
    """Whether equalising the histograms would erase the differences between classes.

    Equalisation keeps only the order of the pixels. If plate and wedge fill the field, that order
    is the same for every plate; a bare reference in view preserves the level.
    """
    effect = equalization_effect(audited)
    if effect is None or not effect.significant:
        return  # coarse block means do not predict the class, so nothing can be lost
    before, after, chance = effect.before, effect.after, effect.chance
    values = {"before": before, "after": after, "chance": chance}
    result = (
        f"Means of 16 × 16 blocks predict the class in {percent(before)} of the images, and "
        f"after equalising in {percent(after)} (chance: {percent(chance)})"
    )
    if after - chance < LEFT * (before - chance):
        yield Finding(
            "equalization-erases",
            CHECK,
            f"{result}: equalising would erase most of the signal.",
            "Keep preprocess.equalize=false, or keep a bare reference (wedge or open beam "
            "without plate) in view, which preserves the level.",
            values=values,
        )
    else:
        yield Finding(
            "equalization-keeps",
            NOTE,
            f"{result}.",
            "Equalising preserves the signal in the block means; try it if the exposure varies.",
            values=values,
        )


SHORTCUT_CHECKS = (shortcuts, equalization)


def _chosen(audited: Audited, most: int) -> _Rows | None:
    """Readable, labelled images, some of each class if there are many; None if too few."""
    import pandas as pd

    if audited.labels is None:
        return None
    rows = np.flatnonzero(audited.scan.readable)
    if len(rows) > most:
        rows = _drawn(rows, audited.labels[rows], most)
    labels, names = pd.factorize(audited.labels[rows], sort=True)
    if len(names) < 2 or np.bincount(labels).min() < MIN_PER_CLASS:
        return None
    groups = np.arange(len(rows))
    if audited.series_reliable:
        series = audited.series[rows]
        alone = [f"{row}" if name == "" else f"={name}" for row, name in enumerate(series)]
        groups = pd.factorize(np.array(alone, dtype=object))[0]
        if _fewest_groups(labels, groups) < FOLDS:
            groups = np.arange(len(rows))
    chance = 1 / len(names)
    size = len(names) * _fewest_groups(labels, groups)
    return _Rows(rows, labels, groups, chance, float(np.sqrt(chance * (1 - chance) / size)))


def _drawn(rows: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """At most equally many rows of each class, so that rare classes keep theirs."""
    rng = np.random.default_rng(SEED)
    of_classes = [rows[labels == label] for label in sorted(set(labels))]
    share = most // len(of_classes)
    return np.sort(np.concatenate([rng.permutation(some)[:share] for some in of_classes]))


def _fewest_groups(labels, groups) -> int:
    return min(len(set(groups[labels == label])) for label in set(labels))


def _tree_accuracy(features: np.ndarray, chosen: _Rows) -> float:
    from sklearn.tree import DecisionTreeClassifier

    leaf = max(2, len(chosen.rows) // 200)
    tree = DecisionTreeClassifier(
        max_depth=DEPTH, min_samples_leaf=leaf, class_weight="balanced", random_state=SEED
    )
    return _accuracy(tree, features, chosen)


def _forest_accuracy(features: np.ndarray, chosen: _Rows) -> float:
    from sklearn.ensemble import ExtraTreesClassifier

    forest = ExtraTreesClassifier(
        TREES, min_samples_leaf=2, class_weight="balanced", random_state=SEED
    )
    return _accuracy(forest, np.nan_to_num(features), chosen)


def _accuracy(classifier, features: np.ndarray, chosen: _Rows) -> float:
    """Balanced accuracy on images that the classifier was not fitted to."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    predicted = cross_val_predict(
        classifier, features, chosen.labels, groups=chosen.groups, cv=folds
    )
    return float(balanced_accuracy_score(chosen.labels, predicted))
