"""What a search has written: its description, and a record for each trial.

`search.json` describes the search. `trial_0000/trial.json` holds a trial's values and, once it has
ended, its result. Both are replaced as a whole, so that a search that is killed at any moment can
be resumed from them.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alloyk.errors import AlloykError
from alloyk.files import whole_file
from alloyk.imaging import shown

SEARCH_FILE = "search.json"
TRIAL_FILE = "trial.json"
RUNNING, FINISHED, FAILED = "running", "finished", "failed"


@dataclass(frozen=True)
class Trial:
    """One set of values, and what became of it.

    Attributes:
        name: Number of the trial as text, `0000` for the first.
        values: Dotted key → value, as Keras Tuner has it.
        state: `running`, `finished` or `failed`.
        result: Best monitored value; None unless finished.
    """

    name: str
    values: dict[str, Any]
    state: str = RUNNING
    result: float | None = None

    @property
    def key(self) -> str:
        """The values as text, the same for the same values."""
        return json.dumps(self.values, sort_keys=True)


class TrialRecords:
    """The trials in the folder of a search, found by their values."""

    def __init__(self, out: Path):
        self.out = out
        self._trials: dict[str, Trial] = {}
        for file in sorted(out.glob(f"trial_*/{TRIAL_FILE}")):
            trial = Trial(file.parent.name.removeprefix("trial_"), **_read_json(file))
            self._trials[trial.key] = trial

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._trials.values())

    def folder(self, trial: Trial) -> Path:
        """Folder of the trial's history and checkpoint."""
        return self.out / f"trial_{trial.name}"

    def begin(self, values: Mapping[str, Any]) -> Trial:
        """The trial with these values, recorded as running if it is new."""
        trial = Trial("", dict(values))
        if trial.key in self._trials:
            return self._trials[trial.key]
        taken = [int(one.name) for one in self._trials.values()]
        trial = replace(trial, name=f"{max(taken, default=-1) + 1:04d}")
        self._write(trial)
        return trial

    def end(self, trial: Trial, result: float | None) -> None:
        """Record the result of a trial; None if it failed."""
        state = FAILED if result is None else FINISHED
        self._write(replace(trial, state=state, result=result))

    def best_first(self, monitor: str) -> list[Trial]:
        """Finished trials, the best first."""
        finished = [trial for trial in self if trial.result is not None]
        return sorted(finished, key=lambda t: t.result, reverse=not monitor.endswith("loss"))

    def failed(self) -> list[Trial]:
        """Trials without a result."""
        return [trial for trial in self if trial.state == FAILED]

    def _write(self, trial: Trial) -> None:
        self._trials[trial.key] = trial
        content = {"values": trial.values, "state": trial.state, "result": trial.result}
        _write_json(self.folder(trial) / TRIAL_FILE, content)


def write_description(out: Path, description: Mapping[str, Any]) -> None:
    """Write `search.json`."""
    _write_json(out / SEARCH_FILE, description)


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
    before = _read_json(file)
    if "config" not in before:
        return f"{SEARCH_FILE} does not say which settings it was made with"
    if before["search"] != description["search"]:
        return f"--search was {before['search']}, got {description['search']}"
    return (
        _space_difference(before["space"], description["space"], description["search"])
        or _first_difference("", before["config"], description["config"])
        or ("the data set has changed since" if before["data"] != description["data"] else None)
    )


def _space_difference(before: Mapping, now: Mapping, search: str) -> str | None:
    for key in (*before, *now):
        old, new = before.get(key), now.get(key)
        grows = search == "grid" and isinstance(old, list) and isinstance(new, list)
        if old == new or (grows and all(value in new for value in old)):
            continue
        return f"the search space of {key} was {json.dumps(old)}, got {json.dumps(new)}"
    return None


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


def _read_json(file: Path) -> dict:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it must be an object")
        return content
    except (OSError, ValueError) as error:
        raise AlloykError(
            f"cannot read {shown(file)}: {error}; restore it, or choose another --out"
        ) from error


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    with whole_file(file) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
