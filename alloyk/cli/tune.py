"""`alloyk tune`."""

from pathlib import Path

import click

from alloyk.cli.options import (
    arch_option,
    config_argument,
    data_option,
    overrides_from,
    set_option,
)
from alloyk.cli.terminal import PROGRESS
from alloyk.runtime.tensorflow import load_tensorflow


@click.command()
@config_argument
@click.option(
    "--search", type=click.Choice(["grid", "random"]), default="grid", show_default=True,
    help="Every combination, or random ones.",
)  # fmt: skip
@click.option(
    "--space", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="YAML file: key to list of choices, or to {min, max, step or log}.",
)  # fmt: skip
@click.option(
    "--over", metavar="KEY=A,B,…", multiple=True,
    help="A key and its choices, added to --space; may be repeated.",
)  # fmt: skip
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="Maximum number of trials.  [default: all; random: 10]",
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Folder of the search; resumes one that is there.  [default: "
    "saved_models/tune-<arch>, numbered]",
)  # fmt: skip
@arch_option
@data_option
@set_option
def tune(config, search, space, over, trials, out, arch, data, settings):
    """Search for better settings around the experiment that CONFIG describes.

    The best configuration is written to best.yaml in --out; `alloyk train` takes it.

    \b
    Examples:
      alloyk tune --arch resnet18 --over model.dropout=0.1,0.3 --over train.batch_size=16,32
      alloyk tune experiment.yaml --search random --space space.yaml --trials 20
    """
    from alloyk.config import resolve_config

    overrides = overrides_from(settings, arch, data)
    resolved = resolve_config(config, overrides)
    load_tensorflow(resolved.model.arch, resolved.preprocess.image_size)
    from alloyk.tuning.search import run_search
    from alloyk.tuning.space import read_space, space_from

    wanted = {**(read_space(space) if space else {}), **space_from(over)}
    if not wanted:
        raise click.UsageError("nothing to search over; give --space FILE or --over KEY=A,B")
    best = run_search(
        search, wanted, out, path=config, overrides=overrides, max_trials=trials, progress=PROGRESS
    )
    out = best.parent
    click.echo((out / "trials.csv").read_text(encoding="utf-8"))
    click.echo(f"best: {best}\ntrain it: alloyk train {best}")
