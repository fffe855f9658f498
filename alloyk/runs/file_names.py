"""Names of the files of a run: the only module that has them."""

from fnmatch import fnmatch
from pathlib import Path

from alloyk.data.manifest import dataset_name
from alloyk.files import sha256

EXPLANATION = "explanation.json"
OVERVIEW = "overview.png"
STRESS_TABLE = "stress.csv"
STRESS_TEXT = "stress.md"
STRESS_FIGURE = "stress.png"


class RunFiles:
    """The files of a run by name, whether they exist or not.

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
        return f"{type(self).__name__}({str(self.path)!r})"

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    def predictions_file(self, split: str = "test") -> Path:
        """Return the predictions file of a split.

        >>> RunFiles("cnn").predictions_file().name, RunFiles("cnn").predictions_file("val").name
        ('predictions.csv', 'predictions_val.csv')
        """
        return self.path / ("predictions.csv" if split == "test" else f"predictions_{split}.csv")

    def baseline_file(self, name: str, split: str = "test") -> Path:
        """Return the predictions file of a baseline.

        >>> RunFiles("cnn").baseline_file("noise", "val").name
        'control_noise_val.csv'
        """
        end = "" if split == "test" else f"_{split}"
        return self.path / f"control_{name}{end}.csv"

    def evaluation_folder(self, split: str = "test", data: str | Path | None = None) -> Path:
        """Return the default folder of an evaluation: the run itself for its own test split.

        Args:
            split: The split evaluated.
            data: The data set, if one was named.

        >>> RunFiles("cnn").evaluation_folder("all", "plates/2025/manifest.csv").name
        'evaluation_2025_all'
        """
        if data is not None:
            return self.path / f"evaluation_{dataset_name(Path(data))}_{split}"
        return self.path if split == "test" else self.path / f"evaluation_{split}"

    def explanation_folder(self, method: str) -> Path:
        """Return the default folder of an explanation."""
        return self.path / f"explain_{method}"

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

        >>> RunFiles("cnn").uses("predictions_val.csv"), RunFiles("cnn").uses("cnn.tflite")
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
