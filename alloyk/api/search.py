"""The result of a hyperparameter search."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.notebook import html_table
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.search_folder import SearchFolder

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
        return SearchFolder(self.folder).best_file

    @property
    def lineage(self) -> Path | None:
        """The schedule that Population-Based Training has found, for `alloyk.train(replay=…)`."""
        path = SearchFolder(self.folder).lineage_file
        return path if path.is_file() else None

    @property
    def page(self) -> Path:
        """The report, one self-contained HTML file; `report` makes it again."""
        return SearchFolder(self.folder).page_file

    def report(self, out: str | Path | None = None) -> Path:
        """Write the report, as `alloyk.report` does; return the file."""
        from alloyk.reporting.writing import write_report

        return write_report(self.folder, out)

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
        return SearchFolder(self.folder).trials_file

    def _repr_html_(self) -> str:
        head, *rows = csv.reader(self.trials_text.splitlines())
        return html_table(f"search {self.folder}", head, rows)


def run_search(
    search: str,
    space: str | Path | Mapping[str, Any] | None,
    over: Mapping[str, Sequence[Any]] | Iterable[str],
    out: Path | None,
    config: Path | None,
    overrides: Mapping[str, Any],
    progress: Progress = NO_PROGRESS,
    **options: Any,
) -> Path:
    """Search the space with `over` added, write the report; return the best configuration.

    `options` are those of `alloyk.tuning.search.run_search`.

    Raises:
        ConfigError: A key is given in both, with different values.
    """
    from alloyk.api.configuration import planned_once
    from alloyk.config import combine, resolve_config
    from alloyk.runtime.tensorflow import load_tensorflow
    from alloyk.tuning.space import architectures_in, read_space

    given = space if isinstance(space, Mapping) else read_space(Path(space)) if space else {}
    given = combine(given, choices_of(over))
    planned = planned_once(
        config, overrides, progress, architectures=architectures_in(given),
        recorded=SearchFolder(out).planned if out else None,
    )  # fmt: skip
    resolved = resolve_config(config, overrides, planned.for_arch())
    load_tensorflow(resolved.model.arch, resolved.preprocess.image_size)
    from alloyk.tuning import search as engine

    try:
        best = engine.run_search(
            search,
            given,
            out,
            path=config,
            overrides=overrides,
            planned=planned,
            progress=progress,
            **options,
        )
    except engine.NoResultError as error:
        SearchResult(error.folder).report()  # it shows what became of the trials
        raise
    SearchResult(best.parent).report()
    return best


def choices_of(over: Mapping[str, Sequence[Any]] | Iterable[str]) -> dict[str, Any]:
    """Key → choices, of such a mapping or of `KEY=A,B,…` texts.

    >>> choices_of({"model.arch": ("cnn", "fnn"), "loss.name": ["a,b"]})
    {'model.arch': ['cnn', 'fnn'], 'loss.name': ['a,b']}
    >>> choices_of(["model.dropout=0.1,0.3"])
    {'model.dropout': [0.1, 0.3]}
    """
    if isinstance(over, Mapping):
        from alloyk.settings.dialect import plain

        return {key: json.loads(json.dumps(list(one), default=plain)) for key, one in over.items()}
    from alloyk.tuning.space import space_from

    return space_from([over] if isinstance(over, str) else over)
