"""`alloyk simulate`."""

from pathlib import Path
from typing import Any

import click

from alloyk.cli.options import simulator_set_option
from alloyk.cli.terminal import PROGRESS


@click.command()
@click.argument("out", required=False, type=click.Path(path_type=Path))
@click.option(
    "--preset", default="study", show_default=True, metavar="NAME",
    help="easy, study, study-noisy, hard2, hard5 or alloys5.",
)  # fmt: skip
@click.option(
    "--images",
    default=3000,
    show_default=True,
    type=click.IntRange(1),
    help="Number of images; with tube.channels_kvp, of poses.",
)
@click.option(
    "--image-size", default=224, show_default=True, type=click.IntRange(8),
    help="Pixels along each side; the field of view does not depend on them.",
)  # fmt: skip
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0),
    help="Seed of all random numbers.",
)  # fmt: skip
@click.option("--alloys", metavar="A,B…", help="Classes.  [default: those of the preset]")
@click.option(
    "--images-per-plate", default=1, show_default=True, type=click.IntRange(1),
    help="Number of images of each plate.",
)  # fmt: skip
@click.option(
    "--imbalance", default=1.0, show_default=True, type=click.FloatRange(1),
    help="Size of the largest class over that of the smallest.",
)  # fmt: skip
@click.option("--class-order", metavar="A,B…", help="Classes from the largest to the smallest.")
@click.option("--with-flats", is_flag=True, help="Also write flat and dark frames.")
@click.option(
    "--bits", default="16", show_default=True, type=click.Choice(["8", "16", "32"]),
    help="Depth of the files; the counts inside are not scaled to it.",
)  # fmt: skip
@click.option(
    "--format", default="png", show_default=True, type=click.Choice(["png", "tiff"]),
    help="File format of the images.",
)  # fmt: skip
@click.option("--contact-sheet", is_flag=True, help="Also draw each class and thickness.")
@click.option(
    "--from", "recipe", metavar="FILE", type=click.Path(path_type=Path),
    help="Repeat the data set of this simulation.yaml.",
)  # fmt: skip
@simulator_set_option
@click.option("--list-keys", is_flag=True, help="Print every KEY with its value, and exit.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes.  [default: up to one per core]",
)
def simulate(
    out: Path | None, bits: str, list_keys: bool, settings: tuple[str, ...],
    **options: Any,
) -> None:  # fmt: skip
    """Write a labelled set of simulated radiographs into the new folder OUT.

    OUT has one folder per alloy; the image files hold the detector's counts. manifest.csv has the
    plate, its thickness and the tube voltage of each image; plates.csv has the true thickness and
    composition of each plate. `--from OUT/simulation.yaml` repeats the data set.

    \b
    Examples:
      alloyk simulate radiographs
      alloyk simulate five --preset alloys5 --images 600 --contact-sheet
      alloyk simulate stepped --images-per-plate 3 --set tube.voltage_steps_kvp=40,45,50
      alloyk simulate channels --preset alloys5 --set tube.channels_kvp=40,45,50
      alloyk simulate again --from radiographs/simulation.yaml
    """
    if options["recipe"]:
        _refuse_other_options(click.get_current_context())
    if list_keys:
        _print_keys(options, settings)
        return
    if out is None:
        raise click.UsageError("Missing argument 'OUT'.")
    from alloyk.api import simulate

    found = simulate(out, bits=int(bits), set=settings, progress=PROGRESS, **options)
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    size, files, poses = found.recipe.image_size, found.recipe.files, found.recipe.images
    channels = f", {files // poses} of each pose" if files > poses else ""
    click.echo(f"{out}: {files} images of {size}×{size}{channels}")
    counts = {label: n * files // poses for label, n in found.class_counts.items()}
    click.echo(", ".join(f"Al {label}: {n}" for label, n in counts.items()))


def _print_keys(options: dict[str, Any], settings: tuple[str, ...]) -> None:
    """Print each parameter of the simulator with its value."""
    from alloyk.api.settings import alloy_labels
    from alloyk.simulator.dataset.recipe import load_recipe, make_recipe
    from alloyk.simulator.settings.overrides import parameter_keys, parameter_value, parse_settings

    if options["recipe"]:
        recipe = load_recipe(options["recipe"])
    else:
        labels = alloy_labels(options["alloys"])
        recipe = make_recipe(
            options["preset"], alloys=labels, overrides=parse_settings(settings),
            images=options["images"], image_size=options["image_size"],
        )  # fmt: skip
    for key in parameter_keys():
        click.echo(f"{key}={_as_setting(parameter_value(recipe.parameters, key))}")


def _refuse_other_options(ctx: click.Context) -> None:
    """Refuse options beside --from that its file states."""
    free = {"out", "recipe", "list_keys", "workers", "contact_sheet"}
    for parameter in ctx.command.params:
        given = ctx.get_parameter_source(parameter.name or "")
        if given is click.core.ParameterSource.COMMANDLINE and parameter.name not in free:
            raise click.UsageError(f"{parameter.opts[0]} cannot be combined with --from.")


def _as_setting(value: Any) -> str:
    """Return a value as --set takes it."""
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return ",".join(map(_as_setting, value))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_as_setting(v)}" for key, v in value.items()) + "}"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)
