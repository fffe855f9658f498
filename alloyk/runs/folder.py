"""Run folders: the model in one, or why there is none."""

from pathlib import Path

from alloyk.errors import AlloykError
from alloyk.imaging import shown

RUN_MODEL = "model.keras"
ENSEMBLE_FILE = "ensemble.yaml"
CROSS_VALIDATION_FILE = "cross_validation.json"


def run_model(run: str | Path, wanted: str = "a run folder") -> Path:
    """The model file of a finished run.

    Args:
        run: Its folder.
        wanted: What an error says was wanted.

    Raises:
        AlloykError: There is no such folder, or it has no model: as no hard vote and no
            cross-validation has, and no run before its training ends.
    """
    run = Path(run)
    if (run / RUN_MODEL).is_file():
        return run / RUN_MODEL
    raise AlloykError(_why_no_model(run, wanted))


def _why_no_model(run: Path, wanted: str) -> str:
    name = shown(run)
    if not run.is_dir():
        found = "a file" if run.exists() else "no folder"
        return f"wanted {wanted}, found {found} {name}: check the path"
    if (run / ENSEMBLE_FILE).is_file():
        return (
            f"{name} is a hard vote, which has decisions but no {RUN_MODEL}: let the same runs "
            f"vote with --vote soft, or evaluate {name} with --from-predictions"
        )
    if (run / CROSS_VALIDATION_FILE).is_file():
        return (
            f"{name} is a cross-validation, which has a {RUN_MODEL} in the folder of each training "
            f"but none of its own: name one of them, or evaluate {name} with --from-predictions"
        )
    if (run / "metrics.json").is_file():
        return (
            f"{name} is a finished run without its {RUN_MODEL}: put that back, or train again by "
            f"`alloyk train {shown(run / 'config.yaml')} --run NEW`"
        )
    if (run / "config.yaml").is_file():
        return (
            f"{name} has no {RUN_MODEL}: its training did not end; go on with it by "
            f"`alloyk train --run {name} --resume`"
        )
    return f"wanted {wanted}, found {name} without {RUN_MODEL}: check the path"
