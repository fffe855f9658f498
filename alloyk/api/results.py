"""What the Python functions return: results that print as text and show as tables in a notebook."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.notebook import html_table

if TYPE_CHECKING:
    import numpy as np

    from alloyk.auditing.findings import Audited, Finding
    from alloyk.explanation.explanation import Explanation
    from alloyk.exporting.bench import BenchRow
    from alloyk.simulator.ceiling.design import Plan, Point
    from alloyk.simulator.ceiling.reference import Ceiling
    from alloyk.simulator.dataset.recipe import Recipe


@dataclass(frozen=True)
class SimulatedData:
    """A simulated data set on disk.

    Attributes:
        folder: The folder.
        recipe: From which it can be made again.
        notes: Limitations of the set-up, a sentence each.
    """

    folder: Path
    recipe: "Recipe" = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def class_counts(self) -> dict[str, int]:
        """Label to number of images."""
        return dict(self.recipe.class_counts())

    def _repr_html_(self) -> str:
        rows = list(self.class_counts.items())
        return html_table(f"simulated data {self.folder}", ["class", "images"], rows)


@dataclass(frozen=True, eq=False)
class AuditResult:
    """What an audit found.

    Attributes:
        audited: The data set with its measures.
        findings: Each with `severity` (`fix`, `check`, `note`), `what`, `advice` and `images`.
    """

    audited: "Audited" = field(repr=False)
    findings: tuple["Finding", ...]

    @property
    def must_fix(self) -> bool:
        """Whether a finding must be fixed before training."""
        from alloyk.auditing.checks import must_fix

        return must_fix(list(self.findings))

    def to_text(self) -> str:
        """The findings as text, the most severe first."""
        from alloyk.auditing.report import format_text

        return format_text(self.audited, list(self.findings))

    def to_json(self) -> str:
        """Everything, with every image concerned, as one JSON object."""
        from alloyk.auditing.report import format_json

        return format_json(self.audited, list(self.findings))

    def draw(self, folder: str | Path) -> None:
        """Write figures of classes, intensities, examples and near-duplicates into a folder."""
        from alloyk.auditing.figures import draw_figures

        draw_figures(self.audited, Path(folder))

    def _repr_html_(self) -> str:
        rows = [[one.severity, one.what, one.advice] for one in self.findings]
        return html_table(f"audit {self.audited.root}", ["severity", "finding", "advice"], rows)


@dataclass(frozen=True)
class CeilingResult:
    """The reference ceiling of a set-up.

    Attributes:
        ceiling: Everything computed.
        source: Which set-up.
        notes: Limitations, a sentence each.
    """

    ceiling: "Ceiling"
    source: str
    notes: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        """Share of the images that an ideal classifier classifies correctly."""
        return self.ceiling.accuracy

    @property
    def error(self) -> float:
        """Monte Carlo error of the accuracy, one standard deviation."""
        return self.ceiling.error

    @property
    def recall(self) -> dict[str, float]:
        """Label to the share of its images that is recognised."""
        return self.ceiling.recall

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**self.ceiling.as_dict(), "notes": list(self.notes)}

    def draw(self, file: str | Path) -> None:
        """Write the confusion matrix of the ideal classifier as a figure."""
        from alloyk.plots import plot_ceiling_matrix, save_figure

        figure = plot_ceiling_matrix(self.ceiling.as_dict(), subtitle=f"simulated, {self.source}")
        save_figure(figure, Path(file))

    def _repr_html_(self) -> str:
        caption = f"ceiling, {self.source}: {self.accuracy:.4f} ± {self.error:.4f}"
        return html_table(caption, ["class", "recall"], list(self.recall.items()))


@dataclass(frozen=True)
class PlanResult:
    """The ceiling over set-ups.

    Attributes:
        plan: Everything computed.
        subtitle: Which set-up was varied.
    """

    plan: "Plan"
    subtitle: str

    @property
    def points(self) -> tuple["Point", ...]:
        """Each set-up with its `values`, `ceiling`, `gain` and `gain_error`."""
        return self.plan.points

    @property
    def best(self) -> "Point":
        """The set-up of highest accuracy, the first of equals."""
        return self.plan.best

    @property
    def notes(self) -> tuple[str, ...]:
        """Limitations, a sentence each."""
        return self.plan.notes

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        from alloyk.simulator.ceiling.design import verdict

        return verdict(self.plan)

    def rows(self) -> list[dict[str, Any]]:
        """The table of `plan.csv`, one dictionary per set-up."""
        from alloyk.simulator.ceiling.design import plan_rows

        return plan_rows(self.plan)

    def draw(self, file: str | Path) -> None:
        """Write the ceiling over the swept values as a figure."""
        from alloyk.plots import plot_plan, save_figure

        save_figure(plot_plan(self.plan, subtitle=self.subtitle), Path(file))

    def _repr_html_(self) -> str:
        keys = [sweep.key for sweep in self.plan.sweeps]
        rows = [
            [*point.values, point.ceiling.accuracy, point.gain, point.gain_error]
            for point in self.points
        ]
        return html_table(f"plan, {self.subtitle}", [*keys, "accuracy", "gain", "± gain"], rows)


@dataclass(frozen=True)
class Comparison:
    """Runs side by side on the same test images.

    Attributes:
        content: Everything computed, ready for JSON.
    """

    content: dict[str, Any] = field(repr=False)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Metrics of each run."""
        return list(self.content["runs"])

    @property
    def pairs(self) -> list[dict[str, Any]]:
        """Paired tests of every two runs."""
        return list(self.content["pairs"])

    @property
    def notes(self) -> Sequence[str]:
        """Limitations, a sentence each."""
        return list(self.content["notes"])

    @property
    def text(self) -> str:
        """The tables and notes as Markdown."""
        from alloyk.comparison.output import comparison_text

        return comparison_text(self.content)

    def write(self, folder: str | Path) -> str:
        """Write tables and figures into a folder, and return the text."""
        from alloyk.comparison.output import write_comparison

        return write_comparison(Path(folder), self.content)

    def _repr_html_(self) -> str:
        names = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "seconds")
        rows = [[run["name"], *(run.get(name) for name in names)] for run in self.runs]
        caption = f"{len(rows)} runs on the same {self.content['n']:,} test images"
        return html_table(caption, ["run", *(name.replace("_", " ") for name in names)], rows)


@dataclass(frozen=True, eq=False)
class ExplanationResult:
    """Maps of the image regions that drove predictions.

    Attributes:
        explanation: Everything computed.
        folder: Folder with the figures and `maps.npz`.
    """

    explanation: "Explanation" = field(repr=False)
    folder: Path

    @property
    def maps(self) -> "np.ndarray[Any, Any]":
        """`(n, h, w)` float32, in units of log-odds."""
        return self.explanation.maps

    @property
    def decisions(self) -> str:
        """What each image was classified as, as text."""
        from alloyk.explanation.writing import format_decisions

        return format_decisions(self.explanation)

    @property
    def description(self) -> str:
        """What the maps are, and whether they depend on the weights, as text."""
        from alloyk.explanation.sanity import describe_sanity
        from alloyk.explanation.writing import describe

        return f"{describe(self.explanation)}\n{describe_sanity(self.explanation.sanity)}"

    def _repr_html_(self) -> str:
        found = self.explanation
        predicted = [found.classes[k] for k in found.probabilities.argmax(axis=1)]
        explained = [found.classes[k] for k in found.explained]
        rows = list(zip(found.paths, found.labels, predicted, explained, strict=True))
        columns = ["image", "label", "predicted", "explained"]
        return html_table(f"{found.method}, figures in {self.folder}", columns, rows)


@dataclass(frozen=True, eq=False)
class BenchResult:
    """Speed, size and agreement of a run's model and its exports.

    Attributes:
        run: The run folder.
        rows: One for each model, the run's own first.
    """

    run: Path
    rows: tuple["BenchRow", ...]

    def to_text(self) -> str:
        """The rows as a Markdown table."""
        from alloyk.exporting.bench import format_table

        return format_table(self.rows)

    def _repr_html_(self) -> str:
        from alloyk.exporting.bench import COLUMNS, table_of

        rows = [list(row) for row in table_of(self.rows)]
        return html_table(f"bench {self.run}", list(COLUMNS), rows)
