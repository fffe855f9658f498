"""`alloyk bench`."""

from pathlib import Path

import click

from alloyk.cli.options import out_file_option, run_data_option
from alloyk.cli.terminal import PROGRESS


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@run_data_option
@click.option(
    "--images", type=click.IntRange(min=1), default=300, show_default=True,
    help="Maximum number of test images to measure agreement on.",
)  # fmt: skip
@out_file_option("FILE.csv", "Also write the table as CSV; it must not exist.")
def bench(
    run: Path, files: tuple[Path, ...], data: Path | None, images: int, out: Path | None
) -> None:
    """Measure the model of RUN and its exports: latency, throughput, size, memory, agreement.

    FILE is a file exported from RUN; by default all in RUN/exports, where `alloyk export` without
    --out writes. Each model runs in a process of its own, on one and on two threads. ms_1 and
    p99_ms_1 are the median and the 99th percentile of one image on one thread, images_s_1 the
    throughput; ms_2 and so on the same on two threads.

    \b
    Examples:
      alloyk bench saved_models/resnet18
      alloyk bench saved_models/resnet18 resnet18.tflite resnet18-int8.tflite
    """
    from alloyk.api import bench as bench_models

    result = bench_models(run, files, data=data, images=images, out=out, progress=PROGRESS)
    click.echo(result.to_text(), nl=False)
