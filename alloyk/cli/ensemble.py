"""`alloyk ensemble`."""

from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--vote", type=click.Choice(["soft", "hard"]), required=True,
    help="Mean of the probabilities, or count of the decisions.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
    help="Folder of the voted run; absent or empty.",
)  # fmt: skip
@click.option(
    "--weights", type=click.Choice(["equal", "validation"]), default="equal", show_default=True,
    help="The same for all members, or those that are best on the validation images.",
)  # fmt: skip
def ensemble(runs, vote, out, weights):
    """Let two or more runs vote, and evaluate the vote as a run of its own.

    Soft voting also writes a model.keras that holds the members; a hard vote has no model, and
    judges no further images.

    \b
    Examples:
      alloyk ensemble saved_models/resnet50 saved_models/vgg16 --vote soft --out saved_models/soft
      alloyk ensemble saved_models/* --vote hard --weights validation --out saved_models/hard
    """
    if vote == "soft":
        from alloyk.runtime.tensorflow import load_tensorflow

        load_tensorflow()
    from alloyk.ensemble import ensemble_runs
    from alloyk.runs.folder import RunFolder

    ensemble_runs(runs, vote, out, weights=weights, say=lambda text: click.echo(text, err=True))
    click.echo(RunFolder(out).report_text)
    click.echo(f"run: {out}\npictures: {RunFolder(out).figures_folder}")
