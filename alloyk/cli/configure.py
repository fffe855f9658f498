"""`alloyk configure`."""

from pathlib import Path
from typing import Any

import click

from alloyk.cli.options import (
    arch_option,
    out_file_option,
    set_option,
    time_budget_option,
)
from alloyk.cli.terminal import PROGRESS


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@arch_option
@time_budget_option
@out_file_option("FILE.yaml", "Write the configuration here.  [default: print it]")
@set_option
def configure(data: Path, out: Path | None, settings: tuple[str, ...], **options: Any) -> None:
    """Make a configuration for the data set DATA, with a reason beside each value.

    DATA is measured, rules choose the settings (docs/configure.md), and a few training steps
    are run to measure memory and time. Settings given with --arch and --set are kept.

    \b
    Examples:
      alloyk configure radiographs/
      alloyk configure radiographs/ --out radiographs.yaml && alloyk train radiographs.yaml
      alloyk configure radiographs/ --arch efficientnetb0 --time-budget 20
    """
    from alloyk.api import configure

    plan = configure(data, out=out, set=settings, progress=PROGRESS, **options)
    if out is None:
        click.echo(plan.to_yaml(), nl=False)
        return
    click.echo("\n".join((*plan.fingerprint.lines(), *plan.cost)))
    click.echo(f"configuration: {out}\nto train: alloyk train {out}")
