"""`alloyk cross-validate`."""

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
from alloyk.runtime.tensorflow import load_tensorflow


@click.command(name="cross-validate")
@config_argument
@click.option(
    "--folds", type=click.IntRange(min=2), default=5, show_default=True, help="Number of folds."
)
@click.option(
    "--leave-out", metavar="COLUMN",
    help="Instead of folds, leave each value of this column of manifest.csv out in turn.",
)  # fmt: skip
@arch_option
@data_option
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Folder; the same folder goes on.  [default: saved_models/<arch>-folds]",
)  # fmt: skip
@set_option
@click.pass_context
def cross_validate(ctx, config, folds, leave_out, arch, data, out, settings):
    """Cross-validate the classifier that CONFIG describes.

    All images of the data set are divided into folds, stratified by class and grouped by plate;
    each fold is predicted by a network that was trained on the others. predictions.csv in --out
    holds every image once. Splits that the data set has are not used. Finished folds are left
    alone when the command is given again.

    \b
    Examples:
      alloyk cross-validate --folds 5 --arch resnet18 --data radiographs/
      alloyk cross-validate experiment.yaml --leave-out thickness_mm --out by_thickness
    """
    from alloyk.config import resolve_config
    from alloyk.runs.folder import RunFolder

    given = ctx.get_parameter_source("folds") is not click.core.ParameterSource.DEFAULT
    if leave_out and given:
        raise click.UsageError("--folds and --leave-out are two ways to hold out: give one")
    resolved = resolve_config(config, overrides_from(settings, arch, data))
    name = f"without-{leave_out}" if leave_out else "folds"
    out = out or Path("saved_models") / f"{resolved.model.arch}-{name}"

    load_tensorflow(resolved.model.arch, resolved.preprocess.image_size)
    from alloyk.training.cross_validation import cross_validate

    try:
        cross_validate(resolved, out, folds=folds, leave_out=leave_out, progress=PROGRESS)
    except KeyboardInterrupt:
        if out.exists():
            click.echo("\nto go on, give the same command again", err=True)
        raise
    click.echo(RunFolder(out).report_text)
    click.echo(f"run: {out}\npictures: {RunFolder(out).figures_folder}")
