"""`alloyk split`."""

from pathlib import Path
from typing import Any

import click

from alloyk.cli.terminal import PROGRESS


@click.command()
@click.argument("src", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--ratios", nargs=3, type=float, default=(0.70, 0.15, 0.15), show_default=True,
    metavar="TRAIN VAL TEST", help="Shares of the three splits; their sum is 1.",
)  # fmt: skip
@click.option(
    "--group-by", metavar="COLUMN|REGEX|none",
    help="What never crosses splits: a column of the manifest, a regular expression on the file "
    "name, or none.  [default: plate_id if the manifest has it]",
)  # fmt: skip
@click.option(
    "--mode", type=click.Choice(["copy", "move", "link", "manifest"]), default="copy",
    show_default=True,
    help="What to do with the files; link makes hard links, manifest writes a table only.",
)  # fmt: skip
@click.option(
    "--shards", metavar="N", type=click.IntRange(1),
    help="Write the images into N large, checksummed files instead of one file each; a given "
    "split is kept.",
)  # fmt: skip
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the draw."
)
def split(src: Path, out: Path, **options: Any) -> None:
    """Sort the images of SRC into OUT/train, OUT/val and OUT/test.

    SRC is a folder of class folders, a manifest.csv, or a flat folder of images without labels.
    The split is stratified by class, and by thickness if the manifest has thickness_mm. Images of
    one plate stay together. The same command resumes an interrupted move; if OUT is SRC, the
    images are split in place.

    With --shards, OUT is a data set whose images are in a few large files, for millions of images
    or slow shared storage; every command reads it as it reads folders.

    \b
    Examples:
      alloyk split radiographs sorted
      alloyk split scans sorted --group-by "^(plate\\d+)_" --mode link
      alloyk split unsorted unsorted --mode move
      alloyk split radiographs radiographs/split.csv --mode manifest
      alloyk split radiographs packed --shards 16
    """
    from alloyk.api import split
    from alloyk.data.reorganize.plan import summary

    click.echo(summary(split(src, out, progress=PROGRESS, **options)))
