"""Export a run to a file for the device; a file that fails its format's policy is deleted.

The file is written under a temporary name and compared with the original model on every image of
the run's test split. It is renamed only if it passes, and its proof is written beside it.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from alloyk import __version__
from alloyk.errors import ConfigError, ModelError
from alloyk.exporting.agreement import Agreement, Outputs, compare, compare_with_recorded
from alloyk.exporting.conversion import FORMATS, ExportFormat
from alloyk.exporting.float_file import FloatFile
from alloyk.exporting.parity import Parity, abstention_rows, parity_of, shortfalls
from alloyk.exporting.policy import Policy
from alloyk.exporting.proof import PARITY, proof_folder, write_proof
from alloyk.exporting.quantization import Scheme
from alloyk.exporting.result import Draws, ExportReport
from alloyk.exporting.subject import Subject, logger, open_subject
from alloyk.files import size_of, unfinished_path
from alloyk.inference import Classifier, load
from alloyk.inference.latency import measured_speed
from alloyk.inference.metadata import (
    PROBABILITIES,
    read_metadata,
    replace_metadata,
    write_metadata,
)
from alloyk.inference.novelty_file import write_detector
from alloyk.messages import shown
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.destination import refuse_existing, refuse_run_file
from alloyk.runs.fine_tuning import fine_tuning_command
from alloyk.runs.folder import RunFolder
from alloyk.runs.run_data import refuse_in_run_data


def export_run(
    run: str | Path,
    file_format: str,
    out: str | Path | None = None,
    *,
    input_size: tuple[int, int] | None = None,
    data: str | Path | None = None,
    margin: float | None = None,
    progress: Progress = NO_PROGRESS,
) -> ExportReport:
    """Export a run, and compare the file with the original on the whole test split.

    Args:
        run: Run folder.
        file_format: Key of `FORMATS`.
        out: The file or folder to write; it must not exist. By default in the run's folder
            `exports`, see `default_out`.
        input_size: `(height, width)` of the raw images, for a format of fixed size; by default
            that of the test images.
        data: The run's data set; by default at its path in training.
        margin: Largest loss of accuracy of a quantised file, in points; by default 0.5.
        progress: Progress display, see `alloyk.progress`.

    Raises:
        AlloykError: There is no such format, `out` exists or cannot be written, the run or its
            data set does not exist, the test images differ in size, the model cannot be converted,
            or the file fails.
    """
    if file_format not in FORMATS:
        raise ConfigError(f"the format must be one of {', '.join(FORMATS)}, got {file_format}")
    chosen = FORMATS[file_format]
    if out is not None:
        refuse_in_run_data(Path(out), run, data)
    run, out = Path(run), Path(out or default_out(run, file_format))
    check_out(out, chosen, file_format)
    if input_size and not chosen.fixed_shape:
        raise ConfigError(f"{file_format} takes no --input-size; omit it")
    if margin is not None and chosen.policy.accuracy_loss is None:
        raise ConfigError(f"--margin is for 8-bit formats, got {file_format}; omit it")
    policy = chosen.policy.with_accuracy_loss(margin)
    RunFolder(run).require_model()  # before its images are searched for
    refuse_run_file(out, run)
    subject = open_subject(
        run, data, fixed_shape=chosen.fixed_shape, input_size=input_size, progress=progress
    )
    with unfinished_path(out) as unfinished:
        float_file = write_file(subject, chosen, file_format, unfinished)
        logger.info(f"comparing both models on {len(subject.names())} test images")
        compared = compared_file(subject, unfinished)
        if failed := shortfalls(compared.parity, policy, subject.original.spreads):
            raise ModelError(
                f"the {file_format} file must agree with "
                f"{shown(RunFolder(run).model_file)}: {'; '.join(failed)}; the file was deleted, "
                f"choose another --format{_or_fine_tune(chosen.scheme, run)}"
            )
        report = finished(subject, compared, out, file_format, policy)
        if float_file is not None and chosen.scheme is not None:
            draws = other_draw(float_file, chosen.scheme, unfinished, compared.outputs)
            report = replace(report, scheme=chosen.scheme, draws=draws)
        write_proof(report, subject, compared.outputs)
    return report


def _or_fine_tune(scheme: Scheme | None, run: Path) -> str:
    """What else to do about an int8 file that fails."""
    command = fine_tuning_command(run)
    if scheme is None or scheme.activations != 8 or command is None:
        return ""
    return f", or fine-tune the run: {command}"


class Compared(NamedTuple):
    """A file, under its temporary name, that was compared with the original.

    Attributes:
        exported: The file.
        parity: The comparison, without thresholds for abstention.
        outputs: What the file predicts for the test images.
    """

    exported: Classifier
    parity: Parity
    outputs: Outputs


def compared_file(subject: Subject, file: Path) -> Compared:
    """Compare a file with the original on the test split."""
    exported = load(file)
    return Compared(exported, *parity_of(subject, exported))


def finished(
    subject: Subject, compared: Compared, out: Path, file_format: str, policy: Policy
) -> ExportReport:
    """Measure a file that has passed, and return its report.

    Args:
        subject: The run.
        compared: The file and its comparison with the original.
        out: Its final name.
        file_format: Key of `FORMATS`.
        policy: What was required.
    """
    exported, parity, outputs = compared
    file = exported.path
    logger.info("choosing thresholds for abstention")
    parity = replace(parity, abstention=abstention_rows(subject, exported, outputs))
    keep_thresholds(file, parity)
    logger.info("timing")
    spreads = subject.original.spreads
    return ExportReport(
        path=out,
        format=file_format,
        input_shape=subject.input_shape,
        parity=parity,
        policy=policy,
        allowed={name: policy.estimate_difference * x for name, x in spreads.items()},
        resized=subject.resized,
        recorded=recorded_agreement(subject, outputs),
        size_bytes=size_of(file),
        speed=measured_speed(file, subject.timed_shape),
        timed_shape=subject.timed_shape,
        proof=proof_folder(out),
    )


def default_out(run: str | Path, file_format: str) -> Path:
    """Return where an export is written by default.

    >>> default_out("saved_models/cnn", "tflite-int8").as_posix()
    'saved_models/cnn/exports/cnn-int8.tflite'
    """
    folder = RunFolder(run)
    family, _, kind = file_format.partition("-")
    end = f"-{kind}" * bool(kind) + FORMATS[family].suffix
    return folder.exports_folder / (folder.name + (end or f"-{family}"))


def write_file(
    subject: Subject, chosen: ExportFormat, file_format: str, path: Path
) -> FloatFile | None:
    """Write a file that has not been compared yet; return what it was quantised from, if it was."""
    logger.info(f"converting to {file_format}")
    if chosen.scheme is None:
        chosen.write(subject.model, path, subject.input_shape)
        describe(path, subject.original)
        return None
    float_file = FloatFile.of(subject)
    path.write_bytes(float_file.quantized(chosen.scheme))
    describe(path, subject.original)
    return float_file


def other_draw(float_file: FloatFile, scheme: Scheme, path: Path, outputs: Outputs) -> Draws | None:
    """Compare a calibrated file with one calibrated on other images; None if it is not.

    Args:
        float_file: What the file was made from.
        scheme: How it is quantised.
        path: The file; the other one is written beside it, and removed.
        outputs: What the file predicts for the test images.
    """
    if not float_file.is_calibrated(scheme):
        return None
    logger.info("comparing with a file calibrated on other images")
    subject, other = float_file.subject, path.with_name(f"other-{path.name}")
    other.write_bytes(float_file.quantized(scheme, "B"))
    describe(other, subject.original)
    found = subject.found(load(other))
    other.unlink()
    return Draws(float_file.calibration, compare(subject.names(), outputs, found))


def describe(file: Path, original: Classifier) -> None:
    """Write the metadata and the novelty detector of the original into an exported file."""
    write_metadata(file, replace(original.metadata, output=PROBABILITIES, alloyk=__version__))
    if original.detector is not None:
        write_detector(file, original.detector)


def keep_thresholds(file: Path, parity: Parity) -> None:
    """Give a file the abstention thresholds that its comparison found to hold for it."""
    metadata = read_metadata(file)
    thresholds = {
        row["wanted_error_rate"]: row["threshold"]
        for row in parity.abstention
        if row["threshold"] is not None
    }
    if thresholds != metadata.thresholds:
        replace_metadata(file, replace(metadata, thresholds=thresholds))


def recorded_agreement(subject: Subject, outputs: Outputs) -> Agreement | None:
    """Agreement with the run's `predictions.csv`, where it is of the same images."""
    if subject.resized:
        return None
    return compare_with_recorded(subject.run, subject.names(), subject.original.classes, outputs)


def check_out(out: Path, chosen: ExportFormat, file_format: str) -> None:
    """Refuse a path that exists, or whose name misleads.

    Raises:
        ConfigError: It is one.
    """
    proof = proof_folder(out)
    other = os.path.lexists(proof) and not (proof / PARITY).is_file()
    refuse_existing(proof if other else out)
    if chosen.suffix and out.suffix.lower() != chosen.suffix:
        raise ConfigError(
            f"a file of format {file_format} must end in {chosen.suffix}, got {shown(out)}"
        )
    others = {known.suffix for known in FORMATS.values() if known.suffix}
    if not chosen.suffix and out.suffix.lower() in others:
        raise ConfigError(
            f"{file_format} writes a folder, got {shown(out)}; use a name without {out.suffix}"
        )
