"""`alloyk audit`."""

from pathlib import Path

import click

from alloyk.cli.terminal import PROGRESS


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every image concerned.")
@click.option(
    "--figures", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Draw classes, intensities, examples and near-duplicates into this folder.",
)  # fmt: skip
@click.option(
    "--series", metavar="COLUMN|REGEX",
    help="Which images belong together: a column of the manifest, or a regular expression on the "
    "file name.  [default: plate_id, else the name before its last _]",
)  # fmt: skip
@click.pass_context
def audit(ctx, data, as_json, figures, series):
    """Say what is wrong with the data set DATA before training on it.

    Every image is read once. Each finding says what to do; the exit code is 1 when something must
    be fixed. DATA is a data set or a plain folder of images.

    \b
    Examples:
      alloyk audit radiographs
      alloyk audit scans --series "^(plate\\d+)_" --figures look/
      alloyk audit radiographs --json > audit.json
    """
    from alloyk.audit import audit_dataset, find_all, must_fix
    from alloyk.audit.report import format_json, format_text

    audited = audit_dataset(data, series=series, progress=PROGRESS)
    findings = find_all(audited)
    if figures:
        from alloyk.runtime.tensorflow import load_tensorflow

        load_tensorflow()
        from alloyk.audit.figures import draw_figures

        draw_figures(audited, figures)
    click.echo((format_json if as_json else format_text)(audited, findings), nl=False)
    if figures:
        click.echo(f"pictures: {figures}", err=True)
    if must_fix(findings):
        ctx.exit(1)
