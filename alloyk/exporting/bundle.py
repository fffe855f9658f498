"""A folder that classifies on a device that has LiteRT, NumPy and Pillow alone."""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from alloyk.exporting.auto import AUTO, export_smallest
from alloyk.exporting.device_script import CHECKSUMS, DESCRIPTION, DETECTOR, MODEL
from alloyk.exporting.exporter import export_run
from alloyk.exporting.proof import proof_folder
from alloyk.exporting.result import ExportReport
from alloyk.files import sha256, size_of, unfinished_path
from alloyk.inference.metadata import SIGNATURE, ModelMetadata, read_metadata, refuse_channels
from alloyk.inference.novelty_file import detector_content, read_detector
from alloyk.progress import NO_PROGRESS, Progress
from alloyk.runs.destination import refuse_existing, refuse_run_file
from alloyk.runs.folder import RunFolder
from alloyk.runs.run_data import refuse_in_run_data

SCRIPT, README = "predict.py", "README.md"
MODULES = ("inference/raw_statistics.py", "inference/wedge_curve.py", "csv_lines.py")
"""What the script imports of this package."""


def export_bundle(
    run: str | Path,
    out: str | Path,
    *,
    file_format: str = "tflite",
    input_size: tuple[int, int] | None = None,
    data: str | Path | None = None,
    margin: float | None = None,
    progress: Progress = NO_PROGRESS,
) -> ExportReport:
    """Export a run to a folder with model, description, script, README and checksums.

    Args:
        run: Run folder.
        out: The folder to make; it must not exist.
        file_format: A format of `.tflite` files; or `auto`, as `export_smallest`.
        input_size: As in `export_run`.
        data: As in `export_run`.
        margin: As in `export_run`.
        progress: Progress display, see `alloyk.progress`.

    Returns:
        The report of the export, whose path is the folder.

    Raises:
        AlloykError: As `export_run`.
    """
    out = Path(out)
    refuse_existing(out, "--bundle")
    refuse_run_file(out, Path(run), "--bundle")
    refuse_in_run_data(out, run, data, option="--bundle")
    model = RunFolder(run).require_model()
    refuse_channels(
        read_metadata(model), Path(run), "--bundle",
        "export with --format tflite, which takes the channels as one image",
    )  # fmt: skip
    with unfinished_path(out) as folder:
        folder.mkdir()
        options: dict[str, Any] = {
            "input_size": input_size, "data": data, "margin": margin, "progress": progress
        }  # fmt: skip
        if file_format == AUTO:
            report = export_smallest(run, folder / MODEL, **options)
        else:
            report = export_run(run, file_format, folder / MODEL, **options)
        write_bundle(folder, report.input_shape)
    return replace(report, path=out, proof=proof_folder(out / MODEL), size_bytes=size_of(out))


def write_bundle(folder: Path, input_shape: tuple[int | None, ...]) -> None:
    """Write the files beside the model of a bundle.

    Args:
        folder: The folder; it has `model.tflite` only.
        input_shape: `(height, width, channels)` of its images.
    """
    metadata = read_metadata(folder / MODEL)
    description = {
        "classes": metadata.classes,
        "thresholds": metadata.thresholds,
        "estimates": list(metadata.spreads),
        "signature": SIGNATURE,
        "input": {"shape": input_shape, "content": "raw counts, as decoded, not scaled"},
        "trained_on_simulated_images": metadata.simulated,
        "alloyk": metadata.alloyk,
    }
    text = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")
    detector = read_detector(folder / MODEL)
    if detector is not None:
        (folder / DETECTOR).write_bytes(detector_content(detector))
    package = files("alloyk")
    script = (package / "exporting" / "device_script.py").read_text(encoding="utf-8")
    script = script.replace("from alloyk.inference.", "from ").replace("from alloyk.", "from ")
    (folder / SCRIPT).write_text(script, encoding="utf-8")
    for module in map(package.joinpath, MODULES):
        (folder / module.name).write_text(module.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / README).write_text(_readme(metadata, input_shape), encoding="utf-8")
    written = (file for file in folder.rglob("*") if file.is_file())
    names = sorted(file.relative_to(folder).as_posix() for file in written)
    sums = "".join(f"{sha256(folder / name)}  {name}\n" for name in names)
    (folder / CHECKSUMS).write_text(sums, encoding="utf-8")


def _readme(metadata: ModelMetadata, input_shape: tuple[int | None, ...]) -> str:
    shape = "x".join(map(str, input_shape))
    thresholds = [
        f"| {rate:g} | {threshold:.6g} |" for rate, threshold in sorted(metadata.thresholds.items())
    ]
    table = "\n".join(["| error rate | probability |", "|---|---|", *thresholds])
    simulated = "\nIt was trained on simulated images.\n" if metadata.simulated else ""
    return f"""# Classifier of radiographs

It tells {", ".join(metadata.classes)} apart
in one raw image of {shape} (height x width x channels). All preprocessing is inside the model.
{simulated}
    pip install ai-edge-litert numpy pillow
    python predict.py IMAGE... > found.csv

The table has a row for each image: `path`, `predicted`, the probability `p_<class>` of each class,
`unlike` (where 1 or more means: unlike the training images), and `error`. PNG, JPEG, BMP and TIFF
are read. The exit code is 1 if an image could not be classified.

`--abstain RATE` leaves `predicted` empty if the probability is below the threshold for an error
rate, or if the image is unlike the training images; the column `abstained` gives the reason:

{table if thresholds else "This model has no thresholds."}

In a program: `from predict import load; load().classify(image)`.

| file | content |
|---|---|
| `{MODEL}` | the model; alloyk reads it too |
| `{DESCRIPTION}` | classes, thresholds, input |
| `{DETECTOR}` | training images' features and ranges, if the model scores unlike images |
| `{SCRIPT}`, {", ".join(f"`{Path(name).name}`" for name in MODULES)} | the program |
| `{proof_folder(Path(MODEL)).name}/` | comparison of the model with the original |
| `{CHECKSUMS}` | for `sha256sum -c {CHECKSUMS}`; the program checks them at each start |

Written by alloyk {metadata.alloyk}.
"""
