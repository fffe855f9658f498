"""`alloyk export`."""

import re
from pathlib import Path
from typing import Any

import click

from alloyk.cli.options import FiniteRange
from alloyk.cli.terminal import PROGRESS

FORMATS = ("savedmodel", "tflite", "onnx", "tflite-fp16", "tflite-w8", "tflite-16x8", "tflite-int8")


class ImageSize(click.ParamType):
    """`HEIGHTxWIDTH` in pixels."""

    name = "HxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return `(height, width)`."""
        match = re.fullmatch(r"([1-9]\d{0,4})[xX×]([1-9]\d{0,4})", value)
        if not match:
            self.fail(f"must be HEIGHTxWIDTH in pixels, such as 224x224, got {value!r}")
        return int(match[1]), int(match[2])


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", type=click.Choice(FORMATS), help="File format.")
@click.option(
    "--quantize", type=click.Choice(["auto"]),
    help="Instead of --format: write the first quantised file that passes.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="PATH",
    help="The file (.tflite, .onnx) or folder (savedmodel) to make; it must not exist.  "
    "[default: in RUN/exports]",
)  # fmt: skip
@click.option(
    "--bundle", type=click.Path(path_type=Path), metavar="DIR",
    help="Instead of --out: a folder with a tflite file and a script that needs no alloyk.",
)  # fmt: skip
@click.option(
    "--input-size", type=ImageSize(), metavar="HxW",
    help="Size of the raw images that the file takes.  [default: that of the test images]",
)  # fmt: skip
@click.option(
    "--margin",
    type=FiniteRange(min=0, min_open=True),
    metavar="POINTS",
    help="Largest loss of accuracy of a quantised file, in points.  [default: 0.5]",
)
@click.option(
    "--data", type=click.Path(path_type=Path), metavar="DATA",
    help="Where the run's data set is now.  [default: where it was in training]",
)  # fmt: skip
def export(run: Path, **options: Any) -> None:
    """Write a model file that takes raw images and gives probabilities.

    All preprocessing is inside. The file is compared with the model of RUN on every image of the
    test split, and is written only if it passes; the proof goes into PATH.proof.

    \b
    savedmodel, tflite, onnx  float32; all predictions match, max |Δp| is 1e-4 or less
    tflite-fp16               float16 weights; max |Δp| is 1e-2 or less
    tflite-w8                 8-bit weights
    tflite-16x8               8-bit weights, 16-bit activations
    tflite-int8               8-bit weights and activations, calibrated on training images

    --quantize auto tries int8, int8 with the most sensitive layers in float32, w8, 16x8, fp16 and
    float32, and writes the first that passes.

    The 8-bit formats (w8, 16x8, int8) may lose at most 0.5 points of accuracy (--margin), which a
    paired test over plates must show. If int8 fails, fine-tune the run for it:
    `alloyk train --quantize-from RUN`.

    \b
    Examples:
      alloyk export saved_models/resnet18 --format tflite --out resnet18.tflite
      alloyk export saved_models/resnet18 --format tflite-int8 --out resnet18-int8.tflite
      alloyk export saved_models/resnet18 --quantize auto --out small.tflite
      alloyk export saved_models/cnn --format tflite --input-size 480x640 --out cnn.tflite
      alloyk export saved_models/cnn --bundle device
    """
    from alloyk.api import export

    exported = export(run, progress=PROGRESS, **options)
    from alloyk.exporting.table import format_report  # loads Keras, so only after its kernels

    click.echo(format_report(exported), nl=False)
