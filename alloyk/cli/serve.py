"""`alloyk serve`."""

import os
from pathlib import Path
from typing import Any

import click

from alloyk.cli.options import FiniteRange, abstain_option
from alloyk.serving.limits import Limits

_DEFAULTS = Limits()


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True,
    help="TCP port; 0 for any free one.",
)  # fmt: skip
@click.option(
    "--watch", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Show the images of FOLDER on the page as they arrive.",
)  # fmt: skip
@abstain_option
@click.option(
    "--threads", type=click.IntRange(1), help="Processor threads for a .tflite or .onnx file."
)
@click.option(
    "--max-body", "max_megabytes", type=click.IntRange(1), default=_DEFAULTS.body_bytes // 2**20,
    show_default=True, metavar="MB", help="Largest image file, in MiB.",
)  # fmt: skip
@click.option(
    "--max-pixels", type=click.IntRange(1), default=_DEFAULTS.pixels, show_default=True,
    help="Largest image, in pixels.",
)  # fmt: skip
@click.option(
    "--timeout", type=FiniteRange(0, min_open=True), default=_DEFAULTS.seconds,
    show_default=True, metavar="S",
    help="Time limit in seconds for an upload, and again for its classification.",
)  # fmt: skip
@click.option(
    "--queue", type=click.IntRange(1), default=_DEFAULTS.requests, show_default=True,
    help="Maximum number of concurrent requests; further ones get 503.",
)  # fmt: skip
def serve(model: Path, **options: Any) -> None:
    """Serve a page and an HTTP endpoint that classify radiographs.

    MODEL is a run folder, a .keras file, a SavedModel folder, a .tflite or .onnx file. The page
    takes radiographs by drag and drop; POST /predict takes the bytes of an image and answers in
    JSON; it is described at /docs. Only this computer has access unless --host says otherwise.
    Needs the packages of alloyk[serve].

    \b
    Examples:
      alloyk serve resnet18.tflite
      alloyk serve saved_models/resnet18 --watch radiographs/ --abstain 0.02
      curl --data-binary @plate.png -H "Content-Type: image/png" http://127.0.0.1:8000/predict
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # where the model needs TensorFlow at all
    from alloyk.api import serve as serve_model

    try:
        serve_model(model, **options)
    except KeyboardInterrupt:
        click.echo("Stopped", err=True)
