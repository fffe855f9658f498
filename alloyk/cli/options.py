"""Options that several commands share."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class FiniteRange(click.FloatRange):
    """A range of numbers without NaN and infinity, which are in every `click.FloatRange`."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or exit with a usage error."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class PageChoice(click.ParamType):
    """A page number, `mean` or `each`."""

    name = "N|mean|each"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """Return the page number, `mean` or `each`."""
        text = str(value)
        if text in ("mean", "each"):
            return text
        if not text.isdecimal():
            self.fail(f"must be a page number (0 or more), mean or each, got {value!r}")
        return int(text)


class RawLayout(click.ParamType):
    """The layout of raw files, as `{dtype: …, shape: [height, width], …}`."""

    name = "LAYOUT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return an `alloyk.imaging.RawLayout`."""
        import yaml

        from alloyk.errors import DataError
        from alloyk.imaging import RawLayout

        try:
            return RawLayout.of(yaml.safe_load(value), "the layout")
        except (DataError, yaml.YAMLError) as error:
            self.fail(" ".join(str(error).split()))


page_option = click.option(
    "--page",
    type=PageChoice(),
    metavar="N|mean|each",
    help="Pages to read from files with several: a page number, the mean, or each as an image.",
)
raw_option = click.option(
    "--raw", type=RawLayout(),
    help='Layout of .raw files, such as "{dtype: uint16, shape: [2048, 2048]}".',
)  # fmt: skip
hdf5_path_option = click.option(
    "--hdf5-path", metavar="PATH",
    help="Path of the array of images inside HDF5 / NeXus files, such as entry/data/frames.",
)  # fmt: skip
address_option = click.option(
    "--address", metavar="CLUSTER",
    help="Process the images on a Ray cluster: HOST:PORT, or local to start one here.",
)  # fmt: skip
cluster_workers_option = click.option(
    "--workers", type=click.IntRange(min=1),
    help="Number of processes on the cluster.  [default: one per GPU, or without GPUs one per 4 "
    "processors]",
)  # fmt: skip
abstain_option = click.option(
    "--abstain", type=FiniteRange(0, 1, min_open=True, max_open=True), metavar="RATE",
    help="Leave the class empty below the run's threshold for this error rate, such as 0.02, and "
    "for images unlike the training images.",
)  # fmt: skip


def out_folder_option(help: str, *, required: bool = False) -> Callable[[Command], Command]:
    """`--out DIR`."""
    kind = click.Path(file_okay=False, path_type=Path)
    return click.option("--out", type=kind, metavar="DIR", required=required, help=help)


def out_file_option(metavar: str, help: str) -> Callable[[Command], Command]:
    """`--out FILE`."""
    kind = click.Path(dir_okay=False, path_type=Path)
    return click.option("--out", type=kind, metavar=metavar, help=help)


config_argument = click.argument("config", required=False, type=click.Path(path_type=Path))
arch_option = click.option("--arch", metavar="NAME", help="Architecture, such as resnet18.")
data_option = click.option(
    "--data", type=click.Path(path_type=Path), metavar="DATA",
    help="Data set: a folder or a manifest.csv.",
)  # fmt: skip
run_data_option = click.option(
    "--data", type=click.Path(path_type=Path), metavar="DATA",
    help="Where the run's data set is now.  [default: where it was in training]",
)  # fmt: skip
set_option = click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True,
    help="Any key of the configuration; may be repeated.",
)  # fmt: skip
time_budget_option = click.option(
    "--time-budget", type=FiniteRange(min=0, min_open=True), metavar="MINUTES",
    help="Time limit for the whole command, in minutes; the learning-rate schedule is fitted to "
    "it.",
)  # fmt: skip
simulator_set_option = click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True,
    help="Any parameter of the simulator; may be repeated.",
)  # fmt: skip
