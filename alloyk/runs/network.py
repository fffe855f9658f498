"""The architecture and image size of a trained model, if its run folder has them."""

from pathlib import Path

from alloyk.errors import AlloykError
from alloyk.runs.folder import RunFolder


def network_of(model: str | Path) -> tuple[str | None, tuple[int, int] | None]:
    """Return architecture and `(height, width)` of a run or of a model file in a run folder.

    Both are None where no configuration is found, as for an exported file or an ensemble.
    """
    path = Path(model)
    run = RunFolder(path if path.is_dir() else path.parent)
    try:
        return run.settings.arch, run.settings.image_size
    except AlloykError:
        return None, None
