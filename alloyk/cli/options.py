"""Options that several commands share."""

from pathlib import Path

import click

config_argument = click.argument(
    "config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
arch_option = click.option("--arch", metavar="NAME", help="Architecture, such as resnet18.")
data_option = click.option(
    "--data", type=click.Path(path_type=Path), metavar="DATA",
    help="Data set: a folder or a manifest.csv.",
)  # fmt: skip
set_option = click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True,
    help="Any key of the configuration; may be repeated.",
)  # fmt: skip
simulator_set_option = click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True,
    help="Any parameter of the simulator; may be repeated.",
)  # fmt: skip
