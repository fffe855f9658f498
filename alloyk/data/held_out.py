"""What the training runs of a cross-validation hold out, each in its turn."""

from dataclasses import replace

from alloyk.data.folds import condition_column
from alloyk.data.source import open_dataset
from alloyk.settings.data import DataSettings


def held_out_parts(
    settings: DataSettings, folds: int, leave_out: str | None = None
) -> dict[str, dict[str, str | None]]:
    """Name of each training's folder → its `data.fold` and `data.leave_out`.

    Args:
        settings: Settings of the data set.
        folds: Number of folds.
        leave_out: Column of the manifest of which each value is left out in turn, instead of folds.

    Raises:
        DataError: There is no such column, or nothing varies in it.
    """
    if leave_out is None:
        return {
            f"fold_{k}": {"fold": f"{k}/{folds}", "leave_out": None} for k in range(1, folds + 1)
        }
    # Each training divides all images, and leaves unreadable ones out after that.
    whole = replace(settings, fold=None, leave_out=None, skip_unreadable=False)
    values = condition_column(open_dataset(whole).table, leave_out)[1]
    return {
        f"without_{k}": {"fold": None, "leave_out": f"{leave_out}={value}"}
        for k, value in enumerate(values, start=1)
    }
