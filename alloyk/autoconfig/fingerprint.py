"""The properties of a data set that its configuration depends on."""

from dataclasses import dataclass

import numpy as np

from alloyk.auditing.balance import FEWEST_TRAIN_IMAGES
from alloyk.auditing.detector import common_scene
from alloyk.auditing.findings import Audited, percent
from alloyk.auditing.scan import scan_images
from alloyk.auditing.shortcuts import EqualizationEffect, equalization_effect
from alloyk.auditing.source import NAME_BEFORE_LAST, series_of
from alloyk.data import PLATE, SPLITS, ImageDataset
from alloyk.errors import DataError
from alloyk.messages import counted, shown
from alloyk.progress import NO_PROGRESS, Progress

MAX_MEASURED = 1000
"""Maximum number of training images that are measured; more would not change a median."""

MIN_SERIES = 6
"""Minimum number of series per class; with fewer, a split could have less than two of them."""

SEED = 0


@dataclass(frozen=True)
class Fingerprint:
    """What is known of a data set before training; pixels are those of the files.

    Attributes:
        source: The data set, for messages.
        images: Split → number of images.
        classes: Class → number of training images.
        grouped_by: What the split is grouped by, as in `ImageDataset`.
        split_given: Whether the data set has a split of its own.
        plates: Number of plates; None if they are not known.
        height: Median height.
        width: Median width.
        sizes: Number of different sizes among the measured images.
        depth: The most frequent number type, such as `uint16`.
        snr: Median mean count over noise; infinite without noise.
        sharpness: Median root-mean-square gradient over the standard deviation, 1/pixel.
        equalizing: What equalising leaves of the class in block means; None with few images.
        scene: Share of the images that show one common scene, in any orientation.
        turned: Share of those that show it in another orientation than most.
        defective: Share of images with bad pixels or lines.
        framed: Share of images with a border.
    """

    source: str
    images: dict[str, int]
    classes: dict[str, int]
    grouped_by: str | None
    split_given: bool
    plates: int | None
    height: int
    width: int
    sizes: int
    depth: str
    snr: float
    sharpness: float
    equalizing: EqualizationEffect | None
    scene: float
    turned: float
    defective: float
    framed: float

    @property
    def train(self) -> int:
        """Number of training images."""
        return self.images["train"]

    @property
    def imbalance(self) -> float:
        """Largest class over smallest class, in training images."""
        return max(self.classes.values()) / min(self.classes.values())

    @property
    def short_side(self) -> int:
        """The smaller of the median height and width."""
        return min(self.height, self.width)

    def lines(self) -> list[str]:
        """Describe the fingerprint in short lines."""
        splits = ", ".join(f"{self.images[name]:,} {name}" for name in SPLITS)
        classes = ", ".join(f"{name} {count:,}" for name, count in self.classes.items())
        known = f"{self.plates:,} plates" if self.plates is not None else "plates not known"
        snr = f"{self.snr:.0f}" if np.isfinite(self.snr) else "no noise"
        effect = self.equalizing
        kept = (
            f"block means predict the class in {percent(effect.before)}, equalised in "
            f"{percent(effect.after)} (chance {percent(effect.chance)})"
            if effect
            else "not measured, too few images"
        )
        return [
            f"{counted(sum(self.images.values()))}: {splits}; {known}",
            f"{counted(len(self.classes), 'class')} in train: {classes}",
            f"{self.width}×{self.height} pixels (median), {counted(self.sizes, 'size')}, "
            f"{self.depth}; signal to noise {snr}, sharpness {self.sharpness:.2f} per pixel",
            f"equalising: {kept}",
            f"common scene in {percent(self.scene)}, of these {percent(self.turned)} turned; bad "
            f"pixels or lines in {percent(self.defective)}, border in {percent(self.framed)}",
        ]


def fingerprint_of(dataset: ImageDataset, progress: Progress = NO_PROGRESS) -> Fingerprint:
    """Measure a data set; at most `MAX_MEASURED` of its training images are read.

    Args:
        dataset: The data set as training will see it.
        progress: Progress display, see `alloyk.progress`.

    Raises:
        DataError: A measured image cannot be read, or a class has fewer than two training images.
    """
    table = dataset.table
    train = table[table["split"] == "train"]
    classes = {str(name): int(n) for name, n in train["label"].value_counts(sort=False).items()}
    classes = {name: classes.get(name, 0) for name in dataset.classes}
    _refuse_too_few(dataset, classes)
    audited = _measured(dataset, progress)
    measures, sound = audited.scan.measures, audited.scan.readable
    scene = common_scene(audited)
    sure = scene.sure if scene else np.zeros(1, bool)
    other = (scene.turn != scene.usual)[sure] if scene else np.zeros(0, bool)
    plates = len(set(table[PLATE]) - {""}) if PLATE in table else None
    defects = audited.scan.defects.values()
    bad = sum(bool(len(found.pixels) or found.rows or found.columns) for found in defects)
    return Fingerprint(
        source=shown(dataset.root),
        images={name: int((table["split"] == name).sum()) for name in SPLITS},
        classes=classes,
        grouped_by=dataset.grouped_by,
        split_given=dataset.split_given,
        plates=plates,
        height=round(float(measures["height"].median())),
        width=round(float(measures["width"].median())),
        sizes=len(measures[["height", "width"]].drop_duplicates()),
        depth=str(measures["dtype"].mode()[0]),
        snr=float(measures["snr"].median()),
        sharpness=float(measures["sharpness"].median()),
        equalizing=equalization_effect(audited),
        scene=float(sure.mean()),
        turned=float(other.mean()) if len(other) else 0.0,
        defective=bad / int(sound.sum()),
        framed=sum(any(found.border) for found in defects) / int(sound.sum()),
    )


def _refuse_too_few(dataset: ImageDataset, classes: dict[str, int]) -> None:
    smallest = min(classes, key=lambda name: classes[name])
    if classes[smallest] < FEWEST_TRAIN_IMAGES:
        raise DataError(
            f"every class must have at least {FEWEST_TRAIN_IMAGES} training images, got "
            f"{classes[smallest]} of {smallest!r} in {shown(dataset.root)}; add images of it, or "
            "remove the class"
        )


def _measured(dataset: ImageDataset, progress: Progress) -> Audited:
    """The measures of a random sample of the training images."""
    table = dataset.split("train")
    if len(table) > MAX_MEASURED:
        table = table.sample(MAX_MEASURED, random_state=SEED).sort_index()
    table = table.reset_index(drop=True)
    root = dataset.root.absolute()
    paths = [root / path for path in table["path"]]
    with progress.task("measuring", len(paths)) as advance:
        scan = scan_images(paths, advance)
    if scan.errors:
        first = min(scan.errors)
        raise DataError(
            f"{scan.errors[first]} ({counted(len(scan.errors))} of {len(paths):,} measured); set "
            "data.on_bad_image=skip to train without them"
        )
    names, name, reliable = series_of(table, None)
    return Audited(root, table, scan, names, name, reliable)


def series_as_groups(dataset: ImageDataset) -> str | None:
    """The expression that groups images by the series in their names, where a split needs it.

    Returns:
        None if the split is given or grouped by plate, or the names show too few series.
    """
    if dataset.split_given or dataset.grouped_by is not None:
        return None
    names, _, reliable = series_of(dataset.table, None)
    if not reliable or "" in set(names):
        return None
    labels = dataset.table["label"].to_numpy(dtype=object)
    fewest = min(len(set(names[labels == label])) for label in dataset.classes)
    return NAME_BEFORE_LAST if fewest >= MIN_SERIES else None
