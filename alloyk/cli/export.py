"""`alloyk export`."""

import re
from pathlib import Path

import click

from alloyk.cli.terminal import PROGRESS
from alloyk.runtime.tensorflow import load_tensorflow

FORMATS = ("savedmodel", "tflite")


class ImageSize(click.ParamType):
    """``HEIGHTxWIDTH`` in pixels."""

    name = "HxW"

    def convert(self, value, param, ctx):
        """Make `(height, width)` of the text."""
        match = re.fullmatch(r"([1-9]\d{0,4})[xX×]([1-9]\d{0,4})", value)
        if not match:
            self.fail(f"wanted HEIGHTxWIDTH in pixels, such as 224x224, found {value!r}")
        return int(match[1]), int(match[2])


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "file_format", type=click.Choice(FORMATS), required=True)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="PATH",
    help="The file (tflite) or folder (savedmodel) to make; it must not exist.",
)  # fmt: skip
@click.option(
    "--input-size", type=ImageSize(), metavar="HxW",
    help="Size of the raw images that a tflite file takes.  [default: that of the test images]",
)  # fmt: skip
@click.option(
    "--data", type=click.Path(path_type=Path), metavar="DATA",
    help="Where the run's data set lies now.  [default: where it lay in training]",
)  # fmt: skip
def export(run, file_format, out, input_size, data):
    """Write a model file that takes raw images and gives probabilities.

    All preprocessing is inside. The file is compared with the model of RUN on every image of the
    test split, and gets its name only when all decisions agree.

    \b
    Examples:
      alloyk export saved_models/resnet18 --format tflite --out resnet18.tflite
      alloyk export saved_models/resnet18 --format savedmodel --out resnet18
      alloyk export saved_models/cnn --format tflite --input-size 480x640 --out cnn.tflite
    """
    from alloyk.runs.network import network_of

    load_tensorflow(*network_of(run))
    from alloyk.export import export_run, format_report

    report = export_run(
        run,
        file_format,
        out,
        input_size=input_size,
        data=data,
        progress=PROGRESS,
    )
    click.echo(format_report(report), nl=False)
