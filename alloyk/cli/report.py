"""`alloyk report`."""

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN_OR_DIR")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="The HTML file to write.  [default: report.html in the folder]",
)  # fmt: skip
def report(folder, out):
    """Write one HTML file on a run, a comparison or a cross-validation.

    Figures, tables, configuration, data, versions, limits and a model card are inside: the file
    needs no network and nothing beside it.

    \b
    Examples:
      alloyk report saved_models/resnet18
      alloyk report comparison/ --out comparison.html
    """
    from alloyk.report import write_report

    click.echo(f"report: {write_report(folder, out)}")
