"""`alloyk compare`."""

from pathlib import Path

import click

from alloyk.cli.options import out_folder_option


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@out_folder_option("Folder for tables and figures.", required=True)
@click.option("--no-timing", is_flag=True, help="Do not measure how long a model takes.")
def compare(runs: tuple[Path, ...], out: Path, no_timing: bool) -> None:
    """Compare two or more runs on the same test images: tables, paired tests, figures.

    The difference between every two runs is tested by McNemar's exact test and by a bootstrap over
    plates, with Holm's correction for the number of tests. Runs of one configuration with several
    seeds are summarised as mean and standard deviation.

    \b
    Examples:
      alloyk compare saved_models/resnet18 saved_models/vgg16 --out comparison
      alloyk compare saved_models/* --out comparison
    """
    from alloyk.api import compare

    found = compare(runs, out=out, timing=not no_timing)
    click.echo(found.text)
    click.echo(f"\nfigures: {out / 'figures'}")
