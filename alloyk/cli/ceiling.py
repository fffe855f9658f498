"""`alloyk ceiling`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alloyk.cli.options import simulator_set_option

if TYPE_CHECKING:
    from alloyk.simulator.ceiling.reference import Ceiling


@click.command()
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option(
    "--preset", metavar="NAME",
    help="easy, study, study-noisy, hard2, hard5 or alloys5.  [default: study]",
)  # fmt: skip
@click.option(
    "--image-size", type=click.IntRange(8),
    help="Pixels along each side.  [default: 224, or that of DATA]",
)  # fmt: skip
@click.option("--alloys", metavar="A,B…", help="Classes.  [default: those of the preset or DATA]")
@simulator_set_option
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0),
    help="Seed of the Monte Carlo draws.",
)  # fmt: skip
@click.option(
    "--drawn", is_flag=True,
    help="Linearise at twelve drawn poses and voltages instead of the mean ones; slower.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--figure", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.png",
    help="Draw the confusion matrix of the ideal classifier into a new file.",
)  # fmt: skip
def ceiling(data: Path | None, as_json: bool, settings: tuple[str, ...], **options: Any) -> None:
    """Compute the accuracy that an ideal classifier reaches on simulated radiographs.

    Without DATA it is the ceiling of a preset; DATA is a simulated folder or its simulation.yaml.
    The number holds for single images of plates never seen before, under the simulator's own
    model.

    \b
    Examples:
      alloyk ceiling --preset alloys5
      alloyk ceiling --preset hard5 --set wedge.length_mm=70 --set layout.field_mm=84
      alloyk ceiling radiographs/
    """
    from alloyk.api import ceiling

    found = ceiling(data, set=settings, **options)
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=1))
        return
    size = found.ceiling.image_size
    click.echo(f"reference ceiling, simulated, {found.source}, {size}×{size}")
    click.echo("\n".join(table_of(found.ceiling)))
    for note in found.notes:
        click.echo(note)


def table_of(found: "Ceiling") -> list[str]:
    """Return accuracy, confusion matrix with recalls, and the thickness limit as lines."""
    names = [f"Al {label}" for label in found.classes]
    lines = [f"accuracy {100 * found.accuracy:.1f} ± {100 * found.error:.1f} %", ""]
    lines.append(f"{'true, % called':<15}" + "".join(f"{name:>9}" for name in names))
    for name, row, error in zip(names, found.confusion_matrix, found.recall_error, strict=True):
        cells = "".join(f"{100 * share:9.1f}" for share in row)
        lines.append(f"{name:<15}{cells}   recall ± {100 * error:.1f}")
    lines += [
        "",
        f"thickness: best root mean square error {found.thickness_rmse_mm:.4f} "
        f"± {found.thickness_error_mm:.4f} mm, alloy unknown "
        f"({found.thickness_spread_mm:.4f} mm without an image)",
    ]
    return lines
