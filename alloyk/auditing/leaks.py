"""Findings about images that training and test share: copies, near-duplicates, plates, series."""

from collections.abc import Iterator, Sequence

import numpy as np

from alloyk.auditing.findings import CHECK, FIX, NOTE, Audited, Finding
from alloyk.auditing.similarity import SIMILAR, near_duplicates
from alloyk.data import PLATE, split_table
from alloyk.errors import AlloykError
from alloyk.messages import counted, few

SAMPLE_PAIRS = 3

# Images of the second split must not be in the first.
SPLIT_PAIRS = (("train", "val"), ("train", "test"), ("val", "test"))


def duplicates(audited: Audited) -> Iterator[Finding]:
    """Images with the same pixels: across splits, with different labels, within a split."""
    codes = _codes(audited)
    labels, splits = audited.labels, audited.splits
    yield from _across_splits(audited, codes)
    groups = _groups_of_many(codes)
    if labels is not None:
        conflicts = [rows for rows in groups if len(set(labels[rows])) > 1]
        if conflicts:
            yield Finding(
                "duplicates-with-other-labels",
                FIX,
                f"Identical pixels with different labels, in {counted(sum(map(len, conflicts)))}: "
                f"{_sample_groups(audited, conflicts)}.",
                "Find the right label, and keep one image of each group.",
                _paths_of(audited, conflicts),
            )
    inside = []
    for rows in groups:
        parts = [rows] if splits is None else [rows[splits[rows] == s] for s in set(splits[rows])]
        inside += [part for part in parts if len(part) > 1]
    if inside:
        extra = sum(len(rows) - 1 for rows in inside)
        where = "" if splits is None else " within a split"
        yield Finding(
            "duplicates",
            FIX if splits is None else CHECK,
            f"Pixel-identical copies{where}: {counted(extra)} could go. "
            f"{_sample_groups(audited, inside)}.",
            "Keep one of each before splitting; otherwise test may have copies of training images."
            if splits is None
            else "Keep one of each: copies give an image more weight.",
            _paths_of(audited, inside),
        )


def similar(audited: Audited) -> Iterator[Finding]:
    """Near-duplicates: across splits, with different labels, within a split."""
    pairs = similar_pairs(audited)
    if not pairs:
        return
    labels, splits = audited.labels, audited.splits

    def crossing(values):
        return [] if values is None else [p for p in pairs if values[p[0]] != values[p[1]]]

    across, conflicting = crossing(splits), crossing(labels)
    apart = set(across)
    within = [pair for pair in pairs if pair not in apart]
    alike = f"correlation of at least {SIMILAR:g} between their noise and finest detail"
    for name, severity, some, where, advice in (
        (
            "near-duplicates-across-splits", FIX, across, " in different splits",
            "Look at the pairs (--figures); delete one image of each, or move both into one split.",
        ),
        (
            "near-duplicates-with-other-labels", FIX, conflicting, " with different labels",
            "Look at the pairs (--figures) and find the right label.",
        ),
        (
            "near-duplicates", CHECK, within, "" if splits is None else " within a split",
            "Look at the pairs (--figures): an exposure saved twice counts twice"
            + (", and the copies may be put into different splits." if splits is None else "."),
        ),
    ):  # fmt: skip
        if some:
            yield Finding(
                name,
                severity,
                f"{counted(len(some), 'pair')} of near-duplicates{where} ({alike}): "
                f"{few([_pair(audited, i, j, '≈') for i, j, _ in some], SAMPLE_PAIRS)}.",
                advice,
                [[audited.paths[i], audited.paths[j]] for i, j, _ in some],
            )


def similar_pairs(audited: Audited) -> list[tuple[int, int, float]]:
    """Near-duplicates (row, row, similarity); only one of several exact copies is included."""
    rows = np.flatnonzero(audited.scan.readable)
    codes = _codes(audited)[rows]
    rows = rows[np.sort(np.unique(codes, return_index=True)[1])]
    return near_duplicates(audited.scan.signatures, rows)


def shared_series(audited: Audited) -> Iterator[Finding]:
    """Plates or series that are in several splits."""
    splits = audited.splits
    if splits is None or not audited.series_reliable:
        return
    noun = "plate" if audited.series_name == PLATE else "series"
    for earlier, later in SPLIT_PAIRS:
        known = audited.series != ""
        shared = sorted(
            set(audited.series[known & (splits == earlier)])
            & set(audited.series[known & (splits == later)])
        )
        if not shared:
            continue
        rows = np.isin(audited.series, shared) & (splits == later)
        total = len(set(audited.series[known & (splits == later)]))
        yield Finding(
            f"shared-{noun}",
            FIX,
            f"{later} shares {len(shared):,} of its {counted(total, noun)} (by "
            f"{audited.series_name}) with {earlier}: {few(shared, 5)}, with "
            f"{counted(int(rows.sum()))} of {later}.",
            f"Split again by group: `alloyk split SRC OUT --group-by {_group_by(audited)}`. A "
            f"network recognises a {noun} from training, so the metrics of {later} measure "
            "memorisation.",
            shared,
        )


def not_split_yet(audited: Audited) -> Iterator[Finding]:
    """Whether an unsplit data set can be split, and by which column."""
    if audited.splits is not None or audited.labels is None:
        return
    try:
        split_table(audited.table)
    except AlloykError as error:
        yield Finding(
            "cannot-split",
            FIX,
            f"The data set is not split, and cannot be: {error}.",
            "Add images of more plates, or split with --group-by none and say so when you report "
            "results."
            if audited.has_plates
            else "Add images of the smallest class, or remove that class.",
        )
        return
    if audited.has_plates:
        yield Finding(
            "not-split",
            NOTE,
            f"The data set is not split yet; training splits it by {PLATE}.",
            "No action needed; `alloyk split` sorts it into folders permanently.",
        )
    elif audited.series_reliable:
        series = len(set(audited.series) - {""})
        yield Finding(
            "not-split",
            CHECK,
            f"The data set is not split yet and has no {PLATE} column: training would split it by "
            f"image, although the file names show {series:,} series (by {audited.series_name}).",
            f"Set data.group_by, or use `alloyk split SRC OUT --group-by {_group_by(audited)}`.",
        )
    else:
        yield _unknown_plates("The data set is not split yet")


def unknown_series(audited: Audited) -> Iterator[Finding]:
    """A split for which shared plates cannot be detected."""
    if audited.splits is not None and not audited.series_reliable and len(audited.split_names) > 1:
        yield _unknown_plates("The data set is split")


LEAK_CHECKS = (duplicates, similar, shared_series, not_split_yet, unknown_series)


def _unknown_plates(state: str) -> Finding:
    return Finding(
        "unknown-plates",
        NOTE,
        f"{state}, and neither a {PLATE} column nor the file names show which images share a "
        "plate.",
        "If plates were imaged several times, identify them by a plate_id column in manifest.csv, "
        "or with --series and a regular expression on the file name.",
    )


def _group_by(audited: Audited) -> str:
    name = audited.series_name
    return name if name in audited.table.columns else f"'{name}'"


def _codes(audited: Audited) -> np.ndarray:
    """An integer for each distinct content; each unreadable image has one of its own."""
    import pandas as pd

    codes = pd.factorize(audited.scan.measures["digest"])[0].astype(np.int64)
    missing = codes < 0
    codes[missing] = -1 - np.arange(int(missing.sum()))
    return codes


def _groups_of_many(codes: np.ndarray) -> list[np.ndarray]:
    """Groups of rows with the same code, in order of their first row."""
    order = np.argsort(codes, kind="stable")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(codes[order])) + 1])
    ends = np.append(starts[1:], len(order))
    many = ends - starts > 1
    groups = [order[i:j] for i, j in zip(starts[many], ends[many], strict=True)]
    return sorted(groups, key=lambda rows: rows[0])


def _across_splits(audited: Audited, codes: np.ndarray) -> Iterator[Finding]:
    splits, labels = audited.splits, audited.labels
    if splits is None:
        return
    for earlier, later in SPLIT_PAIRS:
        there = np.flatnonzero(splits == earlier)
        known, first = np.unique(codes[there], return_index=True)
        rows = np.flatnonzero(splits == later)
        rows = rows[np.isin(codes[rows], known)]
        if not len(rows):
            continue
        partners = there[first[np.searchsorted(known, codes[rows])]]
        pairs = np.stack([audited.paths[rows], audited.paths[partners]], axis=1).tolist()
        by_class = ""
        if labels is not None:
            names, counts = np.unique(labels[rows].astype(str), return_counts=True)
            by_class = " (" + few([f"{n}: {c:,}" for n, c in zip(names, counts, strict=True)], 6)
            by_class += ")"
        yield Finding(
            "duplicates-across-splits",
            FIX,
            f"{later} shares {counted(len(rows), 'pixel-identical image')} of its "
            f"{int((splits == later).sum()):,} with {earlier}{by_class}: "
            f"{few([' = '.join(pair) for pair in pairs], SAMPLE_PAIRS)}.",
            f"Delete them from {earlier}, or from {later} if they do not belong there: the "
            f"metrics of {later} measure memorisation.",
            pairs,
            {"earlier": earlier, "later": later, "count": len(rows)},
        )


def _paths_of(audited: Audited, groups: Sequence[np.ndarray]) -> list[list[str]]:
    return [audited.paths[rows].tolist() for rows in groups]


def _sample_groups(audited: Audited, groups: Sequence[np.ndarray]) -> str:
    return few([_pair(audited, *rows[:2]) for rows in groups], SAMPLE_PAIRS)


def _pair(audited: Audited, first: int, second: int, sign: str = "=") -> str:
    return f"{audited.paths[first]} {sign} {audited.paths[second]}"
