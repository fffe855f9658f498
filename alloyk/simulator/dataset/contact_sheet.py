"""Contact sheet of a data set: every class and thickness, raw and equalised."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alloyk.imaging.drawing import equalised
from alloyk.simulator.dataset.render import Simulator
from alloyk.simulator.dataset.sampling import PlannedImage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_THICKNESSES = 4
"""Columns per class; of more nominal thicknesses, evenly spaced ones are shown."""


def examples(planned: Iterable[PlannedImage]) -> dict[str, list[PlannedImage]]:
    """The first image of each class and nominal thickness, thinnest first."""
    found: dict[str, dict[float, PlannedImage]] = {}
    for one in planned:
        found.setdefault(one.plate.alloy, {}).setdefault(one.plate.thickness_mm, one)
    chosen = {}
    for label, by_thickness in found.items():
        ranked = [by_thickness[thickness] for thickness in sorted(by_thickness)]
        count = min(len(ranked), MAX_THICKNESSES)
        picks = np.linspace(0, len(ranked) - 1, count).round().astype(int)
        chosen[label] = [ranked[pick] for pick in picks]
    return chosen


def write_contact_sheet(simulator: Simulator, planned: Iterable[PlannedImage], path: Path) -> None:
    """Draw the contact sheet into a PNG file."""
    from alloyk.runtime.drawing import house_style, write_png

    with house_style():
        figure = plot_contact_sheet(simulator, planned)
    write_png(figure, path, dpi=100)


def plot_contact_sheet(simulator: Simulator, planned: Iterable[PlannedImage]) -> "Figure":
    """Draw, for each class and thickness: counts, equalised counts, and profiles along the wedge.

    The profiles are means over the rows of the upper fifth (wedge alone) and the lower fifth
    (wedge and plate) of the field.
    """
    from matplotlib.figure import Figure

    chosen = examples(planned)
    columns = max(len(ones) for ones in chosen.values())
    figure = Figure(figsize=(0.6 + 2.2 * columns, 6.4 * len(chosen)), layout="constrained")
    sheets = np.atleast_1d(np.asarray(figure.subfigures(len(chosen), 1)))
    for sheet, (label, ones) in zip(sheets, chosen.items(), strict=True):
        sheet.suptitle(f"Al {label}, simulated")
        axes = sheet.subplots(
            3, columns, squeeze=False, sharex="row", sharey="row", height_ratios=(2, 2, 1.4)
        )
        for column in range(columns):
            if column < len(ones):
                _draw_image(axes[:, column], simulator, ones[column])
            else:
                for axis in axes[:, column]:
                    axis.set_axis_off()
        for axis, text in zip(axes[:, 0], ("counts", "equalised", "profile, counts"), strict=True):
            axis.set_ylabel(text)
        # Below the panels: inside a panel the legend would cover a curve.
        lines, names = axes[2, 0].get_legend_handles_labels()
        sheet.legend(lines, names, fontsize=7, ncols=2, loc="outside lower center")
    return figure


def _draw_image(axes: np.ndarray, simulator: Simulator, one: PlannedImage) -> None:
    """Draw one image into a column of three axes: counts, equalised counts, profiles."""
    picture, ranks, profile = axes
    parameters = simulator.recipe.parameters
    counts = simulator.image(one)
    picture.set_title(
        f"{one.plate.thickness_mm:.3g} mm, {one.now.set_voltage_kvp:.3g} kV", fontsize=9
    )
    picture.imshow(counts, cmap="gray", vmin=0, vmax=parameters.detector.greatest_count)
    ranks.imshow(equalised(counts), cmap="gray", vmin=0, vmax=1)
    for axis in (picture, ranks):
        axis.set_xticks([])
        axis.set_yticks([])
    half_mm = parameters.layout.field_mm / 2
    place_mm = np.linspace(-half_mm, half_mm, len(counts))
    fifth = max(len(counts) // 5, 1)
    profile.semilogy(place_mm, counts[:fifth].mean(axis=0) + 1, lw=1, label="above")
    profile.semilogy(place_mm, counts[-fifth:].mean(axis=0) + 1, lw=1, label="below")
    profile.set_xlabel("mm")
    profile.tick_params(labelsize=7)
