"""`alloyk plan`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alloyk.cli.options import out_folder_option, simulator_set_option
from alloyk.cli.terminal import PROGRESS

if TYPE_CHECKING:
    from alloyk.simulator.ceiling.design import Plan


@click.command()
@click.option(
    "--preset", default="study", show_default=True, metavar="NAME",
    help="The base set-up: easy, study, study-noisy, hard2, hard5 or alloys5.",
)  # fmt: skip
@click.option(
    "--sweep", "sweeps", multiple=True, required=True, metavar="KEY=A,B,…",
    help="A parameter of the simulator, or image_size, and its values; once or twice.",
)  # fmt: skip
@out_folder_option(
    "Folder for plan.csv and plan.png: new, empty or an earlier plan.", required=True
)
@click.option(
    "--image-size", default=224, show_default=True, type=click.IntRange(8),
    help="Pixels along each side.",
)  # fmt: skip
@click.option("--alloys", metavar="A,B…", help="Classes.  [default: those of the preset]")
@simulator_set_option
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0),
    help="Seed of the Monte Carlo draws, the same for all set-ups.",
)  # fmt: skip
def plan(sweeps: tuple[str, ...], out: Path, settings: tuple[str, ...], **options: Any) -> None:
    """Find the set-up that separates the alloys best.

    Computes the reference ceiling at every value, or every pair of values, and at the set-up as it
    is. A ceiling takes about a second.

    \b
    Examples:
      alloyk plan --preset alloys5 --sweep tube.voltage_kvp=35,40,45,50,55 --out voltage/
      alloyk plan --preset hard5 --sweep wedge.height_mm=5,10,20 \\
          --sweep exposure.photons_per_mm2=1e3,1e4,1e5 --out wedge/
      alloyk plan --preset alloys5 --sweep tube.filters_mm.Cu=0,0.05,0.1,0.2 \\
          --set exposure.exposure_time_s=1 --out filter/
    """
    from alloyk.api import plan

    found = plan(sweeps, out=out, set=settings, progress=PROGRESS, **options)
    click.echo(f"reference ceiling, {found.subtitle}\n")
    click.echo(text_table(found.plan))
    click.echo(f"\n{found.verdict}")
    for note in found.notes:
        click.echo(note)
    click.echo(f"table: {out / 'plan.csv'}\nfigure: {out / 'plan.png'}")


def text_table(found: "Plan") -> str:
    """Return values, accuracy and gain of each set-up, best first, as aligned columns."""
    head = [*(sweep.key for sweep in found.sweeps), "accuracy, %", "gain, points"]
    body = [
        [
            *point.values,
            f"{100 * point.ceiling.accuracy:.1f} ± {100 * point.ceiling.error:.1f}",
            f"{100 * point.gain:+.1f} ± {100 * point.gain_error:.1f}",
        ]
        for point in sorted(found.points, key=lambda point: -point.ceiling.accuracy)
    ]
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in [head, *body]
    )
