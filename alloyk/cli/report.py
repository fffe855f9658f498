"""`alloyk report`."""

from pathlib import Path

import click

from alloyk.cli.options import out_file_option


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN_OR_DIR")
@out_file_option("FILE", "The HTML file to write.  [default: report.html in the folder]")
def report(folder: Path, out: Path | None) -> None:
    """Write one self-contained HTML file on a run, a comparison, a cross-validation or a search.

    It holds figures, tables, configuration, data, versions, limitations and a model card, and
    needs no network and no other file.

    \b
    Examples:
      alloyk report saved_models/resnet18
      alloyk report comparison/ --out comparison.html
      alloyk report saved_models/tune-cnn
    """
    from alloyk.api import report

    click.echo(f"report: {report(folder, out=out)}")
