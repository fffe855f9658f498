"""`alloyk evaluate`."""

from pathlib import Path
from typing import Any

import click

from alloyk.cli.options import data_option, out_folder_option
from alloyk.cli.terminal import PROGRESS


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@data_option
@click.option(
    "--split", type=click.Choice(["train", "val", "test", "all"]), default="test",
    show_default=True, help="Split to evaluate.",
)  # fmt: skip
@out_folder_option("Folder to write to.  [default: RUN for its test split, else a folder in RUN]")
@click.option(
    "--from-predictions", is_flag=True,
    help="Use the existing predictions file instead of predicting again.",
)  # fmt: skip
@click.option(
    "--noise-control", is_flag=True,
    help="Also train a random forest on local noise statistics: the accuracy from noise alone.",
)  # fmt: skip
@click.option(
    "--classical-control", is_flag=True,
    help="Also fit equivalent thickness and effective attenuation from each image's wedge curve, "
    "and classify by these two numbers.",
)  # fmt: skip
def evaluate(run: Path, **options: Any) -> None:
    """Write metrics, report and figures of RUN.

    \b
    Examples:
      alloyk evaluate saved_models/resnet18
      alloyk evaluate saved_models/resnet18 --data new_radiographs/ --split all --out new/
      alloyk evaluate saved_models/resnet18 --from-predictions
      alloyk evaluate saved_models/resnet18 --noise-control --classical-control
    """
    from alloyk.api import evaluate

    found = evaluate(run, progress=PROGRESS, **options)
    click.echo(found.report_text)
    click.echo(f"figures: {found.figures_folder}")
