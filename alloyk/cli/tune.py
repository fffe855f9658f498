"""`alloyk tune`."""

from pathlib import Path
from typing import Any

import click

from alloyk.cli.options import (
    FiniteRange,
    arch_option,
    config_argument,
    data_option,
    out_folder_option,
    set_option,
)
from alloyk.cli.terminal import PROGRESS


@click.command()
@config_argument
@click.option(
    "--search", type=click.Choice(["grid", "random", "bayesian", "hyperband", "pbt"]),
    default="grid", show_default=True, help="How the values of trials are chosen.",
)  # fmt: skip
@click.option(
    "--space", type=click.Path(path_type=Path), metavar="FILE",
    help="YAML file that maps each key to a list of choices or to a range (min, max, optionally "
    "step or log).",
)  # fmt: skip
@click.option(
    "--over", metavar="KEY=A,B,…", multiple=True,
    help="A key and its choices, added to --space; may be repeated.",
)  # fmt: skip
@click.option(
    "--trials", type=click.IntRange(min=1),
    help="Maximum number of trials.  [default: all; random: 10; bayesian: 20]",
)  # fmt: skip
@click.option(
    "--folds", type=click.IntRange(min=2),
    help="Compare trials by the mean over this many folds of the training and validation images, "
    "by plate; not for pbt.  [default: the validation split]",
)  # fmt: skip
@click.option(
    "--time-budget", type=FiniteRange(min=0, min_open=True), metavar="MINUTES",
    help="Start no further epoch after this time; the same command resumes the search.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True,
    help="Number of parallel processes. To add more, run the same command with the same --out.",
)  # fmt: skip
@click.option(
    "--population", type=click.IntRange(min=2),
    help="Number of members of pbt.  [default: 8]",
)  # fmt: skip
@click.option(
    "--generation-epochs", type=click.IntRange(min=1), metavar="EPOCHS",
    help="Epochs after which the worst members of pbt copy the best.  [default: train.epochs / 10]",
)  # fmt: skip
@click.option(
    "--burn-in", type=click.IntRange(min=0), metavar="EPOCHS",
    help="Epochs of pbt before which no member copies another.  [default: 0]",
)  # fmt: skip
@click.option(
    "--address", metavar="CLUSTER",
    help="HOST:PORT of the Ray cluster that trains the members of pbt, or local.  [default: local]",
)  # fmt: skip
@out_folder_option(
    "Folder of the search; an existing search in it is resumed.  [default: "
    "saved_models/tune-<arch>, numbered]"
)
@arch_option
@data_option
@set_option
def tune(config: Path | None, settings: tuple[str, ...], **options: Any) -> None:
    """Search for better settings around the experiment described by CONFIG.

    The best configuration is written to best.yaml in --out; `alloyk train` takes it. pbt
    (Population-Based Training) finds a schedule, which `alloyk train --replay` repeats. The
    report is report.html in --out; `alloyk report` makes it again at any time.

    \b
    Examples:
      alloyk tune --arch resnet18 --over model.dropout=0.1,0.3 --over train.batch_size=16,32
      alloyk tune experiment.yaml --search random --space space.yaml --trials 20
      alloyk tune --data DATA --space configs/tune_cnn.yaml --search hyperband --workers 2
      alloyk tune --data DATA --space configs/tune_pbt.yaml --search pbt --workers 2
    """
    from alloyk.api import tune

    found = tune(config, set=settings, progress=PROGRESS, **options)
    click.echo(found.trials_text)
    train = f"--replay {found.lineage}" if found.lineage else found.best
    click.echo(f"best: {found.best}\nreport: {found.page}\ntrain it: alloyk train {train}")
