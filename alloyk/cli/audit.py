"""`alloyk audit`."""

from pathlib import Path
from typing import Any

import click

from alloyk.cli.options import (
    address_option,
    cluster_workers_option,
    hdf5_path_option,
    page_option,
    raw_option,
)
from alloyk.cli.terminal import PROGRESS


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, including every affected image.")
@click.option(
    "--figures", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Draw classes, intensities, examples and near-duplicates into this folder.",
)  # fmt: skip
@click.option(
    "--series", metavar="COLUMN|REGEX",
    help="Which images belong together: a column of the manifest, or a regular expression on the "
    "file name.  [default: plate_id, else the name before its last _]",
)  # fmt: skip
@address_option
@cluster_workers_option
@page_option
@raw_option
@hdf5_path_option
@click.pass_context
def audit(
    ctx: click.Context, /, data: Path, as_json: bool, figures: Path | None, **options: Any
) -> None:
    """Check the data set DATA for problems before training on it.

    Every image is read once. Each finding comes with advice; the exit code is 1 if a finding must
    be fixed. DATA is a data set or a plain folder of images.

    \b
    Examples:
      alloyk audit radiographs
      alloyk audit scans --series "^(plate\\d+)_" --figures look/
      alloyk audit radiographs --json > audit.json
      alloyk audit radiographs --address head:6379
    """
    from alloyk.api import audit

    found = audit(data, figures=figures, progress=PROGRESS, **options)
    click.echo(found.to_json() if as_json else found.to_text(), nl=False)
    if figures:
        click.echo(f"figures: {figures}", err=True)
    if found.must_fix:
        ctx.exit(1)
