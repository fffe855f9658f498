"""`alloyk predict`."""

import os
from pathlib import Path

import click

from alloyk.cli.terminal import PROGRESS
from alloyk.progress import NO_PROGRESS


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write the table to a .csv or .json file instead of printing it.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of CSV.")
def predict(model, images, output, as_json):
    """Classify images: print each one's class and the probability of every class.

    MODEL is a run folder, a .keras file, a SavedModel folder or a .tflite file, which needs no
    TensorFlow. IMAGE is an image file, a folder, a quoted pattern, or - for one image's bytes on
    standard input.

    \b
    Examples:
      alloyk predict saved_models/resnet18 plate.png
      alloyk predict resnet18.tflite radiographs/ --output classes.csv
      alloyk predict resnet18.tflite "radiographs/**/*.tif" --json
    """
    from alloyk.files import whole_file
    from alloyk.inference import FORMATS, STANDARD_INPUT, find_images, image_from_bytes, load

    if output and as_json:
        raise click.UsageError("--json is for printing: give --output FILE the ending .json")
    kind = output.suffix.lower() if output else ".json" if as_json else ".csv"
    if kind not in FORMATS:
        raise click.UsageError(f"--output takes a .csv or .json file, found {output}")
    names = find_images(images)
    if names.count(STANDARD_INPUT) > 1:
        raise click.UsageError("- is one image on standard input: give it once")

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # where the model needs TensorFlow at all
    classifier = load(model)
    raw = [
        image_from_bytes(click.get_binary_stream("stdin").read(), "on standard input")
        if name == STANDARD_INPUT
        else name
        for name in names
    ]
    progress = PROGRESS if len(raw) > 1 else NO_PROGRESS
    classified = classifier.predict(raw, names=names, progress=progress)
    text = FORMATS[kind](classified)

    if classifier.simulated:
        click.echo("note: this model was trained on simulated images", err=True)
    # A file name on Linux may be any bytes; they go out as they came in.
    data = text.encode(errors="surrogateescape")
    if output is None:
        click.get_binary_stream("stdout").write(data)
        return
    with whole_file(output) as unfinished:
        unfinished.write_bytes(data)
    click.echo(f"{len(names)} image{'s' if len(names) > 1 else ''}: {output}", err=True)
