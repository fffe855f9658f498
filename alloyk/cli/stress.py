"""`alloyk stress`."""

from pathlib import Path

import click

from alloyk.cli.options import out_folder_option, run_data_option
from alloyk.cli.terminal import PROGRESS


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@run_data_option
@out_folder_option("Folder for stress.csv, stress.md and stress.png.  [default: RUN/stress]")
@click.option(
    "--images", type=click.IntRange(min=1), default=300, show_default=True,
    help="Maximum number of test images.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True,
    help="Seed of the disturbances.",
)  # fmt: skip
def stress(run: Path, data: Path | None, out: Path | None, images: int, seed: int) -> None:
    """Test RUN on disturbed images: detector defects, noise, shifts, other file formats.

    Every disturbance is applied to raw images of the test split.

    \b
    Examples:
      alloyk stress saved_models/resnet18
      alloyk stress saved_models/resnet18 --images 100 --out stress/
    """
    from alloyk.api import stress as stress_test

    result = stress_test(run, data=data, out=out, images=images, seed=seed, progress=PROGRESS)
    from alloyk.robustness.table import format_markdown

    click.echo(format_markdown(result.rows, simulated=result.simulated), nl=False)
    click.echo(f"table and figure: {result.folder}", err=True)
