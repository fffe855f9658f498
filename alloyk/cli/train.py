"""`alloyk train`."""

from pathlib import Path
from typing import Any

import click

from alloyk.cli.options import (
    arch_option,
    config_argument,
    data_option,
    set_option,
    time_budget_option,
)
from alloyk.cli.terminal import PROGRESS


@click.command()
@config_argument
@arch_option
@data_option
@click.option(
    "--run", type=click.Path(path_type=Path), metavar="DIR",
    help="Folder of the run.  [default: saved_models/<arch>, numbered]",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Resume the interrupted run in --run.")
@click.option(
    "--replay", type=click.Path(path_type=Path), metavar="LINEAGE",
    help="Repeat the schedule of settings that `alloyk tune --search pbt` has found.",
)  # fmt: skip
@click.option(
    "--quantize-from", type=click.Path(path_type=Path), metavar="RUN",
    help="Fine-tune the finished RUN with fake quantisation, for its int8 export.",
)  # fmt: skip
@time_budget_option
@set_option
def train(config: Path | None, settings: tuple[str, ...], **options: Any) -> None:
    """Train the classifier described by CONFIG, then evaluate it on the test split.

    Without CONFIG, settings that are not given are chosen for the data set, as by `alloyk
    configure`. Without --data as well, the embedded simulated data set is used.

    \b
    Examples:
      alloyk train --arch efficientnetb0
      alloyk train --arch resnet18 --data radiographs/ --set train.epochs=50
      alloyk train --data radiographs/ --time-budget 20
      alloyk train --run saved_models/resnet18 --resume
      alloyk train --quantize-from saved_models/efficientnetb0
      alloyk train --replay saved_models/tune-cnn/lineage.json --run saved_models/cnn-pbt
    """
    from alloyk.api import train

    run = train(config, set=settings, progress=PROGRESS, **options)
    if not run.path.is_dir():  # of another machine, which has written the run
        click.echo(f"run: {run.path} on the first worker")
        return
    click.echo(run.report_text)
    click.echo(f"run: {run.path}\nfigures: {run.figures_folder}")
