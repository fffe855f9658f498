"""The proof of an export: `parity.json`, a figure, and the calibration images."""

from pathlib import Path
from typing import Any

from alloyk import __version__
from alloyk.exporting.agreement import Outputs
from alloyk.exporting.result import ExportReport
from alloyk.exporting.subject import Subject
from alloyk.files import files_together
from alloyk.plots.parity import draw_parity
from alloyk.plots.style import save_figure
from alloyk.runs.json_file import write_json

PROOF_SUFFIX = ".proof"
PARITY, FIGURE, MANIFEST = "parity.json", "parity.png", "calibration.csv"


def proof_folder(out: Path) -> Path:
    """Return the folder of the proof of an exported file.

    >>> proof_folder(Path("exports/cnn.tflite")).name
    'cnn.tflite.proof'
    """
    return out.with_name(out.name + PROOF_SUFFIX)


def write_proof(report: ExportReport, subject: Subject, outputs: Outputs) -> None:
    """Write the proof of an export beside the file.

    Args:
        report: The export.
        subject: The run.
        outputs: What the file predicts for the test images.
    """
    with files_together(report.proof, stale=[MANIFEST]) as folder:
        write_json(folder / PARITY, parity_content(report, subject))
        figure = draw_parity(
            subject.expected().probabilities,
            outputs.probabilities,
            limit=report.policy.max_difference,
            subtitle=f"{report.format}, {report.agreement.images:,} test images",
        )
        save_figure(figure.axes[0], folder / FIGURE)
        if report.draws is not None:
            manifest = report.draws.calibration.manifest()
            (folder / MANIFEST).write_text(manifest, encoding="utf-8", errors="surrogateescape")


def parity_content(report: ExportReport, subject: Subject) -> dict[str, Any]:
    """Return the content of `parity.json`."""
    content: dict[str, Any] = {
        "alloyk": __version__,
        "file": report.path.name,
        "format": report.format,
        "run": str(subject.run),
        "input_shape": list(report.input_shape),
        "images_resized": report.resized,
        "policy": vars(report.policy),
        **report.parity.as_json(),
        "size_bytes": report.size_bytes,
        "latency": {**vars(report.speed), "image_shape": list(report.timed_shape)},
    }
    if report.scheme is not None:
        content["in_float32"] = sorted(report.scheme.in_float)
        if report.draws is None and report.scheme.activations is not None:
            content["calibration"] = {"learned_ranges": True}
    if report.draws is not None:
        difference = report.draws.difference
        content["calibration"] = {
            "images": {draw: len(report.draws.calibration.of(draw)) for draw in "AB"},
            "manifest": MANIFEST,
            "other_draw": {
                "decisions_that_differ": len(difference.differing),
                "max": difference.max_difference,
                "mean": difference.mean_difference,
            },
        }
    if report.attempts:
        content["attempts"] = [
            {"what": one.what, "size_bytes": one.size_bytes, "failed": list(one.failed)}
            for one in report.attempts
        ]
    return content
