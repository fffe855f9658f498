"""Whether a run can be fine-tuned with fake quantisation, and how."""

from pathlib import Path

from alloyk.errors import ModelError
from alloyk.messages import shown
from alloyk.runs.folder import RunFolder


def refuse_unsuitable(run: str | Path) -> None:
    """Require a finished run of `alloyk train` that was not fine-tuned with fake quantisation.

    Raises:
        ModelError: It is something else.
    """
    folder = RunFolder(run)
    name, above = shown(folder.path), RunFolder(folder.path.absolute().parent)
    if folder.ensemble is not None:
        found = "an ensemble; fine-tune its members"
    elif folder.cross_validation:
        found = "a cross-validation; train one network with `alloyk train`"
    elif folder.path.name in above.cross_validation.get("parts", {}):
        found = "a fold of a cross-validation; train one network with `alloyk train`"
    elif folder.settings.fine_tuned_from is not None:
        found = f"already fine-tuned from {shown(folder.settings.fine_tuned_from)}; use that run"
    else:
        folder.require_model("a finished run")
        if folder.is_finished and folder.config_file.is_file():
            return
        found = (
            f"without {folder.config_file.name}; restore the file"
            if folder.is_finished
            else f"without {folder.metrics_file.name}; finish it with `alloyk train --run {name} "
            "--resume`"
        )
    raise ModelError(
        f"the run to fine-tune must be a finished run of `alloyk train`, got {name}, {found}"
    )


def fine_tuning_command(run: str | Path) -> str | None:
    """Return the command that fine-tunes a run for its int8 export; None if that was done."""
    if RunFolder(run).settings.fine_tuned_from is not None:
        return None
    return f"alloyk train --quantize-from {shown(run)}"
