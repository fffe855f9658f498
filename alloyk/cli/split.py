"""`alloyk split`."""

from pathlib import Path

import click

from alloyk.cli.terminal import PROGRESS


@click.command()
@click.argument("src", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--ratios",
    nargs=3,
    type=float,
    default=(0.70, 0.15, 0.15),
    show_default=True,
    metavar="TRAIN VAL TEST",
    help="Shares of the three splits; their sum is 1.",
)
@click.option(
    "--group-by",
    metavar="COLUMN|REGEX|none",
    help="What never crosses splits: a column of the manifest, a regular expression on "
    "the file name, or none.  [default: plate_id where the manifest has it]",
)
@click.option(
    "--mode",
    type=click.Choice(["copy", "move", "link", "manifest"]),
    default="copy",
    show_default=True,
    help="What happens to the files; link makes hard links, manifest writes a table only.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
def split(src, out, ratios, group_by, mode, seed):  # fmt: skip
    """Sort the images of SRC into OUT/train, OUT/val and OUT/test.

    SRC is a folder of class folders, a manifest.csv, or a flat folder of images without labels.
    Each class gets its share of each split, and so does each thickness where the manifest has
    thickness_mm. Images of one plate stay together. A move that was interrupted is finished by
    the same command; with OUT the same as SRC it splits in place.

    \b
    Examples:
      alloyk split radiographs sorted
      alloyk split scans sorted --group-by "^(plate\\d+)_" --mode link
      alloyk split unsorted unsorted --mode move
      alloyk split radiographs radiographs/split.csv --mode manifest
    """
    from alloyk.data.reorganize.apply import place
    from alloyk.data.reorganize.plan import plan_split, summary

    plan = plan_split(src, out, ratios=ratios, group_by=group_by, mode=mode, seed=seed)
    for note in plan.notes:
        click.echo(note, err=True)
    if plan.resumed:
        click.echo("Finishing a move that was interrupted.", err=True)
    place(plan, PROGRESS)
    click.echo(summary(plan))
