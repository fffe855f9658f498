"""What a search has written: its description, and a record for each trial.

`search.json` describes the search. `trial_0000/trial.json` holds a trial's values and, once it has
ended, its result. Both are replaced as a whole, so that a search that is killed at any moment can
be resumed from them.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from alloyk.errors import AlloykError, ModelError
from alloyk.messages import shown
from alloyk.runs.json_file import read_json, write_json

SEARCH_FILE = "search.json"
TRIAL_FILE = "trial.json"
STATES = RUNNING, FINISHED, FAILED = "running", "finished", "failed"

# Values of a trial that are no setting. It continues another trial, from an epoch to an epoch.
PARENT, FROM, UNTIL = "tuner/trial_id", "tuner/initial_epoch", "tuner/epochs"
GENERATION = "pbt/generation"


@dataclass(frozen=True)
class Trial:
    """One set of values, and what became of it.

    Attributes:
        name: Number of the trial as text, `0000` for the first.
        values: Dotted key → value, as Keras Tuner has it.
        state: `running`, `finished` or `failed`.
        result: Best monitored value; None unless finished.
        claimed: Position of its start among the events of the search.
        ended: Position of its end; None while it runs.
        epochs: Epochs trained, those of the trial that it continues included.
        seconds: Time that its own epochs took.
        error: Why it failed.
        weights: SHA-256 of the weights of the best epoch, of Population-Based Training only.
        folds: Best monitored value of each fold, whose mean is the result; None without folds.
    """

    name: str
    values: dict[str, Any]
    state: str = RUNNING
    result: float | None = None
    claimed: int = 0
    ended: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    error: str | None = None
    weights: str | None = None
    folds: list[float] | None = None

    @property
    def key(self) -> str:
        """The values as text, the same for the same values."""
        return json.dumps(self.values, sort_keys=True)


class TrialRecords:
    """The trials in the folder of a search. Its methods that write need the lock of the search."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._trials: dict[str, Trial] = {}
        self.refresh()

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._trials.values())

    def refresh(self) -> None:
        """Read what other workers have written; an ended trial does not change any more."""
        for file in sorted(self.out.glob(f"trial_*/{TRIAL_FILE}")):
            name = file.parent.name.removeprefix("trial_")
            if not name.isdecimal():  # a copy made by hand
                continue
            if name not in self._trials or self._trials[name].state == RUNNING:
                self._trials[name] = _trial(name, file)

    def refuse_gap(self) -> None:
        """Raise if the record of a trial is missing but later trials have theirs.

        Raises:
            ModelError: Names the file.
        """
        for number, name in enumerate(sorted(self._trials, key=int)):
            if int(name) != number:
                missing = self.out / f"trial_{number:04d}" / TRIAL_FILE
                raise ModelError(
                    f"every trial of a search must have its record, also one that failed, but "
                    f"{shown(missing)} is missing; restore its folder, or search in another --out"
                )

    def folder(self, trial: Trial) -> Path:
        """Folder of the trial's history and checkpoint."""
        return self.out / f"trial_{trial.name}"

    def events(self) -> list[tuple[str, Trial]]:
        """Starts (`claim`) and ends (`end`) of trials, in their order."""
        found = [(trial.claimed, "claim", trial) for trial in self]
        found += [(trial.ended, "end", trial) for trial in self if trial.ended is not None]
        return [(event, trial) for _, event, trial in sorted(found, key=lambda one: one[0])]

    def begin(self, values: Mapping[str, Any]) -> Trial:
        """Record a new trial as running."""
        name = f"{max((int(one) for one in self._trials), default=-1) + 1:04d}"
        trial = Trial(name, dict(values), claimed=self._next_position())
        self._write(trial)
        return trial

    def end(
        self,
        trial: Trial,
        result: float | None,
        *,
        epochs: int | None = None,
        seconds: float | None = None,
        error: str | None = None,
        weights: str | None = None,
        folds: Iterable[float] | None = None,
    ) -> None:
        """Record the result of a trial; None if it failed."""
        state = FAILED if result is None else FINISHED
        self._write(replace(trial, state=state, result=result, ended=self._next_position(),
                            epochs=epochs, seconds=seconds, error=error, weights=weights,
                            folds=None if folds is None else list(folds)))  # fmt: skip

    def running(self) -> list[Trial]:
        """Trials that are not ended."""
        return [trial for trial in self if trial.state == RUNNING]

    def best_first(self, monitor: str) -> list[Trial]:
        """Finished trials, the best first."""
        finished = [trial for trial in self if trial.result is not None]
        return sorted(finished, key=lambda t: t.result or 0.0, reverse=not falls(monitor))

    def failed(self) -> list[Trial]:
        """Trials without a result."""
        return [trial for trial in self if trial.state == FAILED]

    def line(self, trial: Trial) -> list[Trial]:
        """The trials that a trial continues, the first one first, itself last.

        Raises:
            ModelError: One of them is missing.
        """
        found = [trial]
        while (parent := found[0].values.get(PARENT)) is not None:
            before = self._trials.get(parent)
            if before is None or before in found:
                raise ModelError(
                    f"{shown(self.folder(found[0]) / TRIAL_FILE)} continues trial {parent}, whose "
                    f"{TRIAL_FILE} is missing; restore it"
                )
            found.insert(0, before)
        return found

    def _next_position(self) -> int:
        positions = [one for t in self for one in (t.claimed, t.ended) if one is not None]
        return max(positions, default=-1) + 1

    def _write(self, trial: Trial) -> None:
        self._trials[trial.name] = trial
        content = {key: getattr(trial, key) for key in _FIELDS}
        write_json(self.folder(trial) / TRIAL_FILE, content)


_FIELDS = tuple(one.name for one in fields(Trial) if one.name != "name")


_KINDS: dict[str, tuple[type, ...]] = {
    "values": (dict,), "state": (str,), "result": (int, float), "claimed": (int,),
    "ended": (int,), "epochs": (int,), "seconds": (int, float), "error": (str,), "weights": (str,),
    "folds": (list,),
}  # fmt: skip
_NEVER_NULL = ("values", "state", "claimed")


def _trial(name: str, file: Path) -> Trial:
    """The trial that a file records.

    Raises:
        ModelError: The file is damaged, or of a version that records trials in another way.
    """
    content = _read(file)
    found = {key: content[key] for key in _FIELDS if key in content}
    for key, kinds in _KINDS.items():
        value = found.get(key)
        if value is None and (key not in _NEVER_NULL or (key not in found and key != "values")):
            continue  # the first searches recorded values, state and result only
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise _damaged(file, f"`{key}` must be {_NAMES[kinds]}, got {json.dumps(value)}")
    state, result = found.get("state", RUNNING), found.get("result")
    if state not in STATES:
        raise _damaged(file, f"`state` must be one of {', '.join(STATES)}, got {json.dumps(state)}")
    if (state == FINISHED) != (result is not None and math.isfinite(result)):
        raise _damaged(file, f"a {state} trial cannot have the result {json.dumps(result)}")
    return Trial(name, **found)


_NAMES: dict[tuple[type, ...], str] = {
    (dict,): "an object", (str,): "text", (int,): "a whole number", (int, float): "a number",
    (list,): "a list",
}  # fmt: skip


def _damaged(file: Path, problem: str) -> ModelError:
    return ModelError(
        f"{shown(file)} must be the record of a trial, but {problem}; restore it, use the version "
        "of alloyk that wrote it, or search in another --out"
    )


def falls(monitor: str) -> bool:
    """Whether smaller values of an objective are better."""
    return monitor.endswith("loss")


def write_description(out: Path, description: Mapping[str, Any]) -> None:
    """Write `search.json`."""
    write_json(out / SEARCH_FILE, description)


def refuse_another_search(out: Path, description: Mapping[str, Any]) -> None:
    """Raise if `out` holds a search that differs in anything but what can be extended."""
    difference = search_difference(out, description)
    if difference:
        raise AlloykError(
            f"{shown(out)} holds another search: {difference}; choose another --out, or give the "
            "settings of that search"
        )


def search_difference(out: Path, description: Mapping[str, Any]) -> str | None:
    """What makes the search in `out` another one than described; None where it can be resumed.

    A grid may get further choices, and any search more trials; both keep what is finished.

    Raises:
        AlloykError: `search.json` is damaged.
    """
    file = out / SEARCH_FILE
    if not file.exists():
        return None
    before = _read(file)
    if "config" not in before:
        return f"{SEARCH_FILE} does not say which settings it was made with"
    if before["search"] != description["search"]:
        return f"--search was {before['search']}, got {description['search']}"
    now = description["versions"]
    versions = [
        {f"the version of {name}": one for name, one in each.items()}
        for each in (before.get("versions", now), now)  # the first searches did not record them
    ]
    return (
        _space_difference(before["space"], description["space"], description["search"])
        or _setting_difference(before["config"], description["config"])
        or _first_difference("", *versions)
        or _first_difference("population", before.get("population"), description.get("population"))
        or _first_difference("--folds", before.get("folds"), description.get("folds"))
        or ("the data set has changed since" if before["data"] != description["data"] else None)
    )


def _space_difference(before: Mapping[str, Any], now: Mapping[str, Any], search: str) -> str | None:
    for key in (*before, *now):
        old, new = before.get(key), now.get(key)
        grid = search == "grid" and isinstance(old, list)
        if old == new or (
            grid and isinstance(new, list) and all(value in new for value in old or ())
        ):
            continue
        return f"the search space of {key} was {json.dumps(old)}, got {json.dumps(new)}"
    return None


def _setting_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first setting that differs, network and data first: others may follow from them."""
    for section, key in (("model", "arch"), ("data", "path")):
        place = f"{section}.{key}"
        old, new = before.get(section, {}).get(key), now.get(section, {}).get(key)
        if found := _first_difference(place, old, new):
            return found
    return _first_difference("", before, now)


def _first_difference(prefix: str, before: Any, now: Any) -> str | None:
    """The first setting that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in (*before, *(key for key in now if key not in before)):
            place = f"{prefix}.{key}".removeprefix(".")
            found = _first_difference(place, before.get(key), now.get(key))
            if found:
                return found
        return None
    if before == now:
        return None
    return f"{prefix} was {json.dumps(before)}, got {json.dumps(now)}"


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_json(file)
    except ModelError as error:
        raise ModelError(f"{error}; restore it, or choose another --out") from error
