"""`alloyk explain`."""

from pathlib import Path
from typing import Any

import click

from alloyk.cli.options import (
    data_option,
    hdf5_path_option,
    out_folder_option,
    page_option,
    raw_option,
)
from alloyk.cli.terminal import PROGRESS


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option(
    "--method", type=click.Choice(["gradcam", "shap"]), default="gradcam", show_default=True,
    help="Explanation method; shap needs the package shap.",
)  # fmt: skip
@out_folder_option("Folder for figures and arrays.  [default: explain_METHOD in RUN]")
@click.option(
    "--each", default=1, show_default=True, type=click.IntRange(1), metavar="N",
    help="Without IMAGE: number of most confident and of least confident images of each class.",
)  # fmt: skip
@click.option(
    "--class", "label", metavar="LABEL",
    help="Class to explain.  [default: the predicted class of each image]",
)  # fmt: skip
@click.option(
    "--layer", default="auto", show_default=True, metavar="NAME",
    help="With gradcam: auto (the last layer with 7×7 cells), last, or a layer's name.",
)  # fmt: skip
@click.option(
    "--explainer", type=click.Choice(["gradient", "partition"]), default="gradient",
    show_default=True, help="With shap: the explainer.",
)  # fmt: skip
@click.option(
    "--samples", type=click.IntRange(2), metavar="N",
    help="With shap: points or evaluations per image.  [default: 200, partition 1000]",
)  # fmt: skip
@data_option
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0),
    help="Seed of shap's samples and of the sanity check.",
)  # fmt: skip
@page_option
@raw_option
@hdf5_path_option
def explain(run: Path, images: tuple[str, ...], **options: Any) -> None:
    """Show the image regions that drove a prediction of RUN.

    IMAGE is an image file, a folder or a quoted pattern; without it, the most and the least
    confident test image of each class are explained. FILE[2] selects one page of a stack. Without
    --page, --raw or --hdf5-path the settings of the training apply. As a sanity check the maps are
    repeated with shuffled weights: a map that does not change shows the image, not what was
    learned.

    \b
    Examples:
      alloyk explain saved_models/resnet18
      alloyk explain saved_models/resnet18 plate.png --method shap --out why/
      alloyk explain saved_models/fnn "radiographs/*.tif" --method shap --explainer partition
    """
    from alloyk.api import explain

    found = explain(run, images, progress=PROGRESS, **options)
    click.echo(found.decisions)
    click.echo(found.description)
    click.echo(f"maps: {found.folder / 'maps.npz'}\nfigures: {found.folder}")
