"""Search for better settings: `tune` and its result."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.api.settings import Settings, configuration_overrides, path_if
from alloyk.errors import OptionError
from alloyk.notebook import html_table
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runtime.tensorflow import load_tensorflow

if TYPE_CHECKING:
    import pandas as pd

    from alloyk.runs.search_folder import SearchFolder


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
        return self._files.best_file

    @property
    def lineage(self) -> Path | None:
        """The schedule that Population-Based Training has found, for `alloyk.train(replay=…)`."""
        path = self._files.lineage_file
        return path if path.is_file() else None

    @property
    def page(self) -> Path:
        """The report, one self-contained HTML file; `report` makes it again."""
        return self._files.page_file

    def report(self, out: str | Path | None = None) -> Path:
        """Write the report, as `alloyk.report` does; return the file."""
        from alloyk.reporting.writing import write_report

        return write_report(self.folder, out)

    @property
    def trials(self) -> "pd.DataFrame":
        """One row per trial: its number, the monitored metric, and the value of each key."""
        import pandas as pd

        return pd.read_csv(self._files.trials_file, dtype={"trial": str})

    @property
    def trials_text(self) -> str:
        """The same table as CSV text."""
        return self._files.trials_file.read_text(encoding="utf-8")

    @property
    def _files(self) -> "SearchFolder":
        from alloyk.runs.search_folder import SearchFolder

        return SearchFolder(self.folder)

    def _repr_html_(self) -> str:
        head, *rows = csv.reader(io.StringIO(self.trials_text, newline=""))
        return html_table(f"search {self.folder}", head, rows)


def tune(
    config: str | Path | None = None,
    *,
    search: str = "grid",
    space: str | Path | Mapping[str, Any] | None = None,
    over: Mapping[str, Sequence[Any]] | Sequence[str] = (),
    trials: int | None = None,
    folds: int | None = None,
    time_budget: float | None = None,
    workers: int = 1,
    population: int | None = None,
    generation_epochs: int | None = None,
    burn_in: int | None = None,
    address: str | None = None,
    out: str | Path | None = None,
    arch: str | None = None,
    data: str | Path | None = None,
    set: Settings = (),
    progress: Progress = NO_PROGRESS,
) -> SearchResult:
    """Search for better settings, as `alloyk tune` does.

    With `data` and no `config`, what is neither set nor searched is chosen once for all trials,
    as by `configure`.

    Args:
        config: YAML file of the experiment around which to search.
        search: `grid` for every combination, `random`, `bayesian`, `hyperband`, or `pbt` for
            Population-Based Training, which finds a schedule of settings.
        space: Dotted key to choices or to `{min, max, step or log}`, or a YAML file of that;
            `when` makes a key conditional.
        over: Keys and their choices, added to `space`; a key may be in one of both.
        trials: Maximum number of trials; by default the whole grid, 10 at random, 20
            of a Bayesian search, or as many as Hyperband needs.
        folds: Compare trials by the mean over this many folds of the training and validation
            images, by plate, not by the validation split; not for `pbt`.
        time_budget: Minutes after which no further epoch starts; the same call resumes.
        workers: Number of parallel processes. To add more, make the same call with the same
            `out`.
        population: Number of members of `pbt`; by default 8.
        generation_epochs: Epochs after which the worst members of `pbt` copy the best ones; by
            default a tenth of `train.epochs`.
        burn_in: Epochs of `pbt` before which no member copies another one; by default 0.
        address: `HOST:PORT` of a Ray cluster for `pbt`; by default `local`: Ray is started here.
        out: Folder of the search; an existing search in it is resumed. By default
            `saved_models/tune-<arch>`, numbered.
        arch: Architecture, such as `resnet18`.
        data: Data set: a folder or a `manifest.csv`.
        set: Further settings, for example `{"train.epochs": 20}`.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        The trials and the best configuration.

    Raises:
        ConfigError: Nothing to search over, or options contradict each other.
        AlloykError: The space is wrong, or the folder holds another search.

    Example:
        >>> import alloyk
        >>> found = alloyk.tune(over={"model.dropout": [0.1, 0.3]})  # doctest: +SKIP
        >>> alloyk.train(found.best)  # doctest: +SKIP
    """
    if not (space or over):
        raise OptionError("nothing to search over; give `space` or `over`")
    _refuse_options_of_others(
        search, trials, folds, population=population, generation_epochs=generation_epochs,
        burn_in=burn_in, address=address,
    )  # fmt: skip
    overrides = configuration_overrides(set, arch, data)
    best = run_search(
        search, space, over, path_if(out), path_if(config), overrides,
        max_trials=trials, time_budget_min=time_budget, workers=workers, progress=progress,
        folds=folds,
        population=population, generation_epochs=generation_epochs, burn_in=burn_in or 0,
        address=address,
    )  # fmt: skip
    return SearchResult(best.parent)


def _refuse_options_of_others(
    search: str, trials: int | None, folds: int | None, **options: object
) -> None:
    """Raise for options that a search does not have."""
    if search == "pbt" and folds is not None:
        raise OptionError(
            f"`folds` must not be given with {search}, whose members copy each other's weights; "
            "choose another search"
        )
    if search == "pbt" and trials is not None:
        raise OptionError(f"`trials` must not be given with {search}; give `population`")
    given = [name for name, value in options.items() if value is not None]
    if search != "pbt" and given:
        raise OptionError(f"`{given[0]}` is for `search`=pbt only, got {search}")


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
    from alloyk.runs.search_folder import SearchFolder
    from alloyk.tuning.space import architectures_in, read_space

    given = space if isinstance(space, Mapping) else read_space(Path(space)) if space else {}
    given = combine(given, choices_of(over))
    planned = planned_once(
        config, overrides, progress, architectures=architectures_in(given),
        recorded=SearchFolder(out).planned if out else None,
    )  # fmt: skip
    resolve_config(config, overrides, planned.for_arch())  # refuses wrong settings at once
    load_tensorflow()
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
