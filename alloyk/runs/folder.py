"""A run folder: the content of its files as typed objects."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from alloyk.errors import ModelError
from alloyk.files import whole_file
from alloyk.messages import shown
from alloyk.runs.activation_ranges import ActivationRange, read_activation_ranges
from alloyk.runs.ensemble import Ensemble
from alloyk.runs.facts import Facts
from alloyk.runs.file_names import EXPLANATION, OVERVIEW, RunFiles
from alloyk.runs.history import History, read_history
from alloyk.runs.json_file import read_json, write_json
from alloyk.runs.metrics import Metrics
from alloyk.runs.planned import Planned, recorded_plan
from alloyk.runs.predictions import Predictions, read_predictions
from alloyk.runs.settings import RunSettings
from alloyk.runs.split_record import SplitRecord, read_split_record
from alloyk.settings.dialect import read_yaml


class RunFolder(RunFiles):
    """A run: its files by name, and their content as typed objects.

    A run is what `alloyk train`, `alloyk ensemble` and `alloyk cross-validate` leave; an evaluation
    elsewhere, which `alloyk evaluate --out` leaves, has some of the same files. Nothing is cached:
    each attribute reads its file again.

    Args:
        path: The folder; it need not exist.
    """

    def part(self, name: str) -> "RunFolder":
        """Return one of the training runs of a cross-validation."""
        return RunFolder(self.path / name)

    @property
    def settings(self) -> RunSettings:
        """The configuration; without values where there is no file."""
        file = self.config_file
        return RunSettings(read_yaml(file) if file.is_file() else {}, file)

    @property
    def facts(self) -> Facts:
        """What a reader needs beside configuration and metrics; defaults where there is no file."""
        return Facts.from_json(read_json(self.facts_file), self.facts_file)

    def write_facts(self, facts: Facts) -> None:
        """Write `facts.json`."""
        write_json(self.facts_file, facts.as_json())

    @property
    def history(self) -> History | None:
        """The history of the training; None where there is none, as for an ensemble."""
        return read_history(self.history_file)

    @property
    def metrics(self) -> Metrics:
        """The metrics; empty where there is no file."""
        content: Metrics = read_json(self.metrics_file)  # type: ignore[assignment]
        return content

    def write_metrics(self, metrics: Metrics) -> None:
        """Write `metrics.json`."""
        write_json(self.metrics_file, metrics)

    @property
    def predictions(self) -> Predictions:
        """The predictions of the test split."""
        return self.read_predictions()

    def read_predictions(self, split: str = "test") -> Predictions:
        """Read the predictions of a split.

        Raises:
            ModelError: As `alloyk.runs.predictions.read_predictions`.
        """
        return read_predictions(self.predictions_file(split), split)

    @property
    def split_record(self) -> SplitRecord | None:
        """Which images the run was trained on; None where the run does not record it."""
        return read_split_record(self.split_file)

    @property
    def activation_ranges(self) -> tuple[ActivationRange, ...]:
        """The ranges that quantisation-aware training has learned; empty for another run."""
        return read_activation_ranges(self.ranges_file)

    @property
    def ensemble(self) -> Ensemble | None:
        """The members and how they vote; None if the run is not an ensemble."""
        if not self.ensemble_file.is_file():
            return None
        return Ensemble.from_yaml(read_yaml(self.ensemble_file), self.ensemble_file)

    def write_ensemble(self, ensemble: Ensemble) -> None:
        """Write `ensemble.yaml`."""
        _write_yaml(self.ensemble_file, ensemble.as_yaml())

    @property
    def cross_validation(self) -> dict[str, Any]:
        """What a cross-validation holds out, and its configuration; empty where it is none."""
        return read_json(self.cross_validation_file)

    @property
    def planned(self) -> Planned | None:
        """The settings made for the data set when a cross-validation began; None before that.

        Raises:
            ModelError: They are damaged.
        """
        return recorded_plan(self.cross_validation, self.cross_validation_file)

    def write_cross_validation(self, plan: Mapping[str, Any]) -> None:
        """Write `cross_validation.json`."""
        write_json(self.cross_validation_file, plan)

    def write_settings(self, values: Mapping[str, Any], comment: str = "") -> None:
        """Write `config.yaml`.

        Args:
            values: Section → key → value, plain values only.
            comment: A line for the head of the file.
        """
        _write_yaml(self.config_file, values, comment)

    @property
    def report_text(self) -> str:
        """The text of `report.txt`.

        Raises:
            ModelError: There is no report.
        """
        try:
            return self.report_file.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise ModelError(
                f"cannot read {shown(self.report_file)}: {error.strerror}; evaluate the run with "
                f"`alloyk evaluate {shown(self.path)}`"
            ) from error

    def explanations(self) -> list[tuple[Path, dict[str, Any]]]:
        """Return folder and record of each explanation in the run, sorted by name."""
        folders = sorted(file.parent for file in self.path.glob(f"*/{EXPLANATION}"))
        complete = [folder for folder in folders if (folder / OVERVIEW).is_file()]
        return [(folder, read_json(folder / EXPLANATION)) for folder in complete]

    def require_model(self, expected: str = "a run folder") -> Path:
        """Return `model.keras` of a finished run.

        Args:
            expected: Requirement in the error text.

        Raises:
            ModelError: There is no such folder, or it has no model: as no hard vote and no
                cross-validation has, and no run before its training ends.
        """
        if self.model_file.is_file():
            return self.model_file
        raise ModelError(self._why_no_model(expected))

    def _why_no_model(self, expected: str) -> str:
        name, model = shown(self.path), self.model_file.name
        if not self.path.is_dir():
            found = "is a file" if self.path.exists() else "does not exist"
            return f"the path must be {expected}, but {name} {found}; check the path"
        if self.ensemble_file.is_file():
            return (
                f"{name} is a hard vote, which has predictions but no {model}; vote again with "
                f"--vote soft, or evaluate {name} with --from-predictions"
            )
        if self.cross_validation_file.is_file():
            return (
                f"{name} is a cross-validation, which has a {model} in the folder of each fold "
                f"only; name one of them, or evaluate {name} with --from-predictions"
            )
        if self.is_finished:
            return (
                f"{name} is a finished run without its {model}; restore the file, or train again "
                f"with `alloyk train {shown(self.config_file)} --run NEW`"
            )
        if self.config_file.is_file():
            return (
                f"{name} has no {model}, because its training did not end; resume it with "
                f"`alloyk train --run {name} --resume`"
            )
        return f"the path must be {expected}, but {name} has no {model}; check the path"


def owner_of(path: Path) -> RunFolder | None:
    """Return the run that a file or folder belongs to: itself, or the nearest one it lies in."""
    path = Path(path).absolute()
    for folder in (path, *path.parents):
        if RunFolder(folder).is_run:
            return RunFolder(folder)
    return None


def _write_yaml(path: Path, content: Mapping[str, Any], comment: str = "") -> None:
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    with whole_file(path) as unfinished:
        unfinished.write_text(f"# {comment}\n{text}" if comment else text, encoding="utf-8")
