"""Made-up results to draw, and checks that every text of a figure can be read."""

import numpy as np
import pandas as pd
from matplotlib.text import Text

from alloyk.runs.predictions import Predictions

ALLOYS = ["Al 1050", "Al 2017", "Al 5083", "Al 6082", "Al 7075"]


def predictions_of(classes, n=200, skill=1.5, seed=0, never=None):
    rng = np.random.default_rng(seed)
    k = len(classes)
    y = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), y] += skill
    if never is not None:
        logits[:, never] -= 50
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table = pd.DataFrame({"path": [str(i) for i in range(n)]})
    return Predictions(table, tuple(classes), y, p.argmax(axis=1), p)


def history_of(epochs):
    loss = np.exp(-np.arange(epochs) / 5) + 0.1
    return {"epoch": np.arange(1.0, epochs + 1), "loss": loss, "accuracy": 1 - loss / 2,
            "val_loss": loss * 1.1, "val_accuracy": 1 - loss / 1.9}  # fmt: skip


def texts_in(ax):
    """All texts that are drawn; matplotlib also keeps labels of ticks beyond the axes' ends."""
    beyond = set()
    for axis in (axis for one in ax.figure.axes for axis in (one.xaxis, one.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for where in ("major", "minor"):
            ticks, labels = (
                axis.get_ticklocs(minor=where == "minor"),
                axis.get_ticklabels(which=where),
            )
            beyond |= {
                label for tick, label in zip(ticks, labels, strict=True) if not low <= tick <= high
            }
    return [
        text
        for text in ax.figure.findobj(Text)
        if text.get_text() and text.get_visible() and text not in beyond
    ]


def assert_everything_is_readable(ax):
    """No text leaves the figure, and no two texts cover each other."""
    figure = ax.figure
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    shown = []
    for text in texts_in(ax):
        box = text.get_window_extent()
        if box.width < 1:
            continue
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text.get_text()!r} is cut off"
        if not text.get_rotation() % 90:
            shown.append((text.get_text(), box.shrunk(0.98, 0.9)))
    for i, (one, box) in enumerate(shown):
        for other, second in shown[i + 1 :]:
            assert not box.overlaps(second), f"{one!r} covers {other!r}"
