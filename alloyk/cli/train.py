"""`alloyk train`."""

from pathlib import Path

import click

from alloyk.cli.options import (
    arch_option,
    config_argument,
    data_option,
    overrides_from,
    set_option,
)
from alloyk.errors import AlloykError
from alloyk.runtime.tensorflow import load_tensorflow


@click.command()
@config_argument
@arch_option
@data_option
@click.option(
    "--run", type=click.Path(path_type=Path), metavar="DIR",
    help="Folder of the run.  [default: saved_models/<arch>, numbered]",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the run that was cut off in --run.")
@set_option
def train(config, arch, data, run, resume, settings):
    """Train the classifier that CONFIG describes, then evaluate it on the test split.

    Without CONFIG and --data it trains on the embedded, simulated data set.

    \b
    Examples:
      alloyk train --arch efficientnetb0
      alloyk train --arch resnet18 --data radiographs/ --set train.epochs=50
      alloyk train --run saved_models/resnet18 --resume
    """
    from alloyk.config import resolve_config

    if resume:
        if config or arch or data or settings or not run:
            raise click.UsageError("--resume takes --run and nothing else: the run knows the rest")
        config = run / "config.yaml"
        if not config.is_file():
            raise AlloykError(f"--resume wants a run that was cut off, found no {config}")
    resolved = resolve_config(config, overrides_from(settings, arch, data))
    run = run or next_run_folder(Path("saved_models"), resolved.model.arch)

    load_tensorflow()
    from alloyk.training import run_training

    try:
        run_training(resolved, run, resume=resume)
    except KeyboardInterrupt:
        hint = f"to go on: alloyk train --run {run} --resume"
        click.echo(f"\n{hint if run.exists() else 'no epoch had ended: nothing is kept'}", err=True)
        raise
    click.echo((run / "report.txt").read_text(encoding="utf-8"))
    click.echo(f"run: {run}\npictures: {run / 'figures'}")


def next_run_folder(parent: Path, name: str) -> Path:
    """`parent/name`, or `parent/name-2`, `-3`, … where that exists."""
    folder, number = parent / name, 1
    while folder.exists():
        number += 1
        folder = parent / f"{name}-{number}"
    return folder
