"""The result of a hyperparameter search."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.notebook import html_table
from alloyk.progress import Progress

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SearchResult:
    """A search: its trials, the best first.

    Attributes:
        folder: Folder of the search.
    """

    folder: Path

    @property
    def best(self) -> Path:
        """The best configuration, a YAML file that `alloyk.train` takes."""
        return self.folder / "best.yaml"

    @property
    def trials(self) -> "pd.DataFrame":
        """One row per trial: its number, the monitored metric, and the value of each key."""
        import pandas as pd

        return pd.read_csv(self._trials_file, dtype={"trial": str})

    @property
    def trials_text(self) -> str:
        """The same table as CSV text."""
        return self._trials_file.read_text(encoding="utf-8")

    @property
    def _trials_file(self) -> Path:
        return self.folder / "trials.csv"

    def _repr_html_(self) -> str:
        head, *rows = csv.reader(self.trials_text.splitlines())
        return html_table(f"search {self.folder}", head, rows)


def run_search(
    search: str,
    space: str | Path | Mapping[str, Any] | None,
    over: Iterable[str],
    out: Path | None,
    config: Path | None,
    overrides: Mapping[str, Any],
    trials: int | None,
    time_budget: float | None,
    workers: int,
    progress: Progress,
) -> Path:
    """Search the space with the `KEY=A,B,…` texts `over` added; return the best configuration."""
    from alloyk.config import resolve_config
    from alloyk.runtime.tensorflow import load_tensorflow

    resolved = resolve_config(config, overrides)
    load_tensorflow(resolved.model.arch, resolved.preprocess.image_size)
    from alloyk.tuning import search as engine
    from alloyk.tuning.space import read_space, space_from

    given = space if isinstance(space, Mapping) else read_space(Path(space)) if space else {}
    return engine.run_search(
        search, {**given, **space_from(over)}, out, path=config, overrides=overrides,
        max_trials=trials, time_budget_min=time_budget, workers=workers, progress=progress,
    )  # fmt: skip
