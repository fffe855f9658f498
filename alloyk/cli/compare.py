"""`alloyk compare`."""

from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, metavar="DIR",
    help="Folder for tables and pictures.",
)  # fmt: skip
@click.option("--no-timing", is_flag=True, help="Do not measure how long a model takes.")
def compare(runs, out, no_timing):
    """Tables, paired tests and pictures of two or more runs on the same test images.

    The difference between every two runs is tested by McNemar's exact test and by a bootstrap over
    plates, corrected for the number of tests (Holm). Runs of one configuration with several seeds
    are summed up as mean and standard deviation.

    \b
    Examples:
      alloyk compare saved_models/resnet18 saved_models/vgg16 --out comparison
      alloyk compare saved_models/* --out comparison
    """
    from alloyk.comparison import check_output_folder, compare_runs, write_comparison

    check_output_folder(out)

    def say(message):
        click.echo(message, err=True)

    comparison = compare_runs(runs, timing=not no_timing, say=say)
    click.echo(write_comparison(out, comparison))
    click.echo(f"\npictures: {out / 'figures'}")
