"""Plan where each image of a data set goes, before anything is touched.

The source may be class folders, a manifest, or a flat folder without labels; the target may be the
source itself.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.data import journal
from alloyk.data.dataset import read_files, read_record
from alloyk.data.manifest import MANIFEST, manifest_in, read_manifest
from alloyk.data.names import SPLITS, folded
from alloyk.data.notes import reference_notes, repeat_notes, shared_group_notes
from alloyk.data.reorganize.obstacles import refuse_parts, refuse_places
from alloyk.data.rows import image_rows
from alloyk.data.splits import checked_ratios, group_name, split_table
from alloyk.data.text_table import parse_text_table, text_of_table
from alloyk.data.tree import find_images, inside
from alloyk.errors import DataError
from alloyk.messages import counted, few, shown
from alloyk.settings.data import RATIOS

if TYPE_CHECKING:
    import pandas as pd

MODES = ("copy", "move", "link", "manifest")


@dataclass(frozen=True, eq=False)
class SplitPlan:
    """What goes where; nothing has been touched yet.

    Attributes:
        source: Folder that the old paths are relative to.
        target: Folder that the new paths are relative to.
        mode: One of `MODES`.
        record: How the split was drawn: source, ratios, group_by, seed, mode.
        table: Columns `path` (new), `label` where known, `split`, and the manifest's others.
        old_paths: Where each row's image is now.
        manifest: Name of the manifest to write, or None if the folders are enough.
        notes: What the user should know, a sentence each.
        resumed: Whether an interrupted move is to be finished.
        finished: Whether an earlier run has done all of it.
        shards: Number of files to write the images into; None writes a file for each.
    """

    source: Path
    target: Path
    mode: str
    record: dict[str, Any]
    table: "pd.DataFrame"
    old_paths: list[str]
    manifest: str | None
    notes: tuple[str, ...] = ()
    resumed: bool = False
    finished: bool = False
    shards: int | None = None


def plan_split(
    source: str | Path,
    target: str | Path,
    *,
    ratios: tuple[float, float, float] = RATIOS,
    group_by: str | None = None,
    mode: str = "copy",
    seed: int = 0,
    shards: int | None = None,
) -> SplitPlan:
    """Assign each image to a split, and find all obstacles.

    Args:
        source: Class folders, a manifest, or a flat folder of images without labels.
        target: A new or empty folder; the source itself, with mode move, to split in place; with
            mode manifest, the CSV file to write, or its folder.
        ratios: Shares of train, val and test.
        group_by: As in `alloyk.data.split_table`.
        mode: One of `MODES`.
        seed: Seed of the draw.
        shards: Number of files to write the images into, see `alloyk.imaging.store`; None writes a
            file for each. A given split is kept.

    Raises:
        DataError: The source is not usable, the target is not empty, the split is not possible.
    """
    source, target = Path(source), Path(target)
    record = {
        "source": os.path.realpath(source),
        "ratios": list(checked_ratios(ratios)),
        "group_by": group_by,
        "seed": seed,
        "mode": mode,
    }
    if mode == "move":
        earlier = _unfinished(target, record) or _finished(target, record)
        if earlier:
            return earlier
    journal.refuse_unfinished(source.parent if source.is_file() else source)
    if shards is not None and mode != "copy":
        raise DataError(
            f"the mode must be copy for shards, got {mode}; leave out --mode, or leave out --shards"
        )
    root, files, notes = read_source(source)
    table = image_rows(root, files)
    old_paths, is_split = table["path"].tolist(), "split" in table.columns
    if is_split and shards is None:
        raise DataError(
            f"{shown(source)} is split already (into {', '.join(sorted(set(table['split'])))}); "
            "train on it unchanged, or join its splits first"
        )
    if is_split:
        if group_by is not None or seed or tuple(ratios) != RATIOS:
            raise DataError(
                f"{shown(source)} is split already, and shards keep that split; leave out "
                "--group-by, --ratios and --seed"
            )
        given = read_record(root) or {"group_by": "manifest", "ratios": None, "seed": None}
        record |= {key: given.get(key) for key in ("group_by", "ratios", "seed")}
    else:
        table = _split(table, ratios, group_by, seed)
        notes += shared_group_notes(table, group_by)
        record["group_by"] = group_name(table.columns, group_by)
    manifest: str | None
    if mode == "manifest":
        target, manifest = _manifest_place(root, target)
        prefix = os.path.relpath(os.path.realpath(root), os.path.realpath(target))
        table["path"] = [p if prefix == "." else f"{prefix}/{p}" for p in old_paths]
    else:
        refuse_places(root, target, mode, old_paths)
        refuse_parts(root, old_paths, in_shards=shards is not None)
        manifest = _manifest_name(source, root, target)
        table["path"] = old_paths if is_split else _new_paths(table)
    if shards is not None:
        record["shards"], manifest = shards, MANIFEST
    return SplitPlan(
        root, target, mode, record, table, old_paths, manifest, tuple(notes), shards=shards
    )


def _split(
    table: "pd.DataFrame", ratios: tuple[float, float, float], group_by: str | None, seed: int
) -> "pd.DataFrame":
    """The table with its column `split`, which follows path and label."""
    table = table.assign(split=split_table(table, ratios, group_by, seed))
    first = [name for name in ("path", "label", "split") if name in table.columns]
    return table[first + [name for name in table.columns if name not in first]]


def summary(plan: SplitPlan) -> str:
    """Return the numbers of images as a table of classes and splits, for the terminal."""
    how = plan.record["group_by"] or "image"
    seed = plan.record["seed"]
    head = f"{shown(plan.target)}: split by {how}" + ("" if seed is None else f", seed {seed}")
    if plan.finished:
        return f"{head}; nothing is left to move"
    splits = plan.table["split"]
    lines: list[tuple[str, ...]] = [("", *SPLITS)]
    if "label" in plan.table.columns:
        classes = plan.table["label"]
        for label in sorted(set(classes)):
            of_class = splits[classes == label]
            lines.append((label, *(str((of_class == name).sum()) for name in SPLITS)))
    lines.append(("all", *(str((splits == name).sum()) for name in SPLITS)))
    width = max(len(line[0]) for line in lines)
    text = [f"{line[0]:<{width}}" + "".join(f"{cell:>9}" for cell in line[1:]) for line in lines]
    return "\n".join([head, *text])


def read_source(source: Path) -> "tuple[Path, pd.DataFrame, list[str]]":
    """Return the folder, its table of files and the notes; a flat folder has no labels."""
    import pandas as pd

    if source.is_dir() and not _has_manifest(source):
        tree = find_images(source)
        images = tree.of_classes
        if images and not any("/" in path for path in images):
            notes = reference_notes(tree.references) + repeat_notes(tree.repeats)
            notes.append(f"{shown(source)} has no class folders: its images have no labels.")
            return source, pd.DataFrame({"path": images}, dtype=object), notes
    root, files, _, notes = read_files(source, labelled=False)
    return root, files, notes


def _has_manifest(source: Path) -> bool:
    return source.is_file() or manifest_in(source) is not None


def _new_paths(table: "pd.DataFrame") -> list[str]:
    """Return `split/class/…` for each image, `split/…` without labels."""
    paths, splits = table["path"], table["split"]
    if "label" not in table.columns:
        return (splits + "/" + paths).tolist()
    odd = sorted(x for x in set(table["label"]) if x.startswith(".") or "/" in x or "\0" in x)
    if odd:
        raise DataError(
            f"the label {few(map(repr, odd))} cannot name a folder; rename it, or use "
            "--mode manifest"
        )
    sorted_by_class = all(
        path.startswith(f"{label}/") for path, label in zip(paths, table["label"], strict=True)
    )
    if sorted_by_class:
        return (splits + "/" + paths).tolist()
    return (splits + "/" + table["label"] + "/" + paths).tolist()


def _manifest_name(source: Path, root: Path, target: Path) -> str | None:
    """Return the name of the manifest to write; in place it is the one that is there."""
    if os.path.realpath(root) == os.path.realpath(target):
        found = source if source.is_file() else manifest_in(source)
        return found.name if found else None
    return MANIFEST if _has_manifest(source) else None


def _manifest_place(root: Path, target: Path) -> tuple[Path, str]:
    """Return the folder and the name of the manifest to write."""
    file = target if target.suffix.lower() == ".csv" else target / MANIFEST
    folder = file.parent
    if not folder.is_dir():
        raise DataError(
            f"the folder of the manifest must exist, got {shown(folder)}; create it, or choose "
            "another"
        )
    if not inside(os.path.realpath(root), os.path.realpath(folder)):
        raise DataError(
            f"the manifest must be in {shown(root)} or above it, because its paths are relative, "
            f"got {shown(file)}; use {shown(root / file.name)}"
        )
    if file.exists():
        raise DataError(f"{shown(file)} already exists; name another file, or delete it")
    return folder, file.name


# --- Moves that were begun before -------------------------------------------------------------


def plan_to_json(plan: SplitPlan) -> dict[str, Any]:
    """Return what `_unfinished` needs to take the plan up again."""
    return {
        "source": str(plan.source.absolute()),
        "record": plan.record,
        "manifest": plan.manifest,
        "notes": list(plan.notes),
        "old_paths": plan.old_paths,
        "table": text_of_table(plan.table),
        "paths": plan.table["path"].tolist(),
    }


def _unfinished(target: Path, record: dict[str, Any]) -> SplitPlan | None:
    """Return the plan of an interrupted move to this target, if it is the same move."""
    plan = journal.read_journal(target)
    if plan is None:
        return None
    current = {key: record[key] for key in ("source", "ratios", "seed")}
    found = {key: plan["record"][key] for key in current}
    if current != found or not _same_groups(record, plan["record"]):
        raise DataError(
            f"{shown(target)} holds an unfinished move from {shown(plan['record']['source'])} with "
            f"ratios {' '.join(f'{r:g}' for r in plan['record']['ratios'])}, seed "
            f"{plan['record']['seed']}, group-by {plan['record']['group_by']}; "
            "run that again to finish it"
        )
    table = parse_text_table(plan["table"])
    table["path"] = plan["paths"]
    return SplitPlan(
        Path(plan["source"]),
        target,
        "move",
        plan["record"],
        table,
        plan["old_paths"],
        plan["manifest"],
        tuple(plan["notes"]),
        resumed=True,
    )


def _same_groups(record: dict[str, Any], earlier: dict[str, Any]) -> bool:
    """Whether the grouping that is asked for, if any, is that of an earlier split."""
    asked, drawn = record["group_by"], earlier["group_by"]
    return asked is None or folded(asked) == folded(drawn or "none")


def _finished(target: Path, record: dict[str, Any]) -> SplitPlan | None:
    """Return an empty plan if this same move is already finished.

    Raises:
        DataError: Images were added to the source since.
    """
    import pandas as pd

    earlier = read_record(target)
    keys = ("source", "ratios", "seed", "mode")
    if earlier is None or any(earlier.get(key) != record[key] for key in keys):
        return None
    if not _same_groups(record, earlier):
        return None
    source = Path(record["source"])
    root = source if source.is_dir() else source.parent
    added = _images_of(source) if root.is_dir() else []
    if root == Path(os.path.realpath(target)):
        added = [path for path in added if path.split("/")[0] not in SPLITS or "/" not in path]
    if added:
        raise DataError(
            f"{shown(target)} has this split already, but lacks "
            f"{counted(len(added))} of {shown(source)} ({few(added)}); move new images into its "
            "split folders, or name another OUT"
        )
    empty = pd.DataFrame(columns=["path", "split"], dtype=object)
    return SplitPlan(root, target, "move", earlier, empty, [], None, finished=True)


def _images_of(source: Path) -> list[str]:
    """The images that are in a folder, or of those that a manifest names."""
    if source.is_dir():
        return find_images(source).of_classes
    if not source.is_file():
        return []
    paths = read_manifest(source, labelled=False)[0]["path"]
    return [path for path in paths if (source.parent / path).is_file()]
