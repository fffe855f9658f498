"""The trials of a search as its report shows them: what became of each, and when."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from alloyk.errors import ModelError
from alloyk.metrics.certainty import Certainty, trial_certainties
from alloyk.plots.hyperparameters import Hyperparameter
from alloyk.runs.folder import RunFolder
from alloyk.runs.history import History
from alloyk.runs.search_folder import SearchDescription, SearchFolder
from alloyk.runs.search_records import (
    FAILED,
    FINISHED,
    FROM,
    PARENT,
    RUNNING,
    UNTIL,
    Trial,
    TrialRecords,
    falls,
)
from alloyk.runs.search_space import Parameter
from alloyk.settings.dialect import dump_inline

POPULATION = "pbt"
# Words of an error that say what happened.
DIVERGED = re.compile(r"the loss became|must be finite")
MEMORY = re.compile(r"ResourceExhausted|MemoryError|\bOOM\b")


@dataclass(frozen=True)
class Done:
    """What a trial has done.

    Attributes:
        state: One word or two.
        epochs: Epochs trained; None where unknown.
        seconds: Time of its own epochs; None where unknown.
    """

    state: str
    epochs: int | None
    seconds: float | None


class SearchData:
    """The trials of a search; each part is computed once.

    Args:
        folder: The search.

    Raises:
        ModelError: Its description or the record of a trial is damaged.
    """

    def __init__(self, folder: SearchFolder) -> None:
        self.folder = folder
        self.description: SearchDescription = folder.description
        self.records: TrialRecords = folder.records
        self.trials: list[Trial] = sorted(self.records, key=lambda trial: int(trial.name))
        self.finished: list[Trial] = [one for one in self.trials if one.state == FINISHED]

    @property
    def monitor(self) -> str:
        """What trials are compared by."""
        return self.description.monitor

    @property
    def falling(self) -> bool:
        """Whether smaller is better."""
        return falls(self.monitor)

    @cached_property
    def best_first(self) -> list[Trial]:
        """Finished trials, the best first."""
        return self.records.best_first(self.monitor)

    @cached_property
    def certainties(self) -> dict[str, Certainty]:
        """Name of a trial → its interval and whether it cannot be told apart from the best."""
        return trial_certainties(
            self.records, self.best_first, self.monitor,
            by_fold=self.description.folds is not None,
        )  # fmt: skip

    @property
    def tied(self) -> list[str]:
        """Names of the trials that cannot be told apart from the best, without it."""
        names = [one.name for one in self.best_first[1:]]
        return [name for name in names if name in self.certainties and self.certainties[name].tied]

    @cached_property
    def done(self) -> dict[str, Done]:
        """Name of a trial → what it has done."""
        continued = {one.values.get(PARENT) for one in self.trials}
        return {one.name: self._done(one, one.name in continued) for one in self.trials}

    def _done(self, trial: Trial, continued: bool) -> Done:
        epochs, seconds = trial.epochs, trial.seconds
        if trial.state != FINISHED:
            history = self._history(trial)
            if history is not None:
                epochs = history.epochs
                own = history.get("seconds", np.empty(0))[int(trial.values.get(FROM, 0)) :]
                seconds = float(np.nansum(own)) if len(own) else None
        return Done(self._state(trial, continued), epochs, seconds)

    def _history(self, trial: Trial) -> History | None:
        try:
            return RunFolder(self.records.folder(trial)).history
        except ModelError:  # one that ended in its first epoch
            return None

    def _state(self, trial: Trial, continued: bool) -> str:
        if trial.state == RUNNING:
            return "unfinished"
        if trial.state == FAILED:
            error = trial.error or ""
            if DIVERGED.search(error):
                return "diverged"
            return "out of memory" if MEMORY.search(error) else "failed"
        if continued:
            return "continued"
        last = self.description.settings.section("train").get("epochs")
        until = trial.values.get(UNTIL)
        stopped = isinstance(last, int) and isinstance(until, int) and until < last
        return "stopped early" if stopped and self.description.search != POPULATION else "finished"

    @cached_property
    def ended_after_s(self) -> dict[str, float]:
        """Name of a trial → training time of all trials when it ended, where it is known."""
        ended = [one for one in self.trials if one.state != RUNNING]
        ended.sort(key=lambda one: (one.ended is None, one.ended or 0))
        times = [self.done[one.name].seconds or 0.0 for one in ended]
        if not any(times):
            return {}
        return dict(zip((one.name for one in ended), np.cumsum(times).tolist(), strict=True))

    def comparable(self) -> tuple[list[Trial], npt.NDArray[np.float64], str]:
        """Trials whose results differ by their values only, their objective, and which they are.

        Results after few epochs cannot be compared with those after many: of Hyperband, the
        trials with the most frequent number of epochs are taken, which are drawn at random. Of a
        population, the objective counts against the median of the generation.
        """
        trials, which = self.finished, "finished trials"
        if self.description.search == POPULATION:
            ends = np.array([one.values[UNTIL] for one in trials])
            results = np.array([float(one.result or 0.0) for one in trials])
            for end in set(ends.tolist()):
                results[ends == end] -= np.median(results[ends == end])
            return trials, results, "members and generations, against the median of a generation"
        if any(UNTIL in one.values for one in trials):
            ends = np.array([one.values.get(UNTIL, 0) for one in trials])
            counts = {end: int((ends == end).sum()) for end in sorted(set(ends.tolist()))}
            most = max(counts, key=lambda end: counts[end])
            trials = [one for one in trials if one.values.get(UNTIL, 0) == most]
            which = f"trials that ended after {most} epochs"
        return trials, np.array([float(one.result or 0.0) for one in trials]), which

    def hyperparameter(self, one: Parameter, trials: list[Trial]) -> Hyperparameter:
        """The values of trials as a figure takes them."""
        found = [trial.values.get(one.key) for trial in trials]
        condition = " and ".join(
            f"{key} = {' or '.join(shown_value(text) for text in allowed)}"
            for key, allowed in one.when.items()
        )
        if one.choices:
            choices = [*one.choices, *(v for v in dict.fromkeys(found) if v not in one.choices)]
            choices = [choice for choice in choices if choice is not None]
            places = [np.nan if value is None else float(choices.index(value)) for value in found]
            names = tuple(shown_value(choice) for choice in choices)
            return Hyperparameter(one.key, np.array(places), names, condition=condition)
        numbers = np.array([np.nan if value is None else float(value) for value in found])
        tried = numbers[np.isfinite(numbers)].tolist()
        return Hyperparameter(
            one.key, numbers, (), min([one.low, *tried]), max([one.high, *tried]), one.log,
            condition,
        )  # fmt: skip


def shown_value(value: Any) -> str:
    """A value of a trial as YAML: a choice is recorded as JSON text, a number as it is.

    >>> shown_value('"focal"'), shown_value("0.1"), shown_value('"3"'), shown_value(0.00012345678)
    ('focal', '0.1', "'3'", '0.0001235')
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    if not isinstance(value, str):
        return str(value)
    try:
        return dump_inline(json.loads(value))
    except ValueError:
        return value
