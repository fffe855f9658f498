"""`alloyk evaluate`."""

from pathlib import Path

import click

from alloyk.cli.options import data_option
from alloyk.cli.tensorflow import load_tensorflow


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
def evaluate(run, data, split, out, from_predictions):
    """Write metrics, report and pictures of RUN.

    \b
    Examples:
      alloyk evaluate saved_models/resnet18
      alloyk evaluate saved_models/resnet18 --data new_radiographs/ --split all --out new/
      alloyk evaluate saved_models/resnet18 --from-predictions
    """
    if from_predictions:
        if data:
            raise click.UsageError("--from-predictions reads no images: leave out --data")
        from alloyk.evaluation import default_folder, evaluate_run

        evaluate_run(run, out=out, split=split)
        out = out or default_folder(run, split)
    else:
        load_tensorflow()
        from alloyk.split_predictions import evaluate_split

        out = evaluate_split(run, data=data, split=split, out=out)
    click.echo((out / "report.txt").read_text(encoding="utf-8"))
    click.echo(f"pictures: {out / 'figures'}")
