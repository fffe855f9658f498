"""`alloyk explain`."""

from pathlib import Path

import click

from alloyk.cli.options import data_option
from alloyk.cli.terminal import PROGRESS
from alloyk.runtime.tensorflow import load_tensorflow


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option(
    "--method", type=click.Choice(["gradcam", "shap"]), default="gradcam", show_default=True,
    help="shap wants the library shap.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Folder for pictures and arrays.  [default: explain_METHOD in RUN]",
)  # fmt: skip
@click.option(
    "--each", default=1, show_default=True, type=click.IntRange(1), metavar="N",
    help="Without IMAGE: how many of the most and of the least confident of each class.",
)  # fmt: skip
@click.option(
    "--class", "label", metavar="LABEL",
    help="Class to explain.  [default: what each image is taken for]",
)  # fmt: skip
@click.option(
    "--layer", default="auto", show_default=True, metavar="NAME",
    help="Of gradcam: auto (the last with 7×7 cells), last, or a layer's name.",
)  # fmt: skip
@click.option(
    "--explainer", type=click.Choice(["gradient", "partition"]), default="gradient",
    show_default=True, help="Of shap.",
)  # fmt: skip
@click.option(
    "--samples", type=click.IntRange(2), metavar="N",
    help="Of shap: points or evaluations per image.  [default: 200, partition 1000]",
)  # fmt: skip
@data_option
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
def explain(run, images, method, out, each, label, layer, explainer, samples, data, seed):
    """Show which places of an IMAGE spoke for the class that RUN took it for.

    IMAGE is an image file, a folder or a quoted pattern; without one, the most and the least
    confident test image of each class are explained. The maps are made again with the weights out
    of order: what hardly changes then is a picture of the image, not of what was learnt.

    \b
    Examples:
      alloyk explain saved_models/resnet18
      alloyk explain saved_models/resnet18 plate.png --method shap --out why/
      alloyk explain saved_models/fnn "radiographs/*.tif" --method shap --explainer partition
    """
    if method != "shap" and (samples or explainer != "gradient"):
        raise click.UsageError("--samples and --explainer belong to --method shap")
    if method != "gradcam" and layer != "auto":
        raise click.UsageError("--layer belongs to --method gradcam")
    if out is None and run.is_file():
        raise click.UsageError("--out DIR is wanted where RUN is a file")
    from alloyk.inference import find_images
    from alloyk.runs.folder import RunFolder
    from alloyk.runs.network import network_of

    paths, labels = find_images(images) if images else [], None
    load_tensorflow(*network_of(run))
    from alloyk.explain import (
        check_output_folder,
        chosen_images,
        describe,
        describe_sanity,
        explain,
        format_decisions,
        write_explanation,
    )

    out = out or RunFolder(run).explanation_folder(method)
    check_output_folder(out, run)
    if not images:
        paths, labels = chosen_images(run, data=data, count=each)

    explanation = explain(
        run, paths, method=method, explainer=explainer, label=label, labels=labels,
        layer=layer, samples=samples, data=data, seed=seed, progress=PROGRESS,
    )  # fmt: skip
    out = write_explanation(explanation, out, run)
    click.echo(format_decisions(explanation))
    click.echo(f"{describe(explanation)}\n{describe_sanity(explanation.sanity)}")
    click.echo(f"maps: {out / 'maps.npz'}\npictures: {out}")
