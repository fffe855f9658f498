"""`alloyk cross-validate`."""

from pathlib import Path
from typing import Any

import click

from alloyk.cli.options import (
    arch_option,
    config_argument,
    data_option,
    out_folder_option,
    set_option,
)
from alloyk.cli.terminal import PROGRESS


@click.command(name="cross-validate")
@config_argument
@click.option("--folds", type=click.IntRange(min=2), help="Number of folds.  [default: 5]")
@click.option(
    "--leave-out", metavar="COLUMN",
    help="Instead of folds, leave out each value of this column of manifest.csv in turn.",
)  # fmt: skip
@arch_option
@data_option
@out_folder_option(
    "Folder; an existing cross-validation in it is resumed.  [default: saved_models/<arch>-folds, "
    "or <arch>-without-COLUMN]"
)
@set_option
def cross_validate(config: Path | None, settings: tuple[str, ...], **options: Any) -> None:
    """Cross-validate the classifier described by CONFIG.

    All images of the data set are divided into folds, stratified by class and grouped by plate;
    each fold is predicted by a network that was trained on the others. predictions.csv in --out
    holds every image once. The data set's own splits are not used. Finished folds are not
    repeated when the command is given again.

    \b
    Examples:
      alloyk cross-validate --folds 5 --arch resnet18 --data radiographs/
      alloyk cross-validate experiment.yaml --leave-out thickness_mm --out by_thickness
    """
    from alloyk.api import cross_validate

    run = cross_validate(config, set=settings, progress=PROGRESS, **options)
    click.echo(run.report_text)
    click.echo(f"run: {run.path}\nfigures: {run.figures_folder}")
