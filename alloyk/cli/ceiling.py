"""`alloyk ceiling`."""

import json
from pathlib import Path

import click

from alloyk.errors import AlloykError


@click.command()
@click.argument("data", required=False, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--preset", default="study", show_default=True, metavar="NAME",
    help="easy, study, study-noisy, hard2, hard5 or alloys5.",
)  # fmt: skip
@click.option(
    "--image-size", type=click.IntRange(8),
    help="Pixels along each side.  [default: 224, or that of DATA]",
)  # fmt: skip
@click.option("--alloys", metavar="A,B…", help="Classes.  [default: the preset's or DATA's]")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True,
    help="Any parameter of the simulator; may be repeated.",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option(
    "--drawn", is_flag=True,
    help="Linearise at twelve drawn poses and voltages instead of the mean ones; takes longer.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--figure", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.png",
    help="Draw the confusion matrix of the ideal classifier.",
)  # fmt: skip
@click.pass_context
def ceiling(ctx, data, preset, image_size, alloys, settings, seed, drawn, as_json, figure):
    """Print the accuracy that an ideal classifier reaches on simulated radiographs.

    Without DATA it is that of a preset; DATA is a simulated folder or its simulation.yaml. The
    number holds for single images of plates never seen before, under the simulator's own model.

    \b
    Examples:
      alloyk ceiling --preset alloys5
      alloyk ceiling --preset hard5 --set wedge.length_mm=70 --set layout.field_mm=84
      alloyk ceiling radiographs/
    """
    from alloyk.simulator.ceiling.reference import caveats, reference_ceiling
    from alloyk.simulator.settings.overrides import parse_settings, with_overrides
    from alloyk.simulator.settings.presets import preset_parameters

    shares = None
    if data:
        if ctx.get_parameter_source("preset") is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("--preset cannot be combined with DATA")
        recipe = recipe_of(data)
        parameters, shares = recipe.parameters, recipe.class_counts()
        image_size = image_size or recipe.image_size
        source = str(data)
    else:
        parameters, source = preset_parameters(preset), f"preset {preset}"
    overrides = parse_settings(settings, alloys)
    if alloys:
        shares = None
    parameters = with_overrides(parameters, overrides)
    found = reference_ceiling(
        parameters, image_size or 224, shares=shares, seed=seed, drawn_circumstances=drawn
    )
    notes = caveats(parameters, found.image_size)
    if figure:
        from alloyk.plots import plot_ceiling_matrix, save_figure

        save_figure(plot_ceiling_matrix(found.as_dict(), subtitle=f"simulated, {source}"), figure)
    if as_json:
        click.echo(json.dumps({**found.as_dict(), "notes": notes}, indent=1))
        return
    size = found.image_size
    click.echo(f"reference ceiling, simulated, {source}, {size}×{size}")
    click.echo("\n".join(table_of(found)))
    for note in notes:
        click.echo(note)


def recipe_of(data: Path):
    """The recipe of a simulated data set, given its folder or its simulation.yaml."""
    from alloyk.simulator.dataset.recipe import load_recipe

    file = data / "simulation.yaml" if data.is_dir() else data
    if not file.is_file():
        raise AlloykError(
            f"wanted a simulated data set, found no simulation.yaml in {data}: a ceiling is known "
            "for the simulator's images only"
        )
    return load_recipe(file)


def table_of(found) -> list[str]:
    """Accuracy, confusion matrix with recalls, and the limit for the thickness, as lines."""
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
