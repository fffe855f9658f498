"""A run folder: the only module with the names and contents of its files."""

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from alloyk.data.manifest import dataset_name
from alloyk.errors import ModelError
from alloyk.files import sha256, whole_file
from alloyk.imaging import shown
from alloyk.runs.activation_ranges import ActivationRange, read_activation_ranges
from alloyk.runs.ensemble import Ensemble
from alloyk.runs.facts import Facts
from alloyk.runs.history import History, read_history
from alloyk.runs.json_file import read_json, write_json
from alloyk.runs.metrics import Metrics
from alloyk.runs.planned import Planned, recorded_plan
from alloyk.runs.predictions import Predictions, read_predictions
from alloyk.runs.settings import RunSettings
from alloyk.runs.split_record import SplitRecord, read_split_record
from alloyk.settings.dialect import read_yaml

EXPLANATION = "explanation.json"
OVERVIEW = "overview.png"
STRESS_TABLE = "stress.csv"
STRESS_TEXT = "stress.md"
STRESS_FIGURE = "stress.png"


class RunFolder:
    """A run: its files by name, and their content as typed objects.

    A run is what `alloyk train`, `alloyk ensemble` and `alloyk cross-validate` leave; an evaluation
    elsewhere, which `alloyk evaluate --out` leaves, has some of the same files. Nothing is cached:
    each attribute reads its file again.

    Args:
        path: The folder; it need not exist.

    Attributes:
        path: The folder.
        config_file: `config.yaml`, everything resolved.
        plan_file: `plan.yaml`, the settings made from the data set, each with its reason.
        lineage_file: `lineage.json`, the schedule of settings that the run repeats.
        ranges_file: `activation_ranges.json`, of quantisation-aware training only.
        model_file: `model.keras`, from a raw image to logits.
        history_file: `history.csv`, one row per epoch.
        split_file: `split.csv`, which images the run was trained on.
        facts_file: `facts.json`.
        metrics_file: `metrics.json`.
        report_file: `report.txt`.
        page_file: `report.html`.
        breakdown_file: `breakdown.csv`, the metrics by condition.
        folds_file: `folds.csv`, the metrics of each fold.
        ensemble_file: `ensemble.yaml`, of an ensemble only.
        cross_validation_file: `cross_validation.json`, of a cross-validation only.
        figures_folder: `figures`.
        checkpoint_folder: `checkpoint`, while the run is trained.
        tensorboard_folder: `tensorboard`.
        stress_folder: `stress`, of a stress test only.
        exports_folder: `exports`, files for devices.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.plan_file = self.path / "plan.yaml"
        self.lineage_file = self.path / "lineage.json"
        self.ranges_file = self.path / "activation_ranges.json"
        self.model_file = self.path / "model.keras"
        self.history_file = self.path / "history.csv"
        self.split_file = self.path / "split.csv"
        self.facts_file = self.path / "facts.json"
        self.metrics_file = self.path / "metrics.json"
        self.report_file = self.path / "report.txt"
        self.page_file = self.path / "report.html"
        self.breakdown_file = self.path / "breakdown.csv"
        self.folds_file = self.path / "folds.csv"
        self.ensemble_file = self.path / "ensemble.yaml"
        self.cross_validation_file = self.path / "cross_validation.json"
        self.figures_folder = self.path / "figures"
        self.checkpoint_folder = self.path / "checkpoint"
        self.tensorboard_folder = self.path / "tensorboard"
        self.stress_folder = self.path / "stress"
        self.exports_folder = self.path / "exports"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    def predictions_file(self, split: str = "test") -> Path:
        """Return the predictions file of a split.

        >>> RunFolder("cnn").predictions_file().name, RunFolder("cnn").predictions_file("val").name
        ('predictions.csv', 'predictions_val.csv')
        """
        return self.path / ("predictions.csv" if split == "test" else f"predictions_{split}.csv")

    def baseline_file(self, name: str, split: str = "test") -> Path:
        """Return the predictions file of a baseline.

        >>> RunFolder("cnn").baseline_file("noise", "val").name
        'control_noise_val.csv'
        """
        end = "" if split == "test" else f"_{split}"
        return self.path / f"control_{name}{end}.csv"

    def evaluation_folder(self, split: str = "test", data: str | Path | None = None) -> Path:
        """Return the default folder of an evaluation: the run itself for its own test split.

        Args:
            split: The split evaluated.
            data: The data set, if one was named.

        >>> RunFolder("cnn").evaluation_folder("all", "plates/2025/manifest.csv").name
        'evaluation_2025_all'
        """
        if data is not None:
            return self.path / f"evaluation_{dataset_name(Path(data))}_{split}"
        return self.path if split == "test" else self.path / f"evaluation_{split}"

    def explanation_folder(self, method: str) -> Path:
        """Return the default folder of an explanation."""
        return self.path / f"explain_{method}"

    def part(self, name: str) -> "RunFolder":
        """Return one of the training runs of a cross-validation."""
        return RunFolder(self.path / name)

    @property
    def is_run(self) -> bool:
        """Whether the folder holds a run, finished or not."""
        return self.model_file.is_file() or (
            self.config_file.is_file()
            and any(
                file.exists()
                for file in (
                    self.checkpoint_folder,
                    self.split_file,
                    self.history_file,
                    self.facts_file,
                    self.metrics_file,
                    self.ensemble_file,
                    self.cross_validation_file,
                )
            )
        )

    def uses(self, name: str) -> bool:
        """Whether a run or an evaluation keeps something under this name, or may once do so.

        >>> RunFolder("cnn").uses("predictions_val.csv"), RunFolder("cnn").uses("cnn.tflite")
        (True, False)
        """
        own = {value.name for value in vars(self).values() if isinstance(value, Path)}
        folded = name.casefold()  # as some file systems do
        return folded in own - {self.path.name} or any(
            fnmatch(folded, pattern.name)
            for pattern in (
                self.predictions_file("*"),
                self.predictions_file(),
                self.baseline_file("*"),
                self.evaluation_folder("*"),
                self.explanation_folder("*"),
            )
        )

    @property
    def is_finished(self) -> bool:
        """Whether the run was evaluated, which comes last."""
        return self.metrics_file.is_file()

    @property
    def has_evaluation(self) -> bool:
        """Whether the folder holds predictions of a test split and their metrics."""
        return self.predictions_file().is_file() and self.metrics_file.is_file()

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

    def hashes(self) -> dict[str, str]:
        """Return file name → SHA-256 of the files that the metrics come from."""
        files = (
            self.config_file,
            self.split_file,
            self.model_file,
            self.history_file,
            self.predictions_file(),
            self.predictions_file("val"),
            self.metrics_file,
        )
        return {file.name: sha256(file) for file in files if file.is_file()}

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
    """Return the run that a file or folder belongs to: itself, or the one it lies in."""
    path = Path(path).absolute()
    for folder in (path, path.parent):
        if RunFolder(folder).is_run:
            return RunFolder(folder)
    return None


def _write_yaml(path: Path, content: Mapping[str, Any], comment: str = "") -> None:
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    with whole_file(path) as unfinished:
        unfinished.write_text(f"# {comment}\n{text}" if comment else text, encoding="utf-8")
