"""`alloyk serve`."""

import os
from pathlib import Path
from typing import Any

import click


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
@click.option(
    "--abstain", type=click.FloatRange(0, 1, min_open=True, max_open=True), metavar="RATE",
    help="Leave out uncertain classes, by the run's threshold for this error rate, such as 0.02.",
)  # fmt: skip
@click.option("--threads", type=click.IntRange(1), help="Processor threads for a .tflite file.")
@click.option(
    "--max-body", "max_megabytes", type=click.IntRange(1), default=64, show_default=True,
    metavar="MB", help="Largest image file, in MiB.",
)  # fmt: skip
@click.option(
    "--max-pixels", type=click.IntRange(1), default=2**25, show_default=True,
    help="Most pixels of an image.",
)  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True,
    metavar="S", help="Seconds in which an image must arrive, and then be classified.",
)  # fmt: skip
@click.option(
    "--queue", type=click.IntRange(1), default=64, show_default=True,
    help="Most requests at one time; further ones are answered with 503.",
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
