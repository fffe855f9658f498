"""`alloyk plan`."""

import csv
from pathlib import Path

import click

from alloyk.cli.terminal import PROGRESS
from alloyk.files import whole_file


@click.command()
@click.option(
    "--preset", default="study", show_default=True, metavar="NAME",
    help="The set-up as it is: easy, study, study-noisy, hard2, hard5 or alloys5.",
)  # fmt: skip
@click.option(
    "--sweep", "sweeps", multiple=True, required=True, metavar="KEY=A,B,…",
    help="A parameter of the simulator, or image_size, and its values; once or twice.",
)  # fmt: skip
@click.option(
    "--out", required=True, metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
    help="Folder for plan.csv and plan.png; an earlier plan there is replaced.",
)  # fmt: skip
@click.option("--image-size", default=224, show_default=True, type=click.IntRange(8))
@click.option("--alloys", metavar="A,B…", help="Classes.  [default: the preset's]")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True,
    help="Any parameter of the set-up as it is; may be repeated.",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
def plan(preset, sweeps, out, image_size, alloys, settings, seed):
    """Which set-up would tell the alloys best apart, and is it worth measuring?

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
    from alloyk.simulator.ceiling.design import parse_sweeps, plan_rows, plan_setups, verdict
    from alloyk.simulator.settings.overrides import parse_settings, with_overrides
    from alloyk.simulator.settings.presets import preset_parameters

    parameters = with_overrides(preset_parameters(preset), parse_settings(settings, alloys))
    sweeps = parse_sweeps(sweeps)
    found = plan_setups(parameters, sweeps, image_size, seed=seed, progress=PROGRESS)
    rows = plan_rows(found)
    write_table(out / "plan.csv", rows)

    from alloyk.plots import plot_plan, save_figure

    subtitle = f"simulated, preset {preset}, {image_size}×{image_size}"
    save_figure(plot_plan(found, subtitle=subtitle), out / "plan.png")
    click.echo(f"reference ceiling, {subtitle}\n")
    click.echo(text_table(found))
    click.echo(f"\n{verdict(found)}")
    for note in found.notes:
        click.echo(note)
    click.echo(f"table: {out / 'plan.csv'}\npicture: {out / 'plan.png'}")


def write_table(path: Path, rows: list[dict]) -> None:
    """The rows as CSV."""
    with (
        whole_file(path) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def text_table(found) -> str:
    """Values, accuracy and gain of each set-up, best first, as aligned columns."""
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
