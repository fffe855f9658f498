"""Find the smallest file of a run that passes its proof.

The ladder: 8-bit weights and activations; the same with the most sensitive layers in float32;
8-bit weights only; with 16-bit activations too, which is a little larger; float16; float32.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alloyk.errors import ModelError
from alloyk.exporting.calibration import Calibration, CalibrationImage, read_calibration
from alloyk.exporting.conversion import FORMATS
from alloyk.exporting.exporter import (
    Compared,
    check_out,
    compared_file,
    default_out,
    describe,
    finished,
    other_draw,
)
from alloyk.exporting.float_file import FloatFile
from alloyk.exporting.parity import shortfalls
from alloyk.exporting.policy import Policy
from alloyk.exporting.proof import write_proof
from alloyk.exporting.quantization import WITH_WEIGHTS, NetworkOperator, Scheme
from alloyk.exporting.result import Attempt, ExportReport
from alloyk.exporting.subject import logger, open_subject
from alloyk.files import unfinished_path
from alloyk.inference.backends import TFLiteBackend
from alloyk.inference.metadata import PROBABILITIES
from alloyk.inference.novelty_fitting import evenly_spaced
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.destination import refuse_run_file
from alloyk.runs.fine_tuning import fine_tuning_command
from alloyk.runs.folder import RunFolder
from alloyk.runs.run_data import refuse_in_run_data

AUTO = "auto"
"""Name of the ladder, in place of a format."""

GROUPS = 12
"""Groups of consecutive layers whose sensitivity is measured."""

IN_FLOAT = (1, 3, 6)
"""Numbers of groups, the most sensitive ones, that are tried in float32."""

SENSITIVITY_IMAGES = 100
"""Images of draw B, evenly spaced, that sensitivity is measured on."""


@dataclass(frozen=True)
class Step:
    """A rung of the ladder.

    Attributes:
        file_format: Key of `FORMATS`.
        scheme: How the network is quantised; None for float32.
        what: For the user.
    """

    file_format: str
    scheme: Scheme | None
    what: str


def export_smallest(
    run: str | Path,
    out: str | Path | None = None,
    *,
    input_size: tuple[int, int] | None = None,
    data: str | Path | None = None,
    margin: float | None = None,
    progress: Progress = NO_PROGRESS,
) -> ExportReport:
    """Export a run to the first file of the ladder that passes its format's policy.

    Args:
        run: Run folder.
        out: The `.tflite` file to write; it must not exist. By default `<run>-auto.tflite` in the
            run's folder `exports`.
        input_size: `(height, width)` of the raw images; by default that of the test images.
        data: The run's data set; by default at its path in training.
        margin: Largest loss of accuracy of a quantised file, in points; by default 0.5.
        progress: Progress display, see `alloyk.progress`.

    Raises:
        AlloykError: As `export_run`; or no file passes.
    """
    if out is not None:
        refuse_in_run_data(Path(out), run, data)
    run, out = Path(run), Path(out or default_out(run, "tflite-auto"))
    check_out(out, FORMATS["tflite"], "tflite")
    RunFolder(run).require_model()  # before its images are searched for
    refuse_run_file(out, run)
    subject = open_subject(run, data, fixed_shape=True, input_size=input_size, progress=progress)
    logger.info("converting")
    float_file = FloatFile.of(subject)
    attempts: list[Attempt] = []
    with unfinished_path(out) as unfinished:
        for step in ladder(float_file):
            policy = FORMATS[step.file_format].policy.with_accuracy_loss(margin)
            logger.info(f"trying {step.what}")
            attempt, compared = _try(float_file, step, unfinished, policy)
            attempts.append(attempt)
            if compared is not None and not attempt.failed:
                break
            logger.info(f"{step.what} failed: {'; '.join(attempt.failed)}")
        else:
            raise ModelError(
                f"no file passes, float32 neither: {'; '.join(attempts[-1].failed)}; export with "
                "--format savedmodel"
            )
        report = finished(subject, compared, out, step.file_format, policy)
        draws = None
        if step.scheme is not None:
            draws = other_draw(float_file, step.scheme, unfinished, compared.outputs)
        report = replace(
            report, scheme=step.scheme, draws=draws, attempts=tuple(attempts),
            advice=advice_for(step, subject.run),
        )  # fmt: skip
        write_proof(report, subject, compared.outputs)
    return report


def advice_for(step: Step, run: Path) -> str:
    """How to get an int8 file of a run whose int8 files have failed; empty if one has passed."""
    command = fine_tuning_command(run)
    if step.file_format == "tflite-int8" or command is None:
        return ""
    return (
        "no int8 file passes: fine-tune the run with fake quantisation, then export the new run: "
        f"{command}"
    )


def _try(
    float_file: FloatFile, step: Step, path: Path, policy: Policy
) -> tuple[Attempt, Compared | None]:
    """Write the file of a step to `path` and compare it with the original.

    Returns:
        The attempt, and the comparison; None if the file cannot be made, or gives no numbers.
    """
    subject = float_file.subject
    content = float_file.content
    path.unlink(missing_ok=True)  # that of the step before
    try:
        path.write_bytes(content if step.scheme is None else float_file.quantized(step.scheme))
        describe(path, subject.original)
        compared = compared_file(subject, path)
    except ModelError as error:
        subject.expected()  # raises if it is the original that gives no numbers
        size = path.stat().st_size if path.is_file() else None
        return Attempt(step.what, size, (str(error),)), None
    failed = shortfalls(compared.parity, policy, subject.original.spreads)
    return Attempt(step.what, path.stat().st_size, tuple(failed)), compared


def ladder(float_file: FloatFile) -> Iterator[Step]:
    """Yield the steps; the sensitivity is measured only if int8 fails."""
    int8 = Scheme(weights=8, activations=8)
    yield Step("tflite-int8", int8, "int8")
    logger.info("measuring the sensitivity of layers")
    groups = sensitive_first(float_file)
    for count in IN_FLOAT:
        if count < len(groups):
            names = frozenset(one.name for group in groups[:count] for one in group)
            scheme = replace(int8, in_float=names)
            yield Step(
                "tflite-int8",
                scheme,
                f"int8 with {count} of {len(groups)} groups of layers in float32",
            )
    yield Step("tflite-w8", Scheme(weights=8), "8-bit weights")
    yield Step(
        "tflite-16x8", Scheme(weights=8, activations=16), "8-bit weights, 16-bit activations"
    )
    yield Step("tflite-fp16", Scheme(weights=16), "float16 weights")
    yield Step("tflite", None, "float32")


def sensitive_first(float_file: FloatFile) -> list[list[NetworkOperator]]:
    """Return groups of consecutive layers, the one whose quantisation costs most first.

    A group's cost is the mean max |Δp| that is left when it stays in float32 and all others are
    int8; the smallest comes first. Measured on draw B, which does not calibrate these files.
    """
    groups = layer_groups(float_file.operators)
    images = sensitivity_images(float_file.calibration)
    pixels = list(read_calibration(images, float_file.subject.timed_shape))
    expected = _probabilities(float_file.content, pixels)

    def error(in_float: Sequence[NetworkOperator]) -> float:
        names = frozenset(one.name for one in in_float)
        try:
            content = float_file.quantized(Scheme(weights=8, activations=8, in_float=names))
            found = _probabilities(content, pixels)
        except ModelError:  # such a file cannot be made: the group comes last
            return math.inf
        return float(np.abs(found - expected).max(axis=1).mean())

    with float_file.subject.progress.task("sensitivity", len(groups), "groups") as advance:
        return order_by(error, groups, advance)


def sensitivity_images(calibration: Calibration) -> list[CalibrationImage]:
    """Images of draw B that sensitivity is measured on, evenly spaced over all classes."""
    drawn = calibration.of("B")  # in the order of the table, which may be sorted by class
    return [drawn[place] for place in evenly_spaced(len(drawn), SENSITIVITY_IMAGES)]


def order_by(
    error: Callable[[Sequence[NetworkOperator]], float],
    groups: Sequence[list[NetworkOperator]],
    advance: Callable[[int], object],
) -> list[list[NetworkOperator]]:
    """Sort groups by the error that is left when each stays in float32, the smallest first."""
    errors = []
    for group in groups:
        errors.append(error(group))
        advance(1)
    return [groups[i] for i in np.argsort(errors, kind="stable")]


def layer_groups(
    operators: Sequence[NetworkOperator], most: int = GROUPS
) -> list[list[NetworkOperator]]:
    """Cut the operators, in their order, into at most `most` groups of as many layers each.

    A layer is an operator with weights and those that follow it, up to the next one with weights.
    """
    layers: list[list[NetworkOperator]] = [[]]
    for one in operators:
        if one.kind in WITH_WEIGHTS and any(o.kind in WITH_WEIGHTS for o in layers[-1]):
            layers.append([])
        layers[-1].append(one)
    parts = np.array_split(np.arange(len(layers)), min(most, len(layers)))
    return [[one for i in part for one in layers[i]] for part in parts]


def _probabilities(content: bytes, images: Sequence[np.ndarray]) -> np.ndarray:
    """What a `.tflite` file predicts for images of its input shape, `(n, k)`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        model = TFLiteBackend(path)
        return np.concatenate([model(image[None])[PROBABILITIES] for image in images])
