"""`alloyk train`."""

from contextlib import nullcontext
from pathlib import Path

import click

from alloyk.cli.options import (
    arch_option,
    config_argument,
    data_option,
    overrides_from,
    set_option,
)
from alloyk.cli.terminal import PROGRESS
from alloyk.errors import AlloykError
from alloyk.locks import is_empty, new_numbered_folder
from alloyk.runtime.tensorflow import load_tensorflow


@click.command()
@config_argument
@arch_option
@data_option
@click.option(
    "--run", type=click.Path(path_type=Path), metavar="DIR",
    help="Folder of the run.  [default: saved_models/<arch>, numbered]",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Resume the interrupted run in --run.")
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
    from alloyk.runs.folder import RunFolder

    if resume:
        if config or arch or data or settings or not run:
            raise click.UsageError("--resume takes --run and no other option")
        config = RunFolder(run).config_file
        if not config.is_file():
            raise AlloykError(f"--resume needs an interrupted run; {config} not found")
    resolved = resolve_config(config, overrides_from(settings, arch, data))
    load_tensorflow(resolved.model.arch, resolved.preprocess.image_size)
    from alloyk.training import run_training

    new = new_numbered_folder(Path("saved_models"), resolved.model.arch)
    with nullcontext(run) if run else new as run:
        try:
            run_training(resolved, run, resume=resume, progress=PROGRESS)
        except KeyboardInterrupt:
            kept = run.is_dir() and not is_empty(run)
            hint = f"to resume: alloyk train --run {run} --resume"
            click.echo(f"\n{hint if kept else 'no epoch was complete: nothing is kept'}", err=True)
            raise
    click.echo(RunFolder(run).report_text)
    click.echo(f"run: {run}\npictures: {RunFolder(run).figures_folder}")
