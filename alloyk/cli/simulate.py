"""`alloyk simulate`."""

from pathlib import Path

import click

from alloyk.cli.terminal import PROGRESS


@click.command()
@click.argument("out", required=False, type=click.Path(path_type=Path))
@click.option(
    "--preset",
    default="study",
    show_default=True,
    metavar="NAME",
    help="easy, study, study-noisy, hard2, hard5 or alloys5.",
)
@click.option("--images", default=3000, show_default=True, type=click.IntRange(1))
@click.option(
    "--image-size",
    default=224,
    show_default=True,
    type=click.IntRange(8),
    help="Pixels along each side; a fixed field is binned into them.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--alloys", metavar="A,B…", help="Classes.  [default: the preset's]")
@click.option("--images-per-plate", default=1, show_default=True, type=click.IntRange(1))
@click.option(
    "--imbalance",
    default=1.0,
    show_default=True,
    type=click.FloatRange(1),
    help="Largest over smallest class.",
)
@click.option("--class-order", metavar="A,B…", help="Classes from the largest to the smallest.")
@click.option("--with-flats", is_flag=True, help="Flat and dark frames too, in _calibration/.")
@click.option(
    "--bits",
    default="16",
    show_default=True,
    type=click.Choice(["8", "16", "32"]),
    help="Depth of the files; the counts inside are not scaled to it.",
)
@click.option(
    "--format", "image_format", default="png", show_default=True, type=click.Choice(["png", "tiff"])
)
@click.option("--contact-sheet", is_flag=True, help="A picture of each class and thickness too.")
@click.option(
    "--from",
    "recipe_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Make the data set of this simulation.yaml again.",
)
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Any parameter of the simulator; may be repeated.",
)
@click.option("--list-keys", is_flag=True, help="Print every KEY with its value, and end.")
@click.option("--workers", type=click.IntRange(1), help="Threads.  [default: one for each core]")
@click.pass_context
def simulate(
    ctx, out, recipe_file, settings, list_keys, workers, contact_sheet, **size
):  # fmt: skip
    """Write a labelled set of simulated radiographs into the new folder OUT.

    The images lie in one folder per alloy, as 16-bit files with the detector's counts;
    manifest.csv tells the plate, its thickness and the tube voltage of each, plates.csv the true
    thickness and composition of each plate, simulation.yaml how to make it all again.

    \b
    Examples:
      alloyk simulate radiographs
      alloyk simulate five --preset alloys5 --images 600 --contact-sheet
      alloyk simulate stepped --images-per-plate 3 --set tube.voltage_steps_kvp=40,45,50
      alloyk simulate again --from radiographs/simulation.yaml
    """
    from alloyk.simulator.dataset.recipe import load_recipe, make_recipe
    from alloyk.simulator.settings.overrides import parameter_keys, parameter_value, parse_settings

    if out is None and not list_keys:
        raise click.UsageError("Missing argument 'OUT'.")
    if recipe_file:
        _refuse_other_options(ctx)
        recipe = load_recipe(recipe_file)
    else:
        alloys = size.pop("alloys")
        recipe = make_recipe(
            alloys=alloys.split(",") if alloys else None,
            overrides=parse_settings(settings),
            class_order=tuple(filter(None, (size.pop("class_order") or "").split(","))),
            bits=int(size.pop("bits")),
            **size,
        )
    if list_keys:
        for key in parameter_keys():
            click.echo(f"{key}={_as_setting(parameter_value(recipe.parameters, key))}")
        return

    from alloyk.simulator.dataset.writer import write_dataset
    from alloyk.simulator.physics.beam import Beam
    from alloyk.simulator.physics.validity import validity_notes

    write_dataset(recipe, out, contact_sheet=contact_sheet, workers=workers, progress=PROGRESS)
    counts = recipe.class_counts()
    for note in validity_notes(Beam(recipe.parameters), recipe.image_size):
        click.echo(f"note: {note}", err=True)
    click.echo(f"{out}: {recipe.images} images of {recipe.image_size}×{recipe.image_size}")
    click.echo(", ".join(f"Al {label}: {count}" for label, count in counts.items()))


def _refuse_other_options(ctx: click.Context) -> None:
    """What --from FILE states cannot be stated again beside it."""
    free = {"out", "recipe_file", "list_keys", "workers", "contact_sheet"}
    for parameter in ctx.command.params:
        given = ctx.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
        if given and parameter.name not in free:
            raise click.UsageError(f"{parameter.opts[0]} cannot be combined with --from.")


def _as_setting(value) -> str:
    """A value as --set would take it."""
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return ",".join(map(_as_setting, value))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_as_setting(v)}" for key, v in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)
