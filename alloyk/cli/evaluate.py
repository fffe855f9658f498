"""`alloyk evaluate`."""

from pathlib import Path

import click

from alloyk.cli.options import data_option
from alloyk.cli.terminal import PROGRESS
from alloyk.runtime.tensorflow import load_tensorflow


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@data_option
@click.option(
    "--split", type=click.Choice(["train", "val", "test", "all"]), default="test",
    show_default=True, help="Which images.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Folder to write to.  [default: RUN for its test split, else a folder in RUN]",
)  # fmt: skip
@click.option(
    "--from-predictions", is_flag=True,
    help="Take the predictions file as it is: no network decides anything anew.",
)  # fmt: skip
@click.option(
    "--noise-control", is_flag=True,
    help="Train a random forest on local noise statistics beside RUN: what noise alone tells.",
)  # fmt: skip
@click.option(
    "--classical-control", is_flag=True,
    help="Fit equivalent thickness and effective attenuation from each image's wedge curve, and "
    "classify by these two numbers.",
)  # fmt: skip
def evaluate(run, data, split, out, from_predictions, noise_control, classical_control):
    """Write metrics, report and pictures of RUN.

    \b
    Examples:
      alloyk evaluate saved_models/resnet18
      alloyk evaluate saved_models/resnet18 --data new_radiographs/ --split all --out new/
      alloyk evaluate saved_models/resnet18 --from-predictions
      alloyk evaluate saved_models/resnet18 --noise-control --classical-control
    """
    from alloyk.runs.folder import RunFolder

    baselines = [
        name
        for name, wanted in (("noise", noise_control), ("classical", classical_control))
        if wanted
    ]
    if from_predictions:
        if baselines:
            raise click.UsageError(
                f"--from-predictions reads no images: leave out --{baselines[0]}-control"
            )
        if data:
            raise click.UsageError("--from-predictions reads no images: leave out --data")
        from alloyk.evaluation import evaluate_run

        evaluate_run(run, out=out, split=split)
        out = out or RunFolder(run).evaluation_folder(split)
    else:
        from alloyk.runs.network import network_of

        load_tensorflow(*network_of(run))
        from alloyk.evaluation.split_predictions import evaluate_split

        out = evaluate_split(
            run, data=data, split=split, out=out, baselines=baselines, progress=PROGRESS
        )
    click.echo(RunFolder(out).report_text)
    click.echo(f"pictures: {RunFolder(out).figures_folder}")
