"""Figures of a data set: classes, intensities, preprocessed examples, near-duplicates.

They do not affect the findings. The examples need TensorFlow, for the layers used in training.
"""

from pathlib import Path
from typing import Any

import numpy as np

from alloyk.alloys import display_name
from alloyk.auditing.findings import Audited
from alloyk.auditing.leaks import similar_pairs
from alloyk.auditing.measure import audited_image
from alloyk.auditing.quality import series_in_order
from alloyk.imaging.gray import to_gray
from alloyk.messages import counted
from alloyk.plots import new_axes, readable_names, save_figure
from alloyk.plots.style import COLORS, GRAY, Axes, Figure, add_legend, finish, in_house_style

# Limits for large data sets.
MAX_CLASSES = 8
MAX_PAIRS = 6
IMAGES_PER_HISTOGRAM = 60
BINS = 128
SEED = 0

# Augmentation in the figure of examples.
EXAMPLE_AUGMENTATION: dict[str, Any] = {
    "horizontal_flip": True, "rotation_deg": 10, "shift": 0.05, "contrast": 0.1, "noise": 0.02,
}  # fmt: skip


FIGURES = (
    "classes.png", "intensities.png", "quality.png", "examples.png", "near_duplicates.png",
)  # fmt: skip


def draw_figures(audited: Audited, folder: Path) -> None:
    """Write all figures into a folder; empty ones are omitted, and old ones deleted."""
    pictures = (
        plot_classes(audited),
        plot_intensities(audited),
        plot_quality(audited),
        plot_examples(audited),
        plot_pairs(audited, similar_pairs(audited)),
    )
    for name, ax in zip(FIGURES, pictures, strict=True):
        if ax is None:
            (folder / name).unlink(missing_ok=True)
        else:
            save_figure(ax, folder / name)


@in_house_style
def plot_classes(audited: Audited) -> Axes:
    """Number of images of each class in each split."""
    labels = _labels(audited)
    classes = sorted(set(labels))
    splits = audited.split_names or [""]
    ax = new_axes(7.2, 1.5 + 0.22 * len(classes) * (len(splits) + 0.6))
    height = 0.8 / len(splits)
    for number, split in enumerate(splits):
        chosen = labels if not split else labels[audited.splits == split]
        counts = [int((chosen == label).sum()) for label in classes]
        places = np.arange(len(classes)) - 0.4 + (number + 0.5) * height
        ax.barh(places, counts, height * 0.9, color=COLORS[number], label=split)
        for place, count in zip(places, counts, strict=True):
            ax.annotate(
                f"{count:,}", (count, place), xytext=(4, 0), textcoords="offset points",
                va="center", fontsize=8.5, color=GRAY,
            )  # fmt: skip
    ax.set_yticks(range(len(classes)), _shown(classes))
    ax.invert_yaxis()
    ax.margins(x=0.12)
    if len(splits) > 1:
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
    finish(ax, "Images per class", _subtitle(audited), "Images", "")
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    return ax


@in_house_style
def plot_intensities(audited: Audited) -> Axes | None:
    """Distribution of the counts over all pixels, per class."""
    drawn = _drawn_of_each_class(audited, IMAGES_PER_HISTOGRAM)
    if not drawn:
        return None
    rows = np.concatenate(list(drawn.values()))
    low = float(np.min(audited.measure("low")[rows]))
    high = float(np.max(audited.measure("high")[rows]))
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    ax = new_axes(8.2, 4.6)
    for number, (label, members) in enumerate(drawn.items()):
        total = np.zeros(BINS)
        for row in members:
            gray = to_gray(audited_image(audited.root / audited.paths[row]))
            total += np.histogram(gray, edges)[0] / gray.size
        ax.stairs(
            100 * total / len(members), edges, color=COLORS[number % len(COLORS)], linewidth=1.4
        )
        ax.plot([], [], color=COLORS[number % len(COLORS)], label=_shown([label])[0])
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(bottom=0)
    add_legend(ax)
    subtitle = f"{_subtitle(audited)}; up to {IMAGES_PER_HISTOGRAM} images of each class"
    finish(
        ax, "Intensities", subtitle, "Count, as in the files", f"Pixels, % in each of {BINS} steps"
    )
    return ax


@in_house_style
def plot_quality(audited: Audited) -> Axes | None:
    """Signal-to-noise ratio and sharpness of each image, in the order of time or file names."""
    if not audited.scan.readable.any():
        return None
    order = np.concatenate(list(series_in_order(audited).values()))
    labels = _labels(audited)[order]
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    place = np.arange(len(order))
    for ax, name, title, unit in (
        (upper, "snr", "Signal-to-noise ratio", "Mean / noise"),
        (lower, "sharpness", "Sharpness", "Gradient / contrast, 1/pixel"),
    ):
        values = audited.measure(name)[order]
        values[~np.isfinite(values)] = np.nan
        for number, label in enumerate(sorted(set(labels))[:MAX_CLASSES]):
            some = labels == label
            ax.plot(
                place[some], values[some], ".", markersize=3, color=COLORS[number % len(COLORS)],
                label=_shown([label])[0], rasterized=True,
            )  # fmt: skip
        ax.set_ylim(bottom=0)
        last = ax is lower
        subtitle = "" if last else f"{_subtitle(audited)}; by series, in the order of time or names"
        finish(ax, title, subtitle, "Image" if last else "", unit)
    legend = upper.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0, markerscale=3
    )
    legend.set_in_layout(True)
    return upper


@in_house_style
def plot_examples(audited: Audited) -> Axes | None:
    """One image of each class: raw, preprocessed, equalised, and augmented twice."""
    drawn = _drawn_of_each_class(audited, 1)
    if not drawn:
        return None
    from alloyk.runtime.tensorflow import load_tensorflow

    load_tensorflow()
    import tensorflow as tf

    from alloyk.config import resolve_config
    from alloyk.preprocessing import build_preprocessing
    from alloyk.preprocessing.augmentation import Augmentation

    config = resolve_config(None, {"data": {"path": str(audited.root)}})
    size = config.preprocess.image_size
    plain = build_preprocessing(size, normalize="robust", repair=True)
    equalized = build_preprocessing(size, normalize="robust", repair=True, equalize=True)
    augment = Augmentation(**EXAMPLE_AUGMENTATION)
    titles = ("raw", "preprocessed", "equalised", "augmented", "augmented")
    figure = Figure(figsize=(2.0 * len(titles) + 0.9, 2.0 * len(drawn) + 0.9), layout="constrained")
    axes = figure.subplots(len(drawn), len(titles), squeeze=False)
    for number, (label, members) in enumerate(drawn.items()):
        raw = audited_image(audited.root / audited.paths[members[0]])
        batch = tf.constant(raw[None].astype(np.float32))
        ready = plain(batch)
        shown = [
            _displayable(raw),
            ready[0],
            equalized(batch)[0],
            *(augment(ready, tf.constant([SEED, draw]))[0] for draw in range(2)),
        ]
        for ax, image, title in zip(axes[number], shown, titles, strict=True):
            _show(ax, np.asarray(image).squeeze(), title if number == 0 else "", vmin=0, vmax=1)
        axes[number][0].set_ylabel(_shown([label])[0], fontsize=9)
    changes = ", ".join(f"{name}={value}" for name, value in EXAMPLE_AUGMENTATION.items())
    figure.suptitle(
        f"{_subtitle(audited)}\npreprocessed to {size[0]}×{size[1]}, robust; augmented: {changes}",
        fontsize=8.5, color=GRAY, ha="left", x=0.01,
    )  # fmt: skip
    return axes[0][0]


@in_house_style
def plot_pairs(audited: Audited, pairs) -> Axes | None:
    """The most similar pairs, side by side."""
    if not pairs:
        return None
    some = pairs[:MAX_PAIRS]
    rows, columns = -(-len(some) // 2), 4 if len(some) > 1 else 2
    figure = Figure(figsize=(2.4 * columns + 0.6, 2.6 * rows + 0.7), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).reshape(-1, 2)
    for place, (*members, similarity) in zip(places, some, strict=False):
        for ax, member in zip(place, members, strict=True):
            raw = audited_image(audited.root / audited.paths[member])
            name = readable_names([audited.paths[member]], width=34, lines=2)[0]
            _show(ax, _displayable(raw), name, vmin=0, vmax=1)
        place[0].set_ylabel(f"{similarity:.2f}", fontsize=9)
    for place in places[len(some) :]:
        for ax in place:
            ax.set_axis_off()
    figure.suptitle(
        f"{_subtitle(audited)}: {counted(len(pairs), 'pair')} of near-duplicates, the {len(some)} "
        f"most similar\nleft of each: correlation of noise and finest detail",
        fontsize=8.5, color=GRAY, ha="left", x=0.01,
    )  # fmt: skip
    return places[0][0]


def _show(ax: Axes, image: np.ndarray, title: str, **limits) -> None:
    ax.imshow(image, cmap="gray", interpolation="nearest", **limits)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(title, fontsize=8.5)


def _displayable(raw: np.ndarray) -> np.ndarray:
    """A raw image scaled to 0 … 1 between its 0.5 and 99.5 percentiles."""
    low, high = np.percentile(raw, [0.5, 99.5])
    stretched = (raw.astype(np.float32) - low) / max(float(high - low), 1e-6)
    return np.clip(stretched, 0, 1).squeeze()


def _drawn_of_each_class(audited: Audited, count: int) -> dict[str, np.ndarray]:
    """Up to `count` readable rows of each of the first classes, drawn at random."""
    labels, rng = _labels(audited), np.random.default_rng(SEED)
    drawn = {}
    for label in sorted(set(labels))[:MAX_CLASSES]:
        rows = np.flatnonzero((labels == label) & audited.scan.readable)
        if len(rows):
            drawn[label] = np.sort(rng.permutation(rows)[:count])
    return drawn


def _labels(audited: Audited) -> np.ndarray:
    if audited.labels is not None:
        return audited.labels
    return np.full(len(audited), "all images", dtype=object)


def _shown(labels) -> list[str]:
    return readable_names([display_name(label) for label in labels])


def _subtitle(audited: Audited) -> str:
    name = audited.root.resolve().name
    return f"{name}, {counted(len(audited))}" + (", simulated" if audited.simulated else "")
