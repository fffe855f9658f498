"""Images of one exposure series as the channels of one sample, by a column of the data set.

Rows of one plate (or one pose) become a single row, with one file for each chosen value of the
column; its path lists these files.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alloyk.data.names import PLATE, column_called
from alloyk.errors import DataError
from alloyk.imaging import ChannelChoice, channel_name
from alloyk.imaging.channels import SEPARATOR
from alloyk.imaging.pages import CHANNELS, names_channels
from alloyk.messages import counted, few
from alloyk.targets.cells import number_in

if TYPE_CHECKING:
    import pandas as pd

POSE = "pose_id"
"""Column that numbers the exposure series where a plate has several."""

# What the channels of one sample must agree in.
_ONE_VALUE = ("label", "split", PLATE)


def with_channels(
    table: "pd.DataFrame", choice: ChannelChoice | None
) -> "tuple[pd.DataFrame, list[str]]":
    """Make one row of the rows that are the channels of one sample.

    Args:
        table: Column `path` and those of the choice; one row per image.
        choice: Which rows belong together; None leaves the table as it is.

    Returns:
        A row for each sample, in the order of its first image; `path` as
        `alloyk.imaging.channel_name` makes it. Cells that differ are joined by `|`. And a note on
        the images left out, if any.

    Raises:
        DataError: A column is missing, a sample lacks a channel, has it twice, or its channels
            differ in label, split or plate.
    """
    if choice is None:
        return table, []
    column = _column(table, choice.column, "channels.column")
    by = _sample_column(table, choice)
    numbers = {_kind(value): number for number, value in enumerate(choice.values)}
    kinds = {cell: numbers.get(_kind(cell), -1) for cell in set(table[column])}
    channel = table[column].map(kinds).to_numpy(np.int64)
    _refuse_unknown_values(table, column, choice, channel)
    used = table[channel >= 0].reset_index(drop=True)
    channel = channel[channel >= 0]
    keys = used[by].astype(str).str.strip()
    if (keys == "").any():
        raise DataError(
            f"the column {by} must say which images are one sample, but it is empty for "
            f"{few(used.loc[keys == '', 'path'])}; fill it, or set data.channels.by"
        )
    sample = keys.map({key: number for number, key in enumerate(keys.unique())}).to_numpy()
    _refuse_incomplete(used, choice, by, keys.unique(), sample, channel)
    rows = np.lexsort((channel, sample)).reshape(-1, choice.count)
    notes = []
    if left_out := len(table) - len(used):
        others = sorted({str(cell) for cell, number in kinds.items() if number < 0})
        notes = [f"Left out {counted(left_out)} with {column} {few(others)}, which no channel has."]
    if choice.count == 1:
        return used.iloc[rows[:, 0]].reset_index(drop=True), notes
    return _joined(used, rows, by), notes


def refuse_channels(root: Path, paths: Iterable[str]) -> None:
    """Refuse rows that name images of several channels.

    Such an image would be taken for colour, or have more channels than the network.

    Args:
        root: The folder that the paths are relative to.
        paths: Path of each sample.

    Raises:
        DataError: A row names `FILE[channels]`.
    """
    refused = [
        path for path in paths if path.endswith(f"[{CHANNELS}]") and names_channels(root / path)
    ]
    if refused:
        raise DataError(
            f"{counted(len(refused), 'row', 'name')} images of several channels ({few(refused)}), "
            "but a row must name one channel; give each page a row, and join them by data.channels"
        )


def _column(table: "pd.DataFrame", name: str, setting: str) -> str:
    found = column_called(table.columns, name)
    if found is None:
        raise DataError(
            f"data.{setting} must be a column of the manifest, got {name!r}; it has "
            f"{few(map(repr, table.columns), 12)}"
        )
    return found


def _sample_column(table: "pd.DataFrame", choice: ChannelChoice) -> str:
    if choice.by is not None:
        return _column(table, choice.by, "channels.by")
    for name in (POSE, PLATE):
        if name in table.columns:
            return name
    raise DataError(
        f"data.channels needs a column {PLATE} or {POSE} that is equal for the images of one "
        f"sample, got {few(map(repr, table.columns), 12)}; add one, or set data.channels.by"
    )


def _kind(value: object) -> object:
    """What values are compared by: 40, 40.0 and `40,0` are equal."""
    number = number_in(value)
    return number if np.isfinite(number) else str(value).strip()


def _refuse_unknown_values(
    table: "pd.DataFrame", column: str, choice: ChannelChoice, channel: np.ndarray
) -> None:
    missing = [value for number, value in enumerate(choice.values) if not (channel == number).any()]
    if missing:
        found = few(sorted(set(map(str, table[column]))), 8)
        raise DataError(
            f"data.channels.values must be values of the column {column} ({found}), got "
            f"{missing[0]}; correct them, or add its images"
        )


def _refuse_incomplete(
    used: "pd.DataFrame",
    choice: ChannelChoice,
    by: str,
    keys: np.ndarray,
    sample: np.ndarray,
    channel: np.ndarray,
) -> None:
    """Refuse samples that lack a channel or have one twice."""
    counts = np.zeros((len(keys), choice.count), np.int64)
    np.add.at(counts, (sample, channel), 1)
    for bad, what in ((counts > 1, "has {} images"), (counts == 0, "has no image")):
        if not bad.any():
            continue
        first, place = np.argwhere(bad)[0]
        value = f"{choice.column} {choice.values[place]}"
        files = used.loc[(sample == first) & ((channel == place) | (counts[first, place] == 0))]
        if counts[first, place]:
            remedy = "take all but one of them out"
            if by != POSE:
                remedy += (
                    f", or, in training, set data.channels.by to another column, such as {POSE}"
                )
        else:
            remedy = (
                "add the image, take the others out, or, in training, shorten data.channels.values"
            )
        total = int(bad.any(axis=1).sum())
        more = f", and so {total - 1} more" if total > 1 else ""
        raise DataError(
            f"every {by} must have one image for each of {choice}, but {keys[first]} "
            f"{what.format(counts[first, place])} with {value} ({few(files['path'])}){more}; "
            f"{remedy}"
        )


def _joined(used: "pd.DataFrame", rows: np.ndarray, by: str) -> "pd.DataFrame":
    """One row for each row of numbers `(samples, channels)`."""
    import pandas as pd

    columns = {}
    for name in used.columns:
        cells = used[name].to_numpy(object)[rows]
        differ = (cells != cells[:, :1]).any(axis=1)
        if name in _ONE_VALUE and differ.any():
            first = rows[np.flatnonzero(differ)[0]]
            raise DataError(
                f"the channels of one {by} must have one {name}, got "
                f"{few(map(repr, dict.fromkeys(used[name].iloc[first])))} for "
                f"{few(used['path'].iloc[first])}; make them agree"
            )
        if name == "path":
            separated = [path for paths in cells for path in paths if SEPARATOR in path]
            if separated:
                raise DataError(
                    f"the names of images that are channels must not have {SEPARATOR!r}, got "
                    f"{few(separated)}; rename them"
                )
            columns[name] = [channel_name(paths) for paths in cells]
        else:
            columns[name] = [
                SEPARATOR.join(map(str, row)) if joined else row[0]
                for row, joined in zip(cells, differ, strict=True)
            ]
    return pd.DataFrame(columns, dtype=object)
