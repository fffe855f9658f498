"""The folder of a search: the names of its files, and what `search.json` says of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alloyk.errors import ConfigError, ModelError
from alloyk.messages import shown
from alloyk.runs.json_file import read_json
from alloyk.runs.planned import Planned, recorded_plan
from alloyk.runs.search_records import SEARCH_FILE, Trial, TrialRecords
from alloyk.runs.search_space import Parameter, parameters_of
from alloyk.runs.settings import RunSettings


@dataclass(frozen=True)
class SearchDescription:
    """What a search does.

    Attributes:
        search: Kind of search, such as `grid`.
        parameters: The search space.
        settings: The configuration around which it searches.
        data: Fingerprint of the data set.
        versions: Package → version.
        simulated: Whether the images are simulated; None where an earlier version did not record
            it.
        population: The members of Population-Based Training; empty in other searches.
        folds: Number of folds whose mean is the objective; None: the validation split.
    """

    search: str
    parameters: tuple[Parameter, ...]
    settings: RunSettings
    data: str
    versions: Mapping[str, str]
    simulated: bool | None
    population: Mapping[str, int]
    folds: int | None = None

    @property
    def monitor(self) -> str:
        """What trials are compared by."""
        return self.settings.monitor


class SearchFolder:
    """A search: its files by name, and their content as typed objects.

    Args:
        path: The folder; it need not exist.

    Attributes:
        path: The folder.
        description_file: `search.json`.
        best_file: `best.yaml`, the best configuration.
        trials_file: `trials.csv`, one row per trial.
        lineage_file: `lineage.json`, the schedule that Population-Based Training has found.
        schedules_file: `schedules.png`, the values of all members over the epochs.
        page_file: `report.html`.
        plan_file: `plan.yaml`, the settings made from the data set, each with its reason.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.description_file = self.path / SEARCH_FILE
        self.best_file = self.path / "best.yaml"
        self.trials_file = self.path / "trials.csv"
        self.lineage_file = self.path / "lineage.json"
        self.schedules_file = self.path / "schedules.png"
        self.page_file = self.path / "report.html"
        self.plan_file = self.path / "plan.yaml"

    def settings_file(self, trial: Trial) -> Path:
        """The configuration of a trial, everything resolved; searches of 0.1.0 may lack it."""
        return self.path / f"trial_{trial.name}" / "settings.yaml"

    @property
    def is_search(self) -> bool:
        """Whether the folder holds a search."""
        return self.description_file.is_file()

    @property
    def planned(self) -> Planned | None:
        """The settings made for the data set when the search began; None before that.

        Raises:
            ModelError: They are damaged.
        """
        return recorded_plan(read_json(self.description_file), self.description_file)

    @property
    def records(self) -> TrialRecords:
        """The trials.

        Raises:
            ModelError: The record of one is damaged.
        """
        return TrialRecords(self.path)

    @property
    def description(self) -> SearchDescription:
        """What the search does.

        Raises:
            ModelError: `search.json` is missing, damaged, or of a version that writes other things.
        """
        file = self.description_file
        content = read_json(file)
        missing = [key for key in ("search", "space", "config", "data") if key not in content]
        if missing:
            raise _not_understood(file, f"has no `{missing[0]}`")
        for key, kind in (("search", str), ("space", Mapping), ("config", Mapping), ("data", str),
                          ("versions", Mapping), ("population", Mapping),
                          ("folds", int)):  # fmt: skip
            if key in content and not isinstance(content[key], kind):
                raise _not_understood(file, f"has {content[key]!r} for `{key}`")
        try:
            parameters = parameters_of(content["space"])
        except ConfigError as error:
            raise _not_understood(file, str(error)) from error
        simulated: Any = content.get("simulated")
        return SearchDescription(
            content["search"], parameters, RunSettings(content["config"], file), content["data"],
            content.get("versions", {}), simulated if isinstance(simulated, bool) else None,
            content.get("population", {}), content.get("folds"),
        )  # fmt: skip


def _not_understood(file: Path, problem: str) -> ModelError:
    return ModelError(
        f"{shown(file)} must describe a search, but {problem}; restore it, or use the version of "
        "alloyk that wrote it"
    )
