"""`alloyk predict`."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from alloyk.cli.options import page_option, raw_option
from alloyk.cli.terminal import PROGRESS
from alloyk.errors import AlloykError
from alloyk.progress import NO_PROGRESS


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write the table to a .csv or .json file instead of printing it.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of CSV.")
@page_option
@raw_option
def predict(
    model: Path,
    images: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    page: Any,
    raw: Any,
) -> None:
    """Classify images: print each one's class and the probability of every class.

    MODEL is a run folder, a .keras file, a SavedModel folder or a .tflite file, which needs no
    TensorFlow. IMAGE is an image file, a folder, a quoted pattern, or - for one image's bytes on
    standard input. If an image cannot be classified, its row holds the error and the exit code is
    1. FILE[2] selects one page of a stack and FILE[mean] the mean of all pages. Without --page or
    --raw the settings of the training apply.

    \b
    Examples:
      alloyk predict saved_models/resnet18 plate.png
      alloyk predict resnet18.tflite radiographs/ --output classes.csv
      alloyk predict resnet18.tflite "radiographs/**/*.tif" --json
    """
    from alloyk.inference import FORMATS, STANDARD_INPUT, find_images, load

    if output and as_json:
        raise click.UsageError("--json is for printing: give --output FILE the ending .json")
    kind = output.suffix.lower() if output else ".json" if as_json else ".csv"
    if kind not in FORMATS:
        raise click.UsageError(f"--output must be a .csv or .json file, got {output}")
    if output:
        from alloyk.runs.destination import refuse_run_file

        refuse_run_file(output, model, "--output")
    names = find_images(images, _name_ignored)
    if names.count(STANDARD_INPUT) > 1:
        raise click.UsageError("- is one image on standard input: give it once")

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # where the model needs TensorFlow at all
    classifier = load(model)
    progress = PROGRESS if len(names) > 1 else NO_PROGRESS
    classified = classifier.predict(
        _with_standard_input(names, classifier.metadata.page if page is None else page),
        names=names, page=page, raw=raw, progress=progress, keep_going=len(names) > 1,
    )  # fmt: skip
    count = len(classified.labels)
    if len(classified.errors) == count:  # no row to keep
        raise AlloykError(
            f"none of the {count} images could be classified; the first: " + classified.errors[0]
        )
    if classifier.simulated:
        click.echo("note: this model was trained on simulated images", err=True)
    for note in classified.notes:
        click.echo(f"warning: {note}", err=True)
    _write(FORMATS[kind](classified), output)
    done = count - len(classified.errors)
    if output is not None:
        click.echo(f"{done} image{'s' if done > 1 else ''}: {output}", err=True)
    if classified.errors:
        first = next(iter(classified.errors.values()))
        raise AlloykError(
            f"{len(classified.errors)} of {count} images could not be classified, see the "
            f"column error; the first: {first}"
        )


def _name_ignored(names: list[str]) -> None:
    from alloyk.files import few
    from alloyk.imaging import shown

    plural = "s" if len(names) > 1 else ""
    click.echo(f"Ignored {len(names)} non-image file{plural}: {few(map(shown, names))}", err=True)


def _with_standard_input(names: list[str], page: Any) -> list[object]:
    """Put the pixels on standard input in the place of its name."""
    from alloyk.inference import STANDARD_INPUT, image_from_bytes

    if STANDARD_INPUT not in names:
        return list(names)
    data = sys.stdin.buffer.read()
    image = image_from_bytes(data, "on standard input", page)
    return [image if name == STANDARD_INPUT else name for name in names]


def _write(text: str, output: Path | None) -> None:
    # A file name on Linux may be any bytes; they go out as they came in.
    data = text.encode(errors="surrogateescape")
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    from alloyk.files import whole_file

    with whole_file(output) as unfinished:
        unfinished.write_bytes(data)
