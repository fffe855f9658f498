"""What the processes of a search share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from alloyk.runs.planned import NOT_PLANNED, Planned
from alloyk.runs.search_space import Parameter


class Members(NamedTuple):
    """The members of Population-Based Training.

    Attributes:
        size: Number of members.
        generation_epochs: Epochs between two decisions.
        burn_in: Epochs before which no member copies another one.
    """

    size: int
    generation_epochs: int
    burn_in: int = 0


class Task(NamedTuple):
    """A search that several processes work on; picklable.

    Attributes:
        search: Kind of search.
        parameters: The search space.
        out: Folder of the search.
        path: YAML file of the experiment around which to search.
        overrides: What the command line adds to it.
        max_trials: Number of trials at most.
        deadline: `time.time()` after which no trial starts.
        members: The members of Population-Based Training; None in other searches.
        planned: Settings made for the data set.
        folds: Number of folds whose mean is the objective; None: the validation split.
    """

    search: str
    parameters: tuple[Parameter, ...]
    out: Path
    path: Path | None
    overrides: Mapping[str, Any]
    max_trials: int | None
    deadline: float | None
    members: Members | None = None
    planned: Planned = NOT_PLANNED
    folds: int | None = None
