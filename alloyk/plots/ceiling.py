"""The reference ceiling, alone and beside what was measured."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from alloyk.plots.confusion import plot_confusion_matrix
from alloyk.text_report import display_name


def plot_ceiling_matrix(ceiling: Mapping, *, subtitle: str = "", ax: Axes | None = None) -> Axes:
    """Confusion matrix of the ideal classifier, in per cent of each true class.

    Args:
        ceiling: As `alloyk.xray.ceiling.Ceiling.as_dict` gives it.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    names = [display_name(label) for label in ceiling["classes"]]
    ax = plot_confusion_matrix(
        np.array(ceiling["confusion_matrix"]), names, normalize=True, subtitle=subtitle, ax=ax
    )  # fmt: skip
    ax.set_title(
        f"Reference ceiling {percent(ceiling)}", loc="left", fontsize=12, fontweight="bold", pad=20
    )
    return ax


def percent(ceiling: Mapping) -> str:
    """For example ``85.3 ± 0.3 %``."""
    return f"{100 * ceiling['accuracy']:.1f} ± {100 * ceiling['error']:.1f} %"
