"""Where the errors are: figures by manifest column, and one decision per plate."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from alloyk.errors import AlloykError
from alloyk.predictions import KEY_COLUMNS, Predictions
from alloyk.statistics import RESAMPLES, accuracy_interval

if TYPE_CHECKING:
    import pandas as pd

# More distinct numbers than this are put into classes.
MOST_VALUES = 12
QUANTILES = 4
MISSING = "(none)"


def breakdown(
    predictions: Predictions,
    columns: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> "pd.DataFrame":
    """Accuracy for each value of manifest columns, or for each combination of several.

    A column of numbers with more than 12 distinct ones (a tube voltage that was drawn) is put into
    four classes of equally many images. Numbers are sorted as numbers.

    Args:
        predictions: The predictions.
        columns: Names of columns of the predictions file; ``label`` is one.
        resamples: Bootstrap resamples for each interval.
        seed: Of the resampling.

    Returns:
        One row per combination that occurs: `columns`, ``images``, ``plates`` (as many as images
        where plates are unknown), ``accuracy``, and its 95 % interval ``low``, ``high``, NaN where
        there is none.

    Raises:
        AlloykError: The file has no such column.
    """
    import pandas as pd

    known = [name for name in predictions.table if name not in ("path", "predicted")]
    for name in columns:
        if name not in known:
            raise AlloykError(f"wanted a column among {', '.join(known)}; found no column {name}")
    ordered = {name: _ordered_values(predictions.table[name].to_numpy()) for name in columns}
    codes = pd.DataFrame({name: code for name, (code, _) in ordered.items()})
    right = predictions.y_true == predictions.y_pred
    rows = []
    for key, found in codes.groupby(list(columns), sort=True).indices.items():
        interval = accuracy_interval(
            right[found], predictions.groups[found], resamples=resamples, seed=seed
        )
        low, high = interval or (np.nan, np.nan)
        values = {
            name: ordered[name][1][code]
            for name, code in zip(columns, key if isinstance(key, tuple) else (key,), strict=True)
        }
        plates = len(np.unique(predictions.groups[found]))
        figures = {"accuracy": right[found].mean(), "low": low, "high": high}
        rows.append({**values, "images": len(found), "plates": plates, **figures})
    return pd.DataFrame(rows)


def telling_columns(predictions: Predictions) -> list[str]:
    """Manifest columns that a breakdown can say something about.

    Numbers that vary, and text with 2 to 12 values; not those that follow from the label or name
    single plates or images.
    """
    columns = []
    plates = len(np.unique(predictions.groups))
    for name in predictions.table:
        if name in (*KEY_COLUMNS, "plate_id", "split", "seed") or str(name).endswith("seed"):
            continue
        code, values = _ordered_values(predictions.table[name].to_numpy())
        if not 2 <= len(values) <= min(MOST_VALUES, max(plates // 2, 1)):
            continue
        pairs = len(np.unique(code * len(predictions.classes) + predictions.y_true))
        if pairs > len(values):  # else each value goes with one label only
            columns.append(name)
    return columns


def _ordered_values(column: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Code of each row and the values that the codes stand for, in their natural order."""
    names = np.array([text if text != "" else MISSING for text in column], dtype=object)
    number = np.array([_number(text) for text in column])
    given = names != MISSING
    if given.any() and np.isfinite(number[given]).all():
        if len(np.unique(number[given])) > MOST_VALUES:
            names = _quantile_names(number, given)
        order: dict = {}
        for name, value in zip(names, number, strict=True):
            order[name] = min(order.get(name, value), value)
        values = sorted(set(names), key=lambda name: (name == MISSING, order[name]))
    else:
        values = sorted(set(names), key=lambda name: (name == MISSING, name))
    index = {name: code for code, name in enumerate(values)}
    return np.array([index[name] for name in names]), values


def _quantile_names(number: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Classes of equally many images, named by their smallest and largest: ``40.1–42.5``."""
    edges = np.unique(np.quantile(number[given], np.linspace(0, 1, QUANTILES + 1)))
    code = np.clip(np.searchsorted(edges, number, side="right") - 1, 0, len(edges) - 2)
    names = np.full(len(number), MISSING, dtype=object)
    for k in range(len(edges) - 1):
        inside = given & (code == k)
        if inside.any():
            names[inside] = f"{number[inside].min():.4g}–{number[inside].max():.4g}"
    return names


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def plate_predictions(predictions: Predictions) -> Predictions:
    """One decision per plate: the mean of its images' probabilities.

    Returns:
        A row per plate, in the order of first appearance: ``path`` is the ``plate_id``, ``images``
        their number. An image without a plate stands for itself.

    Raises:
        AlloykError: The file has no plates, or a plate has images of two labels.
    """
    import pandas as pd

    if not predictions.has_plates:
        raise AlloykError("wanted a plate_id for the images, found none: nothing to put together")
    groups = predictions.groups
    count = np.bincount(groups)
    first = np.unique(groups, return_index=True)[1]
    y_true = predictions.y_true[first]
    mixed = np.flatnonzero(predictions.y_true != y_true[groups])
    plates = predictions.table["plate_id"].to_numpy()
    if len(mixed):
        raise AlloykError(
            f"plate {plates[mixed[0]]} has images of two labels: a plate is of one alloy"
        )
    probabilities = np.stack(
        [np.bincount(groups, column) for column in predictions.probabilities.T], axis=1
    )
    probabilities /= count[:, None]
    y_pred = probabilities.argmax(axis=1)
    names = np.where(plates == "", predictions.table["path"].to_numpy(), plates)[first]
    classes = np.array(predictions.classes, dtype=object)
    table = {
        "path": names,
        "label": classes[y_true],
        "predicted": classes[y_pred],
        "images": count.astype(str).astype(object),
    }
    return Predictions(
        table=pd.DataFrame(table, dtype=object),
        classes=predictions.classes,
        y_true=y_true,
        y_pred=y_pred,
        probabilities=probabilities,
    )
