"""`alloyk ensemble`."""

from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--vote", type=click.Choice(["soft", "hard"]), required=True,
    help="Mean of the probabilities, or count of the predicted classes.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
    help="Folder of the voted run; absent or empty.",
)  # fmt: skip
@click.option(
    "--weights", type=click.Choice(["equal", "validation"]), default="equal", show_default=True,
    help="Equal, or by the validation images: of a soft vote the weights with the least log loss, "
    "of a hard vote those of SAMME, by accuracy.",
)  # fmt: skip
def ensemble(runs: tuple[Path, ...], vote: str, out: Path, weights: str) -> None:
    """Combine two or more runs into a voted classifier, and evaluate it as a run.

    A soft vote also writes a model.keras that holds the members. A hard vote has no model and
    cannot predict further images.

    \b
    Examples:
      alloyk ensemble saved_models/resnet50 saved_models/vgg16 --vote soft --out saved_models/soft
      alloyk ensemble saved_models/* --vote hard --weights validation --out saved_models/hard
    """
    from alloyk.api import ensemble

    run = ensemble(runs, vote=vote, out=out, weights=weights)
    click.echo(run.report_text)
    click.echo(f"run: {run.path}\nfigures: {run.figures_folder}")
