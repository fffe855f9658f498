"""Sentences for the user about how a data set was read and split."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alloyk.data.names import PLATE, SPLITS, plate_alike, spelled_alike
from alloyk.data.splits import group_cells, group_column, group_name
from alloyk.messages import counted, few, shown

if TYPE_CHECKING:
    import pandas as pd


def split_notes(splits: Mapping[str, str]) -> list[str]:
    """Describe folders or cells that were read as a split with another spelling."""
    other = [f"{name} as {split}" for name, split in sorted(splits.items()) if name != split]
    return [f"Read {few(other, 6)}."] if other else []


def link_notes(links_out: Sequence[str]) -> list[str]:
    """Describe links that lead out of the data set."""
    if not links_out:
        return []
    return [
        f"Followed {counted(len(links_out), 'link')} to outside the data set: {few(links_out)}."
    ]


def repeat_notes(repeats: Mapping[str, str]) -> list[str]:
    """Describe images that were left out because links list them again."""
    if not repeats:
        return []
    first = min(repeats)
    return [
        f"Left out {counted(len(repeats))} that links list a second time (first: {first} is "
        f"{repeats[first]})."
    ]


def reference_notes(paths: Sequence[str]) -> list[str]:
    """Describe the images of flat and dark frames that were left out, by their folders."""
    folders = Counter(path.split("/", 1)[0] for path in paths if "/" in path)
    if not folders:
        return []
    return [
        f"Left out {counted(sum(folders.values()))} in {few(sorted(folders), 6)}: folders with "
        "such names hold flat and dark frames, which belong to no class; rename them if they are "
        "classes."
    ]


def spelling_notes(table: "pd.DataFrame") -> list[str]:
    """Describe classes, and plates, whose names differ in spelling alone."""
    notes = []
    for column, what in (("label", "classes"), (PLATE, "plates")):
        names = table[column].dropna() if column in table.columns else ()
        alike = [" and ".join(map(repr, spellings)) for spellings in spelled_alike(names)]
        if alike:
            notes.append(f"{few(alike)} are different {what}; if they are not, spell them alike.")
    return notes


def taken_notes(
    data: str | Path,
    given: "pd.DataFrame",
    table: "pd.DataFrame",
    ratios: tuple[float, ...],
    group_by: str | None,
    seed: int,
) -> list[str]:
    """Describe the splits in `table` that were drawn from the training images of `given`."""
    there = set(given["split"])
    group = group_name(table.columns, group_by)
    how = f"by {group}" if group else "image by image"
    return [
        f"{shown(data)} has no {name}: {int((table['split'] == name).sum())} of its "
        f"{int((given['split'] == 'train').sum())} training images were taken for it, {how}, "
        f"seed {seed}."
        for name, ratio in zip(SPLITS, ratios, strict=True)
        if name not in there and ratio > 0
    ]


def shared_group_notes(table: "pd.DataFrame", group_by: str | None) -> list[str]:
    """Describe plates of val or test that an earlier split also has, or that are not known."""
    names = [PLATE] if PLATE in table.columns else []
    name = group_name(table.columns, group_by)
    if name is not None and name not in names:
        names.append(name)
    notes = _unused_plate_notes(table) if group_by is None and not names else []
    for name in names:
        rows = table[group_cells(table[name]) != ""] if name in table.columns else table
        column = group_column(rows, name)
        if column is None:
            continue
        groups = column.to_numpy()
        sets = {split: set(groups[(rows["split"] == split).to_numpy()]) for split in SPLITS}
        for split, earlier in (("val", "train"), ("test", "train"), ("test", "val")):
            shared = len(sets[earlier] & sets[split])
            if shared:
                notes.append(
                    f"{split} shares {shared} of its {counted(len(sets[split]), 'group')} (by "
                    f"{name}) with {earlier}; results on {split} are optimistic."
                )
    return notes


def _unused_plate_notes(table: "pd.DataFrame") -> list[str]:
    """Describe columns that may number the plates, but have another name than `plate_id`."""
    return [
        f"The column {name!r} is not used; if it tells the plates apart, rename it to {PLATE} or "
        f"group by it (data.group_by={name}, --group-by {name}), so that no plate is in two splits."
        for name in plate_alike(table.columns)
        if group_cells(table[name]).duplicated().any()
    ]
