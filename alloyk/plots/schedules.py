"""How settings changed during the training of a population."""

from collections.abc import Collection, Mapping, Sequence
from math import isnan, nan

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from alloyk.plots.style import COLORS, GRAY, finish_sheet, in_house_style, new_figure
from alloyk.runs.search_records import FINISHED, FROM, UNTIL, Trial, TrialRecords
from alloyk.runs.search_space import Parameter


@in_house_style
def plot_schedules(
    spans: Sequence[tuple[int, int]],
    values: Mapping[str, Sequence[float]],
    best_spans: Sequence[tuple[int, int]],
    best_values: Mapping[str, Sequence[float]],
    *,
    logarithmic: Collection[str] = (),
) -> Axes:
    """Value of each key over the epochs: of every member thin, of the best one's line bold.

    Args:
        spans: Epochs done at the start and at the end of a value, for each of all members.
        values: Key → its values in these spans; NaN where a member has none.
        best_spans: The same for the best member and its ancestors.
        best_values: The values of `best_spans`.
        logarithmic: Keys with a logarithmic axis.

    Returns:
        The axes of the first key.
    """
    figure = new_figure(7.2, 0.9 + 1.9 * len(values))
    rows = figure.subplots(len(values), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (key, each) in zip(rows, values.items(), strict=True):
        known = [(one, *span) for one, span in zip(each, spans, strict=True) if not isnan(one)]
        heights, starts, ends = zip(*known, strict=True)
        ax.hlines(heights, starts, ends, color=GRAY, linewidth=1, alpha=0.5, label="every member")
        edges = [best_spans[0][0], *(end for _, end in best_spans)]
        ax.stairs(best_values[key], edges, baseline=None, color=COLORS[1], linewidth=2.2,
                  label="the best member's line")  # fmt: skip
        if key in logarithmic:
            ax.set_yscale("log")
        ax.set_title(key, loc="left", fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#E5E5E5", linewidth=0.8)
        ax.set_axisbelow(True)
    rows[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=9,
                   borderaxespad=0.2)  # fmt: skip
    rows[-1].set_xlabel("epochs done")
    rows[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    finish_sheet(figure, "Settings over the epochs", "")
    first: Axes = rows[0]
    return first


def plot_schedules_of(
    best: Trial, records: TrialRecords, parameters: Sequence[Parameter]
) -> Axes | None:
    """The schedules of a population, see `plot_schedules`; None where no key has a range.

    Args:
        best: The trial whose line is drawn bold.
        records: The trials of the search.
        parameters: The search space.
    """
    finished, line = [t for t in records if t.state == FINISHED], records.line(best)
    numbers = [
        one for one in parameters
        if not one.choices and any(one.key in trial.values for trial in finished)
    ]  # fmt: skip
    if not numbers:
        return None
    return plot_schedules(
        [(t.values[FROM], t.values[UNTIL]) for t in finished],
        {one.key: [t.values.get(one.key, nan) for t in finished] for one in numbers},
        [(t.values[FROM], t.values[UNTIL]) for t in line],
        {one.key: [t.values.get(one.key, nan) for t in line] for one in numbers},
        logarithmic=[one.key for one in numbers if one.log],
    )
