"""Divide a table of images into training, validation and test: stratified, seeded, by group.

A plate is imaged many times; a network that has seen a plate in training recognises the plate, not
the alloy (89 % on the same plates against 45 % on new ones for two similar alloys). So a group is
never shared between splits; where that is impossible the split is refused.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from alloyk.data.apportion import deal, deal_mixed_groups, deal_pure_groups
from alloyk.data.names import PLATE, SPLITS, THICKNESS, column_called
from alloyk.errors import DataError
from alloyk.imaging import without_page
from alloyk.messages import counted
from alloyk.settings.data import RATIOS
from alloyk.targets.cells import numbers_in

if TYPE_CHECKING:
    import pandas as pd


# Plates of one nominal thickness differ by a few per cent (EN 485-4: ±4 % at 1 mm); neighbouring
# nominal thicknesses (1, 1.2, 1.5, 2 mm) by more than this.
_NOMINAL_GAP = 0.10


def split_table(
    table: "pd.DataFrame",
    ratios: tuple[float, ...] = RATIOS,
    group_by: str | None = None,
    seed: int = 0,
) -> "pd.Series":
    """Give every image of a table its split.

    Stratified by `label`, and by nominal `thickness_mm` where the table has it: every stratum
    comes as near to `ratios` as whole groups allow, and the remainders are allocated so that the
    sum over all strata does too. The result depends on the paths, not on the order of the rows.

    Args:
        table: Columns `path`, and where known `label`, `plate_id`, `thickness_mm`.
        ratios: Shares of train, val and test; their sum is 1; a share may be 0.
        group_by: A column, a regular expression on the file name (its first group, or the whole
            match), `"none"` for image by image, or None: by `plate_id` where the table has it.
        seed: Seed of the draw.

    Returns:
        A series of `"train"`, `"val"` and `"test"` with the table's index.

    Raises:
        DataError: A stratum has fewer groups than there are splits, or an argument is wrong.

    >>> import pandas as pd
    >>> images = pd.DataFrame({"path": [f"{i:02}.png" for i in range(40)]})
    >>> images["label"] = ["1050"] * 20 + ["2017"] * 20
    >>> images["plate_id"] = [i // 4 for i in range(40)]
    >>> split_table(images).value_counts().to_dict()
    {'train': 24, 'val': 8, 'test': 8}
    """
    ratios = checked_ratios(ratios)
    used = [i for i, ratio in enumerate(ratios) if ratio > 0]
    shares, names = [ratios[i] for i in used], [SPLITS[i] for i in used]
    return part_table(table, names, shares, group_by, seed).rename("split")


def part_table(
    table: "pd.DataFrame",
    names: list[str],
    shares: list[float],
    group_by: str | None = None,
    seed: int = 0,
) -> "pd.Series":
    """Give every image of a table to one of several parts, as `split_table` does.

    Args:
        table: As in `split_table`.
        names: What the parts are called.
        shares: The share of each part, above 0; their sum is 1.
        group_by: As in `split_table`.
        seed: Seed of the draw.

    Returns:
        A series of names with the table's index.
    """
    import pandas as pd

    parted, called = np.array(shares), np.array(names, dtype=object)
    order = np.argsort(table["path"].to_numpy(dtype=object), kind="stable")
    ordered = table.iloc[order]
    column = group_column(ordered, group_by)
    rng = np.random.default_rng(seed)
    if column is None:
        strata = _strata_of_images(ordered, len(names))
        parts = deal(strata, parted, rng)
    else:
        groups = pd.factorize(column, sort=True)[0]
        parts = _deal_groups(ordered, groups, str(column.name), names, parted, rng)
    result = np.empty(len(table), dtype=object)
    result[order] = called[parts]
    return pd.Series(result, index=table.index)


def checked_ratios(ratios: tuple[float, ...]) -> tuple[float, ...]:
    """Return the ratios as floats, or raise."""
    numbers = tuple(float(ratio) for ratio in ratios)
    shares = len(numbers) == len(SPLITS) and all(0 <= number <= 1 for number in numbers)
    if not shares or abs(sum(numbers) - 1) > 1e-6 or numbers[0] == 0:
        raise DataError(
            "the ratios of train, val and test must be three numbers from 0 to 1 that sum to 1, "
            f"train above 0, got {' '.join(f'{n:g}' for n in numbers)}"
        )
    return numbers


def group_name(columns: Iterable[str], group_by: str | None) -> str | None:
    """Return what a split of a table with these columns is grouped by; None: image by image.

    Case, spaces, hyphens and underscores in the name of a column do not matter.
    """
    if group_by == "none":
        return None
    if group_by is None:
        return PLATE if PLATE in columns else None
    return column_called(columns, group_by) or group_by


def group_column(
    table: "pd.DataFrame", group_by: str | None, option: str = "group_by"
) -> "pd.Series | None":
    """Return the group of every image as text, or None for image by image.

    Args and errors as in `split_table`; `option` is what the errors call `group_by`.
    """
    name = group_name(table.columns, group_by)
    if name is None:
        return None
    return (
        _groups_in_column(table, name)
        if name in table.columns
        else _groups_in_names(table, name, option)
    )


def group_cells(cells: "pd.Series") -> "pd.Series":
    """The group in each cell, as text without surrounding blanks; empty where there is none.

    `0100`, `100`, `1e2` and `100.0` are four groups.
    """
    return cells.map(lambda cell: "" if cell is None or cell != cell else str(cell).strip())


def _groups_in_column(table: "pd.DataFrame", name: str) -> "pd.Series":
    column = group_cells(table[name]).astype(object)
    empty = column == ""
    if empty.any():
        raise DataError(
            f"a split by {name} needs a value in every row, got none in "
            f"{counted(int(empty.sum()), 'row')} (first: {table.loc[empty, 'path'].iloc[0]!r}); "
            'fill it in, or split image by image with group_by="none"'
        )
    return column


def _groups_in_names(table: "pd.DataFrame", name: str, option: str) -> "pd.Series":
    """The groups that a regular expression finds in the file names."""
    import pandas as pd

    columns = ", ".join(map(str, table.columns))
    try:
        pattern = re.compile(name)
    except re.error as error:
        raise DataError(
            f"{option} must be a column ({columns}) or a regular expression, got {name!r}: {error}"
        ) from None
    files = [without_page(path.rpartition("/")[2]) for path in table["path"]]
    matches = [pattern.search(file) for file in files]
    missed = [file for file, match in zip(files, matches, strict=True) if match is None]
    if missed:
        raise DataError(
            f"{option} must be a column ({columns}) or a regular expression that matches every "
            f"file name, got {name!r}, which does not match {len(missed)} of {len(files)} "
            f"(first: {missed[0]!r})"
        )
    found = [(m.group(1) if pattern.groups else m.group(0)) or "" for m in matches if m]
    return pd.Series(found, index=table.index, name=name, dtype=object)


def thickness_of(table: "pd.DataFrame") -> np.ndarray:
    """The column `thickness_mm` as numbers, `(n,)` float64, NaN where it is not known.

    Raises:
        DataError: A cell is neither a number nor empty.
    """
    values = numbers_in(table[THICKNESS])
    wrong = np.flatnonzero(np.isinf(values))
    if len(wrong):
        raise DataError(
            f"{THICKNESS} must be a number in millimetres or empty, got "
            f"{table[THICKNESS].iloc[wrong[0]]!r} for {table['path'].iloc[wrong[0]]}; correct it, "
            "or rename the column"
        )
    return values


def nominal_thickness(thickness_mm: np.ndarray) -> np.ndarray:
    """Replace drawn or measured thicknesses by nominal ones.

    Values without a gap of more than 10 % between neighbours are one nominal thickness; their
    median represents it. NaN stays NaN.

    >>> nominal_thickness(np.array([0.98, 1.0, 1.03, 2.05, 1.95, 5.0]))
    array([1., 1., 1., 2., 2., 5.])
    """
    nominal = np.full(len(thickness_mm), np.nan)
    known = np.flatnonzero(np.isfinite(thickness_mm))
    known = known[np.argsort(thickness_mm[known], kind="stable")]
    values = thickness_mm[known]
    breaks = np.flatnonzero(np.diff(values) > _NOMINAL_GAP * np.abs(values[:-1])) + 1
    for members in np.split(known, breaks):
        if len(members):
            nominal[members] = np.median(thickness_mm[members])
    return nominal


def _strata_of_images(table: "pd.DataFrame", parts: int) -> np.ndarray:
    """Return the stratum of each image as a number.

    A class that is too small at some thickness is stratified as a whole.
    """
    import pandas as pd

    labels, keys = _label_and_thickness(table)
    per_label = labels.value_counts()
    small = per_label[per_label < parts]
    if len(small):
        raise DataError(
            f"class {small.index[0]!r} must have at least {parts} images, one for each of {parts} "
            f"splits, got {small.iloc[0]}; add images, or remove the class"
        )
    sizes = keys.map(keys.value_counts())
    coarse = labels.isin(set(labels[sizes < parts]))
    keys = keys.where(~coarse, _class_name(labels))
    return pd.factorize(keys, sort=True)[0]


def _label_and_thickness(table: "pd.DataFrame") -> "tuple[pd.Series, pd.Series]":
    """Return the label of each image and the name of its stratum."""
    import pandas as pd

    if "label" in table.columns:
        labels = table["label"].astype(object)
    else:
        labels = pd.Series("", index=table.index, dtype=object)
    keys = _class_name(labels)
    if THICKNESS in table.columns:
        nominal = pd.Series(nominal_thickness(thickness_of(table)), index=table.index)
        keys = keys + nominal.map(
            lambda mm: f" at {mm:.3g} mm" if np.isfinite(mm) else " at unknown thickness"
        )
    return labels, keys


def _class_name(labels: "pd.Series") -> "pd.Series":
    return labels.map(lambda label: f"class {label!r}" if label else "the folder").astype(object)


def _deal_groups(
    table: "pd.DataFrame",
    groups: np.ndarray,
    group_by: str,
    names: list[str],
    shares: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the part of each image, all images of one group in one part."""
    import pandas as pd

    labels, keys = _label_and_thickness(table)
    if _is_mixed(groups, keys):
        keys = _class_name(labels)  # one group at several thicknesses: classes alone
    codes, strata = pd.factorize(keys, sort=True)
    members = np.zeros((groups.max() + 1, len(strata)), dtype=np.int64)
    np.add.at(members, (groups, codes), 1)
    _refuse_few_groups((members > 0).sum(axis=0), list(strata), group_by, names)
    if (np.count_nonzero(members, axis=1) == 1).all():
        part_of_group = deal_pure_groups(members, shares, rng)
    else:
        part_of_group = deal_mixed_groups(members, shares, rng)
        _refuse_absent(members, part_of_group, group_by, names, list(strata))
    parts: np.ndarray = part_of_group[groups]
    return parts


def _is_mixed(groups: np.ndarray, keys: "pd.Series") -> bool:
    import pandas as pd

    pairs = pd.DataFrame({"group": groups, "key": keys.to_numpy()}).drop_duplicates()
    return bool(pairs["group"].duplicated().any())


def _refuse_few_groups(
    have: np.ndarray, strata: list[str], group_by: str, names: list[str]
) -> None:
    few = np.flatnonzero(have < len(names))
    if not len(few):
        return
    first = few[np.argmin(have[few])]
    into = ", ".join(names) if len(names) <= len(SPLITS) else f"{len(names)} folds"
    raise DataError(
        f"a split by {group_by} into {into} needs at least {len(names)} groups of each class (at "
        f"each thickness), but {strata[first]} has {have[first]}"
        + (f" (and {len(few) - 1} more with too few)" if len(few) > 1 else "")
        + '; add plates, or split image by image with group_by="none" (--group-by none), which '
        "puts images of one plate into both training and test"
    )


def _refuse_absent(
    members: np.ndarray, parts: np.ndarray, group_by: str, names: list[str], strata: Sequence[str]
) -> None:
    """Refuse parts that lack a stratum, because groups span classes."""
    present = np.array([members[parts == k].sum(axis=0) > 0 for k in range(len(names))])
    if present.all():
        return
    part, stratum = np.argwhere(~present)[0]
    raise DataError(
        f"a split by {group_by} leaves {names[part]} without {strata[stratum]}, because its groups "
        "are few and hold several classes; use smaller groups, give the groups of each class other "
        f"names if the values of {group_by} begin again in each class, or use "
        'group_by="none" (--group-by none)'
    )
