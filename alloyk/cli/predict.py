"""`alloyk predict`."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alloyk.cli.options import (
    abstain_option,
    address_option,
    cluster_workers_option,
    hdf5_path_option,
    page_option,
    raw_option,
)
from alloyk.cli.terminal import PROGRESS
from alloyk.errors import AlloykError
from alloyk.messages import counted, few, shown

if TYPE_CHECKING:
    from alloyk.inference import Classification, Classifier
    from alloyk.inference.rows import Outcome


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, metavar="IMAGE...")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write the table to a .csv, .json or .jsonl file instead of printing it.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of CSV.")
@abstain_option
@click.option(
    "--watch", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Classify the images of FOLDER, and those that arrive there later, until Ctrl-C.",
)  # fmt: skip
@address_option
@cluster_workers_option
@page_option
@raw_option
@hdf5_path_option
def predict(
    model: Path,
    images: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    watch: Path | None,
    address: str | None,
    workers: int | None,
    **options: Any,
) -> None:
    """Classify images: print each one's class and the probability of every class.

    MODEL is a run folder, a .keras file, a SavedModel folder, or a .tflite or .onnx file; the last
    two need no TensorFlow. IMAGE is an image file, a folder, a quoted pattern, a manifest.csv, or -
    for one image's bytes on standard input. If an image cannot be classified, its row holds the
    error and the exit code is 1. FILE[2] selects one page of a stack and FILE[mean] the mean of all
    pages. Without --page, --raw or --hdf5-path the settings of the training apply.

    With --watch, --output is a .csv or .jsonl file that gets one row for each image below FOLDER,
    once it is completely written. The same command continues after a stop or a crash.

    --address needs --output, and all machines must see the model and the images. The table is the
    same as without it. If interrupted, the same command continues from the finished parts in
    FILE.shards.

    \b
    Examples:
      alloyk predict saved_models/resnet18 plate.png
      alloyk predict resnet18.tflite radiographs/ --output classes.csv
      alloyk predict resnet18.tflite "radiographs/**/*.tif" --json --abstain 0.02
      alloyk predict resnet18.tflite --watch radiographs/ --output classes.csv
      alloyk predict resnet18.tflite manifest.csv --address head:6379 --output classes.csv
    """
    from alloyk.inference import STANDARD_INPUT, find_images
    from alloyk.inference.backends import model_file
    from alloyk.inference.metadata import read_metadata
    from alloyk.inference.tables import TABLES, refuse_other_file

    if output and as_json:
        raise click.UsageError(
            "--json prints JSON; to write it, give --output a name that ends in .json"
        )
    kind = output.suffix.lower() if output else ".json" if as_json else ".csv"
    if kind not in TABLES:
        raise click.UsageError(f"--output must be a .csv, .json or .jsonl file, got {output}")
    if watch is None and not images:
        raise click.UsageError("Missing argument 'IMAGE...'.")
    if address is not None and (output is None or watch is not None or STANDARD_INPUT in images):
        raise click.UsageError("--address needs --output FILE, and neither --watch nor -")
    if workers is not None and address is None:
        raise click.UsageError("--workers needs --address")
    if output:
        from alloyk.runs.destination import refuse_run_file

        refuse_run_file(output, model, "--output")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # where the model needs TensorFlow at all
    if watch is not None:
        if images or output is None or kind == ".json":
            raise click.UsageError("--watch FOLDER needs --output FILE.csv or .jsonl, and no IMAGE")
        _watch(model, watch, output, **options)
        return
    if output is not None:
        refuse_other_file(output)
    if images.count(STANDARD_INPUT) > 1:
        raise click.UsageError("- (an image on standard input) can be given only once")
    metadata = read_metadata(model_file(model)[1])
    names = find_images(images, _name_ignored, metadata.channels)
    if address is not None and output is not None:
        from alloyk.inference.on_cluster import Options, predict_on_cluster
        from alloyk.inference.rows import several_rows

        several = several_rows(names, options["page"], metadata)
        outcome = predict_on_cluster(
            model, names, output, Options(several, **options), address, workers=workers,
            progress=PROGRESS,
        )  # fmt: skip
    else:
        outcome = _predict_here(model, names, output, kind, **options)
    _report(outcome, output)


def _predict_here(
    model: Path, names: list[str], output: Path | None, kind: str, *, page: Any, **options: Any
) -> "Outcome":
    """Write the table of all images."""
    from alloyk.inference import load
    from alloyk.inference.rows import write_table

    classifier = load(model)
    images = _with_standard_input(names, classifier, page, options["hdf5_path"])
    with _writer(output) as write:
        return write_table(
            classifier, images, names, kind, write, page=page, progress=PROGRESS, **options
        )


def _page_of_bytes(classifier: "Classifier", page: Any) -> Any:
    """Page to read from an image on standard input."""
    if classifier.channels > 1:
        return "channels"
    return classifier.metadata.page if page is None else page


def _watch(model: Path, folder: Path, output: Path, **options: Any) -> None:
    """Classify images as they arrive, until Ctrl-C or SIGTERM."""
    from alloyk.inference import load
    from alloyk.serving.watching import FolderWatch

    classifier = load(model)
    if classifier.simulated:
        click.echo("note: this model was trained on simulated images", err=True)
    with FolderWatch(classifier, folder, output, **options) as watching:
        before = watching.count
        done = f", {counted(before)} done" if before else ""
        click.echo(f"Watching {folder}{done}; press Ctrl-C to stop", err=True)
        try:
            watching.run(_show)
        except KeyboardInterrupt:
            new = watching.count - before
            click.echo(f"{counted(new)}: {output}", err=True)


def _show(part: "Classification") -> None:
    """Write a line for each image that was classified."""
    for number, (path, label) in enumerate(zip(part.paths, part.labels, strict=True)):
        abstained = part.abstained[number] if part.abstained else ""
        highest = f"{part.probabilities[number].max():.3f}"
        found = part.errors.get(number) or f"{label or abstained}, {highest}"
        click.echo(f"{shown(path or '')}: {found}", err=True)


def _report(outcome: "Outcome", output: Path | None) -> None:
    """Show notes and the number of images; raise if one could not be classified."""
    if outcome.simulated:
        click.echo("note: this model was trained on simulated images", err=True)
    for note in outcome.notes:
        click.echo(f"warning: {note}", err=True)
    done = outcome.images - outcome.errors
    if output is not None:
        click.echo(f"{counted(done)}: {output}", err=True)
    outcome.raise_if_any_failed()


def _name_ignored(names: list[str]) -> None:
    files = counted(len(names), "non-image file")
    click.echo(f"Ignored {files}: {few(map(shown, names))}", err=True)


def _with_standard_input(
    names: list[str], classifier: "Classifier", page: Any, hdf5_path: str | None
) -> list[object]:
    """Replace the name `-` by the pixels read from standard input, or by why they cannot be."""
    from alloyk.imaging import FileSettings
    from alloyk.inference import STANDARD_INPUT, image_from_bytes

    if STANDARD_INPUT not in names:
        return list(names)
    data = sys.stdin.buffer.read()
    files = FileSettings(hdf5_path=hdf5_path or classifier.metadata.hdf5_path)
    page = _page_of_bytes(classifier, page)
    image: object
    try:
        image = image_from_bytes(data, "on standard input", page, files)
    except AlloykError as error:
        image = error
    return [image if name == STANDARD_INPUT else name for name in names]


@contextmanager
def _writer(output: Path | None) -> Iterator[Callable[[str], object]]:
    """A function that writes text to standard output, or to a file that is kept if all goes well.

    A file name on Linux may be any bytes; they are written unchanged.
    """
    if output is None:
        out = sys.stdout.buffer
        yield lambda text: (out.write(text.encode(errors="surrogateescape")), out.flush())
        return
    from alloyk.files import whole_file

    with whole_file(output) as unfinished, unfinished.open("wb") as file:
        yield lambda text: file.write(text.encode(errors="surrogateescape"))
