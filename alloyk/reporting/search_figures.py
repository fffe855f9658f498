"""The figures of a search, each with an alternative text."""

import numpy as np

from alloyk.messages import counted
from alloyk.metrics.certainty import metric_of
from alloyk.metrics.importance import importance_of
from alloyk.plots.hyperparameters import plot_parallel_coordinates, plot_slice
from alloyk.plots.schedules import plot_schedules_of
from alloyk.plots.search import plot_best_trials, plot_importance, plot_objective
from alloyk.plots.style import png_of
from alloyk.reporting.page import Block, Figures, Picture, Text
from alloyk.reporting.search_data import POPULATION, SearchData
from alloyk.runs.search_records import FINISHED, Trial

# Trials in the figure of intervals; the table has all of them.
MAX_INTERVALS = 25
# Below this R² on held-out trials, the report calls the importance noise.
UNPREDICTED = 0.1
# How much the metric of the predictions may differ from the objective to be shown beside it.
SAME = 0.01
UNITS = ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (float("inf"), 3600.0, "h"))


def objective_blocks(data: SearchData) -> list[Block]:
    """The objective over trials and over time, and the intervals of the best."""
    if not data.best_first:
        return []
    pictures = [_over_trials(data)]
    over_time = _over_time(data)
    if over_time is not None:
        pictures.append(over_time)
    intervals = _intervals(data)
    if intervals is not None:
        pictures.append(intervals)
    return [Figures(pictures)]


def _tied(data: SearchData, trials: list[Trial]) -> list[bool]:
    names = set(data.tied)
    return [one.name in names for one in trials]


def _interval(data: SearchData) -> tuple[float, float] | None:
    """The interval of the best trial, if it is one of the objective: not of another loss."""
    best = data.best_first[0]
    certain = data.certainties.get(best.name)
    if certain is None or best.result is None:
        return None
    if abs(certain.value - best.result) > SAME * max(abs(best.result), SAME):
        return None
    return certain.interval


def _lost(data: SearchData, place: dict[str, float]) -> dict[str, list[float]]:
    """What became of trials without a result → their places."""
    found: dict[str, list[float]] = {}
    for one in data.trials:
        if one.state != FINISHED and one.name in place:
            found.setdefault(data.done[one.name].state, []).append(place[one.name])
    return found


def _results(trials: list[Trial]) -> list[float]:
    return [np.nan if one.result is None else float(one.result) for one in trials]


def _over_trials(data: SearchData) -> Picture:
    place = {one.name: float(one.name) for one in data.trials}
    ax = plot_objective(
        [place[one.name] for one in data.finished], _results(data.finished),
        monitor=data.monitor, falling=data.falling, x_label="Trial",
        tied=_tied(data, data.finished), interval=_interval(data), lost=_lost(data, place),
        whole=True,
    )  # fmt: skip
    best = data.best_first[0]
    lost = len(data.trials) - len(data.finished)
    alt = (
        f"{data.monitor} of {len(data.finished):,} finished trials; the best is {best.result:.4f} "
        f"in trial {best.name}. {counted(lost, 'trial', 'have')} no result."
    )
    return Picture("Objective over trials", alt, png_of(ax))


def _over_time(data: SearchData) -> Picture | None:
    times = data.ended_after_s
    if not times:
        return None
    last = max(times.values())
    divisor, unit = next((each, name) for limit, each, name in UNITS if last < limit)
    place = {name: seconds / divisor for name, seconds in times.items()}
    trials = [one for one in data.finished if one.name in place]
    ax = plot_objective(
        [place[one.name] for one in trials], _results(trials), monitor=data.monitor,
        falling=data.falling, x_label=f"Training time of all trials, {unit}",
        tied=_tied(data, trials), interval=_interval(data), lost=_lost(data, place),
    )  # fmt: skip
    best = data.best_first[0]
    alt = (
        f"{data.monitor} of each trial when it ended; the best, {best.result:.4f}, after "
        f"{place[best.name]:.3g} of {last / divisor:.3g} {unit}."
    )
    return Picture("Objective over training time", alt, png_of(ax))


def _intervals(data: SearchData) -> Picture | None:
    shown = [one for one in data.best_first if one.name in data.certainties][:MAX_INTERVALS]
    if not shown:
        return None
    certain = [data.certainties[one.name] for one in shown]
    metric = metric_of(data.monitor).replace("_", " ")
    ax = plot_best_trials(
        [one.name for one in shown],
        [one.value for one in certain],
        [one.interval for one in certain],
        [one.tied for one in certain],
        metric=f"{metric} on the validation images",
        subtitle="blue: cannot be told apart from the best",
    )
    parts = [
        f"{trial.name} {one.value:.4f}"
        + (" [{:.4f}, {:.4f}]".format(*one.interval) if one.interval else "")
        for trial, one in list(zip(shown, certain, strict=True))[:8]
    ]
    alt = f"{metric} with 95 % intervals: {'; '.join(parts)}."
    return Picture(f"The best {len(shown)} trials with their intervals", alt, png_of(ax))


def hyperparameter_blocks(data: SearchData) -> list[Block]:
    """Parallel coordinates, and the importance of each hyperparameter."""
    if not data.best_first:
        return []
    parameters = data.description.parameters
    trials, results, which = data.comparable()
    importance = importance_of(parameters, [one.values for one in trials], results)
    blocks: list[Block] = []
    order = {key: i for i, key in enumerate(importance.shares)}
    shown = sorted(parameters, key=lambda one: order.get(one.key, len(order)))
    ended = [one for one in data.trials if one.ended is not None or one.state == FINISHED]
    ax = plot_parallel_coordinates(
        [data.hyperparameter(one, ended) for one in shown], _results(ended),
        monitor=data.monitor, falling=data.falling,
    )  # fmt: skip
    alt = (
        f"Each of {len(ended):,} trials as a line through its values of "
        f"{', '.join(one.key for one in shown)}, and its {data.monitor}. The table has the numbers."
    )
    blocks.append(Figures([Picture("Parallel coordinates", alt, png_of(ax))]))
    if importance.problem:
        return [*blocks, Text([importance.problem])]
    shares = importance.shares
    ax = plot_importance(shares, subtitle=f"{importance.trials:,} {which}")
    parts = [f"{key} {100 * share:.1f} %" for key, share in shares.items()]
    alt = f"Share of the variance of {data.monitor}: {', '.join(parts)}."
    blocks.append(Figures([Picture("Importance (fANOVA)", alt, png_of(ax))]))
    return [*blocks, Text([_words_on(importance.predicted, sum(shares.values()))])]


def _words_on(predicted: float, together: float) -> str:
    text = (
        "Importance by fANOVA: the share of the variance of the objective, over the whole search "
        "space, that a hyperparameter explains by itself. Combinations explain the other "
        f"{100 * max(1 - together, 0):.0f} %."
    )
    if predicted < UNPREDICTED:
        return (
            f"{text} These trials do not show what matters: the model behind it does not predict "
            f"trials that it has not seen (R² {predicted:.2f}), so that the shares may be noise."
        )
    return (
        f"{text} The model behind it predicts trials that it has not seen with R² {predicted:.2f}."
    )


def slice_blocks(data: SearchData) -> list[Block]:
    """The objective against each hyperparameter."""
    if not data.best_first:
        return []
    ended = [one for one in data.trials if one.ended is not None or one.state == FINISHED]
    results, pictures = np.array(_results(ended)), []
    for parameter in data.description.parameters:
        one = data.hyperparameter(parameter, ended)
        having = np.isfinite(one.values)
        if not having.any():
            continue
        subtitle = counted(int(having.sum()), "trial")
        if one.condition:
            subtitle = f"{subtitle}, only if {one.condition}"
        short = subtitle if len(subtitle) < 62 else f"{subtitle[:61]}…"
        ax = plot_slice(one, results, monitor=data.monitor, falling=data.falling, subtitle=short)
        alt = f"{data.monitor} against {one.name} of {subtitle}."
        pictures.append(Picture(one.name, alt, png_of(ax)))
    return [Figures(pictures)] if pictures else []


def schedule_blocks(data: SearchData) -> list[Block]:
    """The schedules of a population."""
    if data.description.search != POPULATION or not data.best_first:
        return []
    ax = plot_schedules_of(data.best_first[0], data.records, data.description.parameters)
    if ax is None:
        return []
    alt = "Values of every member over the epochs, those of the best member's line bold."
    return [Figures([Picture("Schedules of the population", alt, png_of(ax))])]
