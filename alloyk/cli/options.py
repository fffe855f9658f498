"""Options that several commands share."""

from pathlib import Path

import click

config_argument = click.argument(
    "config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
arch_option = click.option("--arch", metavar="NAME", help="Architecture, such as resnet18.")
data_option = click.option(
    "--data", type=click.Path(path_type=Path), metavar="DATA", help="Folder or manifest.csv."
)
set_option = click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True,
    help="Any key of the configuration; may be repeated.",
)  # fmt: skip


def overrides_from(settings, arch=None, data=None) -> dict:
    """`--set`, `--arch` and `--data` as one nested dictionary for `resolve_config`."""
    from alloyk.config import combine, parse_overrides

    overrides = parse_overrides(settings)
    if arch:
        overrides = combine(overrides, {"model": {"arch": arch}})
    if data:
        overrides = combine(overrides, {"data": {"path": str(data)}})
    return overrides
