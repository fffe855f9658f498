"""Compute maps of the evidence for a class in images, from a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alloyk.data import load_dataset
from alloyk.errors import ConfigError, DataError
from alloyk.explanation.gradcam import AUTO, GradCAM, enlarged
from alloyk.explanation.model_parts import OpenedClassifier, log_odds, open_classifier
from alloyk.explanation.sanity import sanity_check
from alloyk.explanation.shapley import GradientSHAP, PartitionSHAP
from alloyk.imaging import NO_SETTINGS, FileSettings, PageChoice, assume_files, read_image
from alloyk.inference.sources import as_items, refuse_channels, with_pages
from alloyk.messages import shown
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.folder import RunFolder
from alloyk.runs.run_data import is_run_data, open_other_data, open_run_data

METHODS = ("gradcam", "shap")
EXPLAINERS = ("gradient", "partition")
BACKGROUND_IMAGES = 50

MapMaker = GradCAM | GradientSHAP | PartitionSHAP
"""Makes the maps of a batch of images."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps of n images, with what they explain.

    Attributes:
        method: `gradcam`, `shap gradient` or `shap partition`.
        classes: The k class labels.
        simulated: Whether the network was trained on simulated images.
        paths: The images.
        labels: Their true classes; None where not known.
        probabilities: `(n, k)` float64.
        explained: `(n,)` int, the class that each map explains.
        raw: Decoded images, each `(h, w, c)`.
        seen: `(n, H, W)` float32, what the network sees.
        maps: `(n, h, w)` float32, in units of log-odds. Grad-CAM's are not negative and as coarse
            as the feature map; SHAP's are as large as `seen`, negative where a pixel
            opposes the class, and sum to `log_odds - reference`.
        log_odds: `(n,)` of the explained class.
        reference: `(n,)`, what SHAP's values are relative to; None for Grad-CAM.
        settings: Parameters of the method.
        sanity: From `sanity_check`.
    """

    method: str
    classes: tuple[str, ...]
    simulated: bool
    paths: tuple[str, ...]
    labels: tuple[str | None, ...]
    probabilities: np.ndarray
    explained: np.ndarray
    raw: list[np.ndarray]
    seen: np.ndarray
    maps: np.ndarray
    log_odds: np.ndarray
    reference: np.ndarray | None
    settings: dict
    sanity: dict

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def signed(self) -> bool:
        """Whether maps have negative values."""
        return self.reference is not None

    @property
    def over_seen(self) -> np.ndarray:
        """`(n, H, W)`: the maps at the size of `seen`."""
        return enlarged(self.maps, self.seen.shape[1:])


def explain(
    run: str | Path,
    images: Sequence[str | Path],
    *,
    method: str = "gradcam",
    explainer: str = "gradient",
    label: str | None = None,
    labels: Sequence[str | None] | None = None,
    layer: str = AUTO,
    samples: int | None = None,
    data: str | Path | None = None,
    seed: int = 0,
    page: PageChoice | None = None,
    files: FileSettings = NO_SETTINGS,
    progress: Progress = NO_PROGRESS,
) -> Explanation:
    """Map the evidence for a class in each image, and check that maps depend on the weights.

    Args:
        run: Run folder or `.keras` file.
        images: Image files, one or more.
        method: `gradcam` or `shap`.
        explainer: For SHAP: `gradient` or `partition`.
        label: The class to explain; by default the predicted class of each image.
        labels: True classes of the images, where known.
        layer: For Grad-CAM: `auto`, `last` or a layer's name, see `alloyk.explanation.gradcam`.
        samples: For SHAP: points (gradient, by default 200) or evaluations (partition, 1000).
        data: For SHAP's gradient explainer: the data set whose training images are the background;
            by default the run's own.
        seed: Seed of SHAP's samples, of the background images and of the sanity check.
        page: Pages to read from files with several; by default as in training.
        files: How raw and HDF5 files are read; what it leaves open, as in training.
        progress: Progress display, see `alloyk.progress`.

    Raises:
        AlloykError: The model has no accessible layers, an image cannot be read, no class has that
            label, the architecture has no feature map, or shap is not installed.
    """
    opened = open_classifier(run)
    if label is not None and label not in opened.classes:
        known = ", ".join(opened.classes)
        raise ConfigError(f"--class must be one of {known}, got {label!r}")
    make_maps: MapMaker
    count = {} if samples is None else {"samples": samples}
    if method == "gradcam":
        make_maps = GradCAM(opened.network, layer)
    elif explainer == "partition":
        make_maps = PartitionSHAP(opened.network, **count)
    else:
        background = background_images(opened, run, data, seed)
        make_maps = GradientSHAP(opened.network, background, seed=seed, **count)

    metadata = opened.classifier.metadata
    with assume_files(metadata.files), assume_files(files):
        items = with_pages(as_items(images, None), metadata.page if page is None else page)
        paths = tuple(str(item.source) for item in items)
        raw = [read_image(path) for path in paths]
    for path, image in zip(paths, raw, strict=True):
        refuse_channels(path, image)
    probabilities = opened.classifier.predict(raw, names=list(paths)).probabilities
    seen = np.stack([opened.seen(image) for image in raw])
    explained = probabilities.argmax(axis=1)
    if label is not None:
        explained = np.full(len(raw), opened.classes.index(label))
    maps = _maps(make_maps, seen, explained, progress)
    rows, reference = np.arange(len(raw)), make_maps.reference(seen)
    return Explanation(
        method=make_maps.name,
        classes=opened.classes,
        simulated=opened.simulated,
        paths=paths,
        labels=tuple(labels) if labels is not None else (None,) * len(raw),
        probabilities=probabilities,
        explained=explained,
        raw=raw,
        seen=seen,
        maps=maps,
        log_odds=np.asarray(log_odds(opened.logits(seen)))[rows, explained],
        reference=None if reference is None else reference[rows, explained],
        settings={**make_maps.settings, "seed": seed},
        sanity=_sanity(opened, make_maps, seen, explained, maps, seed),
    )


def _maps(
    make_maps: MapMaker, seen: np.ndarray, explained: np.ndarray, progress: Progress
) -> np.ndarray:
    """The map of each image, made in batches."""
    parts = []
    with progress.task("explaining", len(seen)) as advance:
        for first in range(0, len(seen), make_maps.batch):
            part = slice(first, first + make_maps.batch)
            parts.append(make_maps(seen[part], explained[part]).astype(np.float32))
            advance(len(parts[-1]))
    return np.concatenate(parts)


def _sanity(
    opened: OpenedClassifier,
    make_maps: MapMaker,
    seen: np.ndarray,
    explained: np.ndarray,
    maps: np.ndarray,
    seed: int,
) -> dict:
    """Whether the maps of the first images depend on the weights."""
    first = slice(0, make_maps.checked_images)
    return sanity_check(
        opened.network,
        lambda: make_maps(seen[first], explained[first]),
        maps[first],
        draws=make_maps.draws,
        seed=seed,
    )


def background_images(
    opened: OpenedClassifier, run: str | Path, data: str | Path | None, seed: int
) -> np.ndarray:
    """Return training images as the network sees them, `(m, H, W)`, equally many per class.

    Raises:
        AlloykError: The data set is no longer where it was, or `run` is a file and `data` is None.
    """
    config = RunFolder(run).config_file
    if data is None and not config.is_file():
        raise DataError(
            "SHAP's gradient explainer needs training images, and "
            f"{shown(run)} does not record where they are; give their data set with --data, or use "
            "--explainer partition"
        )
    if data is not None and not config.is_file():
        known = opened.classifier.metadata
        dataset = load_dataset(data, page=known.page, raw=known.raw, hdf5_path=known.hdf5_path)
    elif data is None or is_run_data(run, data):
        dataset = open_run_data(run, data, split=None)
    else:
        dataset = open_other_data(run, data)
    rng = np.random.default_rng(seed)
    paths, labels = dataset.paths("train"), dataset.labels("train")
    ranked = rng.permutation(len(paths))
    # The nth image of each class, then the next of each: as balanced as the classes allow.
    nth = np.empty(len(paths), int)
    for number in np.unique(labels):
        of_class = ranked[labels[ranked] == number]
        nth[of_class] = np.arange(len(of_class))
    chosen = sorted(ranked, key=lambda at: nth[at])[:BACKGROUND_IMAGES]
    return np.stack([opened.seen(read_image(paths[at])) for at in chosen])
