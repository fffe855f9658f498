"""The report of a hyperparameter search, finished or not."""

from collections import Counter
from collections.abc import Sequence

from alloyk.messages import counted, few, shown
from alloyk.metrics.certainty import metric_of
from alloyk.reporting.page import (
    Block,
    Cell,
    Code,
    NameValues,
    Page,
    Section,
    Table,
    Text,
    count,
    number,
    with_interval,
)
from alloyk.reporting.search_best import best_blocks
from alloyk.reporting.search_data import POPULATION, SearchData, shown_value
from alloyk.reporting.search_figures import (
    hyperparameter_blocks,
    objective_blocks,
    schedule_blocks,
    slice_blocks,
)
from alloyk.runs.search_folder import SearchFolder
from alloyk.runs.search_records import FINISHED, Trial
from alloyk.runs.search_space import Parameter
from alloyk.settings.dialect import dump_yaml

# With more trials their table is shown on demand.
MAX_OPEN = 60
MAX_ERROR_LENGTH = 120
WORDS = {"log_loss": "log loss", "accuracy": "accuracy"}


def search_page(folder: SearchFolder) -> Page:
    """Build the page of a search from its files.

    Raises:
        ModelError: A file is damaged.
    """
    data = SearchData(folder)
    description = data.description
    simulated = description.simulated
    if simulated is None:  # an earlier version recorded the embedded data set only
        simulated = not description.settings.section("data").get("path")
    keys, kind = len(description.parameters), f"{description.search.capitalize()} search"
    if description.search == POPULATION:
        kind = "Population-Based Training"
    name = folder.path.resolve().name
    return Page(
        title=f"Search: {name}",
        lead=f"{kind} over {counted(keys, 'hyperparameter')}: "
        f"{_trials_by_state(data)}. {_objective(data)}The test split was not used.",
        simulated=simulated,
        tiles=tiles(data),
        sections=[
            Section("Best configuration", best_blocks(data)),
            Section("Objective", objective_blocks(data)),
            Section("Schedules", schedule_blocks(data)),
            Section("Hyperparameters", hyperparameter_blocks(data)),
            Section("Slices", slice_blocks(data)),
            Section("Trials", [trial_table(data)] if data.trials else []),
            Section("Limits", [Text(limits(data), listed=True)]),
            Section("Search", search_blocks(data)),
        ],
    )


def _objective(data: SearchData) -> str:
    """A sentence about a cross-validated objective; empty for the validation split."""
    folds = data.description.folds
    if folds is None:
        return ""
    return f"The objective is the mean over {folds} folds of the training and validation images. "


def _trials_by_state(data: SearchData) -> str:
    """The number of trials, and how many have each state."""
    states = Counter(one.state for one in data.done.values())
    parts = [f"{n:,} {state}" for state, n in states.most_common()]
    return counted(len(data.trials), "trial") + (f" ({', '.join(parts)})" if parts else "")


def tiles(data: SearchData) -> list[tuple[str, str, str]]:
    """The headline numbers."""
    found = []
    if data.best_first:
        best = data.best_first[0]
        certain = data.certainties.get(best.name)
        note = ""
        if certain:
            note = f"{_metric(data)} {certain.value:.4f}"
            if certain.interval:
                note += ", 95 % [{:.4f}, {:.4f}]".format(*certain.interval)
        found.append((f"best {data.monitor}", f"{best.result:.4f}", note))
        found.append(("best trial", best.name, ""))
        if certain:
            found.append(("cannot be told apart from it", f"{len(data.tied):,}", "trials"))
    finished = len(data.finished)
    found.append(("finished trials", f"{finished:,}", f"of {len(data.trials):,}"))
    seconds = sum(one.seconds or 0.0 for one in data.done.values())
    found.append(("training time", duration(seconds), "of all trials"))
    return found


def _metric(data: SearchData) -> str:
    return WORDS[metric_of(data.monitor)]


def duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours.

    >>> duration(7.25), duration(600), duration(7300)
    ('7.2 s', '10.0 min', '2.0 h')
    """
    for limit, unit in ((120, 1), (7200, 60)):
        if seconds < limit:
            return f"{seconds / unit:.1f} {'s' if unit == 1 else 'min'}"
    return f"{seconds / 3600:.1f} h"


def trial_table(data: SearchData) -> Table:
    """Every trial, the best first; those without a result at the end."""
    parameters = data.description.parameters
    rest = [one for one in data.trials if one.state != FINISHED]
    columns = ("trial", "state", data.monitor, _metric(data), "tied with best",
               *(one.key for one in parameters), *_fold_names(data), "epochs",
               "seconds")  # fmt: skip
    many = len(data.trials)
    return Table(
        f"{counted(many, 'trial')}, the best first; those without a result at the end",
        columns,
        [_row(data, trial, parameters) for trial in [*data.best_first, *rest]],
        closed=many > MAX_OPEN,
    )


def _fold_names(data: SearchData) -> list[str]:
    return [f"{data.monitor}, fold {fold}" for fold in range(1, (data.description.folds or 0) + 1)]


def _row(data: SearchData, trial: Trial, parameters: Sequence[Parameter]) -> list[Cell | str]:
    done, certain = data.done[trial.name], data.certainties.get(trial.name)
    error = trial.error or ""
    if len(error) > MAX_ERROR_LENGTH:
        error = f"{error[: MAX_ERROR_LENGTH - 1]}…"
    compared: list[Cell | str] = [Cell("–"), "–"]
    if certain is not None:
        compared = [with_interval(certain.value, certain.interval),
                    "yes" if certain.tied else "no"]  # fmt: skip
    return [
        trial.name,
        Cell(done.state, note=error),
        number(trial.result),
        *compared,
        *(_value(trial.values.get(one.key)) for one in parameters),
        *(map(number, trial.folds) if trial.folds else [Cell("–")] * len(_fold_names(data))),
        count(done.epochs),
        number(done.seconds, 1),
    ]


def _value(value: object) -> Cell:
    if value is None:
        return Cell("–")
    text = shown_value(value)
    try:
        return Cell(text, float(text))
    except ValueError:
        return Cell(text)


def limits(data: SearchData) -> list[str]:
    """Limitations of the search."""
    found = []
    if data.done and any(one.state == "unfinished" for one in data.done.values()):
        found.append("The search is not finished: the same command resumes it.")
    if data.best_first:
        found.append(
            "The best of many trials is optimistic on the validation images, which it was chosen "
            "on: train it once and read the result on the test split."
        )
        if data.certainties and data.description.folds:
            found.append(
                "The intervals are those of the mean over the folds, the same ones for all trials. "
                "The runs of two folds share most images, for which they are widened, by an "
                "approximation. Another seed of the training changes the results too."
            )
        elif data.certainties:
            found.append(
                "The intervals are those of the validation images: whole plates are resampled, the "
                "same ones for all trials. Another seed of the training changes the results too."
            )
        else:
            found.append("The validation predictions of the best trial are missing: no intervals.")
    else:
        found.append("No trial has a result.")
    lost = [one.name for one in data.trials if data.done[one.name].state in
            ("diverged", "failed", "out of memory")]  # fmt: skip
    if lost:
        drawn = "; they are drawn as crosses and dashed lines" if data.best_first else ""
        found.append(f"Failed trials are not part of the importance{drawn}: {few(lost, 10)}.")
    if data.description.search == POPULATION:
        found.append(
            "Members copy weights from each other: a result is not that of its values alone, but "
            "of its whole lineage."
        )
    return found


def search_blocks(data: SearchData) -> list[Block]:
    """The space, the data, the versions and the base configuration."""
    description = data.description
    rows = []
    for one in description.parameters:
        if one.choices:
            values = ", ".join(shown_value(choice) for choice in one.choices)
        else:
            scale = ", logarithmic" if one.log else ""
            step = "" if one.step is None else f", step {one.step:g}"
            values = f"{one.low:g} to {one.high:g}{step}{scale}"
        when = "; ".join(
            f"{key}: {', '.join(map(shown_value, allowed))}" for key, allowed in one.when.items()
        )
        rows.append([one.key, values, when or "–"])
    facts = [("folder", shown(data.folder.path)), ("data set (SHA-256)", description.data)]
    if description.versions:
        versions = ", ".join(f"{name} {one}" for name, one in description.versions.items())
        facts.append(("versions", versions))
    if description.folds:
        facts.append(("folds of the objective", str(description.folds)))
    facts += [(name.replace("_", " "), str(n)) for name, n in description.population.items()]
    base = dump_yaml(dict(description.settings.values))
    return [
        Table("Search space", ("hyperparameter", "values", "only if"), rows),
        NameValues(facts),
        Code("Base configuration of the search", base),
    ]
