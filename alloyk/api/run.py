"""A run as the Python functions return it: a run folder with the commands that take one."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import alloyk
from alloyk.notebook import html_table
from alloyk.runs.folder import RunFolder

if TYPE_CHECKING:
    from alloyk.api.results import BenchResult, ExplanationResult
    from alloyk.exporting.result import ExportReport
    from alloyk.inference import Classification

PERCENT = 100


class Run(RunFolder):
    """A run folder: its files as typed attributes, and the commands that take a run.

    `metrics`, `predictions`, `history`, `settings`, `facts` and the file names are those of
    `RunFolder`.

    Example:
        >>> import alloyk
        >>> run = alloyk.train(data="sorted/", arch="resnet18")  # doctest: +SKIP
        >>> run.metrics["accuracy"]  # doctest: +SKIP
        >>> run.export("tflite", out="resnet18.tflite")  # doctest: +SKIP
    """

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def evaluate(self, **options: Any) -> "Run":
        """Evaluate the run, see `alloyk.evaluate`."""
        return alloyk.evaluate(self.path, **options)

    def export(self, format: str | None = None, **options: Any) -> "ExportReport":
        """Write a model file for a device, see `alloyk.export`."""
        return alloyk.export(self.path, format=format, **options)

    def bench(self, files: Sequence[str | Path] = (), **options: Any) -> "BenchResult":
        """Measure the model and its exports, see `alloyk.bench`."""
        return alloyk.bench(self.path, files, **options)

    def predict(self, images: Any, **options: Any) -> "Classification":
        """Classify images, see `alloyk.predict`."""
        return alloyk.predict(self.path, images, **options)

    def explain(
        self, images: str | Path | Sequence[str | Path] = (), **options: Any
    ) -> "ExplanationResult":
        """Show the image regions that drove predictions, see `alloyk.explain`."""
        return alloyk.explain(self.path, images, **options)

    def report(self, out: str | Path | None = None) -> Path:
        """Write one HTML file about the run, see `alloyk.report`."""
        return alloyk.report(self.path, out=out)

    def _repr_html_(self) -> str:
        metrics: Any = self.metrics
        if not metrics:
            return html_table(f"run {self.path}: no metrics yet", [], [])
        accuracy = f"accuracy {PERCENT * metrics['accuracy']:.1f} %"
        interval = metrics.get("confidence_intervals", {}).get("accuracy")
        if interval:
            low, high = (PERCENT * end for end in interval)
            accuracy += f" (95 % interval {low:.1f} to {high:.1f})"
        names = ("precision", "recall", "f1", "average_precision", "support")
        rows = [
            [label, *(one.get(name) for name in names)]
            for label, one in metrics["per_class"].items()
        ]
        caption = f"run {self.path}: {accuracy}, {metrics['n']:,} images"
        return html_table(caption, ["class", *(name.replace("_", " ") for name in names)], rows)
