"""Findings about classes: too small, imbalanced, missing from a split, similar names."""

import re
from collections.abc import Iterator

import numpy as np

from alloyk.auditing.findings import CHECK, FIX, NOTE, Audited, Finding
from alloyk.messages import counted, few

# Above this ratio of the largest to the smallest class, a plain loss neglects the smallest.
UNEQUAL = 3

# With fewer test images the 95 % interval of a recall is wider than ± 15 points.
FEW_TEST_IMAGES = 40

# Nothing can be learned from fewer training images of a class, and `alloyk configure` refuses them.
FEWEST_TRAIN_IMAGES = 2

# With fewer training images of a class, a network memorises the images.
FEW_TRAIN_IMAGES = 10


def classes_per_split(audited: Audited) -> Iterator[Finding]:
    """Classes that are missing from some splits."""
    labels, splits = audited.labels, audited.splits
    if labels is None:
        return
    classes = sorted(set(labels))
    if len(classes) < 2:
        yield Finding(
            "one-class",
            FIX,
            f"There is one class only, {classes[0]!r}.",
            "Add the other classes, each in a separate folder.",
        )
    for split in audited.split_names:
        missing = sorted(set(classes) - set(labels[splits == split]))
        if not missing:
            continue
        consequence = {
            "train": "cannot be learned, and training raises an error",
            "val": "do not affect the choice of the best epoch",
            "test": "are never tested",
        }[split]
        yield Finding(
            "classes-differ",
            FIX if split == "train" else CHECK,
            f"{split} has no image of {few(map(repr, missing), 6)}, but other splits do: these "
            f"{consequence}.",
            f"Add images of each class to {split}, or split again: `alloyk split` stratifies "
            "all splits by class.",
            values={"split": split, "missing": missing},
        )


def unequal_classes(audited: Audited) -> Iterator[Finding]:
    """Imbalance, and classes too small to test."""
    labels, splits = audited.labels, audited.splits
    if labels is None:
        return
    learned = labels if splits is None else labels[splits == "train"]
    names, counts = np.unique(learned.astype(str), return_counts=True)
    yield from _too_few(names, counts, splits is not None)
    if len(names) > 1 and counts.max() > UNEQUAL * counts.min():
        most, least = names[counts.argmax()], names[counts.argmin()]
        yield Finding(
            "imbalance",
            CHECK,
            f"The largest class has {counts.max() / counts.min():.1f} times as many images as the "
            f"smallest ({most}: {counts.max():,}, {least}: {counts.min():,}).",
            "Use balanced accuracy and recall per class. data.sampling=class_aware or "
            "loss.name=balanced_softmax help; more images of the smallest class help most.",
            values={name: int(count) for name, count in zip(names, counts, strict=True)},
        )
    if splits is None or not (splits == "test").any():
        return
    names, counts = np.unique(labels[splits == "test"].astype(str), return_counts=True)
    small = _below(FEW_TEST_IMAGES, names, counts)
    if small:
        yield Finding(
            "few-test-images",
            NOTE,
            f"test has fewer than {counted(FEW_TEST_IMAGES)} of {_listed(small)}.",
            "See the confidence intervals: with so few images, a single one changes a recall "
            f"by {100 / counts.min():.0f} points.",
        )


def _too_few(names: np.ndarray, counts: np.ndarray, is_split: bool) -> Iterator[Finding]:
    where = " in train" if is_split else ""
    # Of images that are not split yet, val and test take at least one each.
    needed = FEWEST_TRAIN_IMAGES + (0 if is_split else 2)
    unusable = _below(needed, names, counts)
    if unusable:
        yield Finding(
            "too-few-to-train",
            FIX,
            f"{counted(len(unusable), 'class')} with fewer than {needed} images{where}, which "
            f"training refuses: {_listed(unusable)}.",
            "Add images, or remove the class.",
            values=unusable,
        )
    few_of = _below(FEW_TRAIN_IMAGES, names, counts)
    if few_of:
        yield Finding(
            "few-images",
            CHECK,
            f"{counted(len(few_of), 'class')} with fewer than {FEW_TRAIN_IMAGES} images{where}: "
            f"{_listed(few_of)}.",
            "Add images of more plates; with so few, results and comparisons are unreliable.",
            values=few_of,
        )


def _below(limit: int, names: np.ndarray, counts: np.ndarray) -> dict[str, int]:
    """Class → number of its images, where that is below a limit."""
    return {str(n): int(c) for n, c in zip(names, counts, strict=True) if c < limit}


def _listed(classes: dict[str, int]) -> str:
    return few((f"{name} ({count})" for name, count in classes.items()), 6)


# Punctuation, but for a sign at the end and the point or comma in a number.
_WITHOUT_MEANING = re.compile(r"(?<=\d)[.,](?!\d)|(?<!\d)[.,]|-(?=.)|[^\w.,+-]")


def alike_labels(audited: Audited) -> Iterator[Finding]:
    """Labels that differ only in case, spaces or punctuation.

    A sign at the end and the point or comma of a number count: `A+` and `A-` differ, as do `1.5`
    and `15`.
    """
    labels = audited.labels
    if labels is None:
        return
    spellings: dict[str, list[str]] = {}
    for label in sorted(set(labels)):
        plain = _WITHOUT_MEANING.sub("", label.casefold().replace("_", " "))
        spellings.setdefault(plain or label, []).append(label)
    doubled = [names for names in spellings.values() if len(names) > 1]
    if doubled:
        text = few([" and ".join(map(repr, names)) for names in doubled])
        yield Finding(
            "labels-alike",
            FIX,
            f"Some labels differ only in case, spaces or punctuation: {text}.",
            "If they are the same class, use one spelling; otherwise they count as two classes.",
        )


BALANCE_CHECKS = (classes_per_split, unequal_classes, alike_labels)
