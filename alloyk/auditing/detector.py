"""Findings about the detector: bad pixels and lines, borders, image orientation.

A defect at the same position in all images belongs to the detector. A defect in only some of them
reveals which detector took them, or when; if they are all of one class, it reveals the class.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from alloyk.auditing.blocks import in_blocks, normed, sample_of
from alloyk.auditing.findings import CHECK, FIX, NOTE, Audited, Finding, percent
from alloyk.messages import counted, few

# A position is bad on a detector if it is bad in this fraction, and this number, of images.
MIN_IMAGES = 5
COMMON = 0.95
# Fractions in two classes that differ by more than this reveal the class: a shortcut.
CLASS_SPREAD = 0.5
# Fraction of images that have a bad pixel at a position that is good in all others.
SCATTERED = 0.3
# Correlation with the common scene in the best orientation, and its lead over the usual one.
SCENE = 0.6
MARGIN = 0.3
REFERENCES = 24
MIN_SCENES = 8
TURNS = (
    "as usual", "rotated by 90°", "rotated by 180°", "rotated by 270°",
    "flipped left-right", "transposed", "flipped up-down", "transposed along the other diagonal",
)  # fmt: skip


def defects(audited: Audited) -> Iterator[Finding]:
    """Bad pixels and lines: of the detector, of some images, of one class, or scattered."""
    rows_of: dict[tuple[str, int, int], list[int]] = {}
    for row, found in audited.scan.defects.items():
        for place in found.places():
            rows_of.setdefault(place, []).append(row)
    total = int(audited.scan.readable.sum())
    kept = {place: rows for place, rows in rows_of.items() if len(rows) >= MIN_IMAGES}
    fixed = {place: rows for place, rows in kept.items() if len(rows) >= COMMON * total}
    moving = {place: rows for place, rows in kept.items() if place not in fixed}
    if fixed:
        yield Finding(
            "fixed-defects",
            NOTE,
            f"The same {_bad(fixed)} in {percent(COMMON)} of the images or more: "
            f"{few(map(_named, fixed), 5)}.",
            "Set data.flat to flat frames so that they are repaired, or repair them before "
            "training; images of another detector have them at other positions.",
            values={"places": [list(place) for place in fixed]},
        )
    if moving:
        yield _moving(audited, moving)
    alone = {rows[0] for place, rows in rows_of.items() if len(rows) == 1 and place[0] == "pixel"}
    if len(alone) > SCATTERED * total:
        yield Finding(
            "scattered-defects",
            NOTE,
            f"Single bad pixels in {counted(len(alone))}, at a different position in each.",
            "Particle hits or a read-out fault: average several frames, or repair "
            "single pixels before training.",
            audited.paths[sorted(alone)].tolist(),
        )


def borders(audited: Audited) -> Iterator[Finding]:
    """A border around the images, from a collimator or from software."""
    framed = {row: d.border for row, d in audited.scan.defects.items() if any(d.border)}
    widths = Counter(framed.values()).most_common(1)
    if len(framed) < MIN_IMAGES:
        return
    rows = np.array(sorted(framed))
    share = len(rows) / int(audited.scan.readable.sum())
    shares = _shares_by_class(audited, rows)
    follows_class = _follows_class(shares)
    width, count = widths[0]
    yield Finding(
        "border",
        FIX if follows_class else CHECK,
        f"A border around {counted(len(rows))} ({percent(share)}); in {count:,} it is {width[0]}, "
        f"{width[1]}, {width[2]} and {width[3]} pixels wide at top, bottom, left and "
        f"right{_by_class(shares)}.",
        "Crop it in all images: it changes the scale of the gray values, and if only one class "
        "has it, a network learns the border.",
        audited.paths[rows].tolist(),
        {"widths": [list(w) for w, _ in Counter(framed.values()).most_common()], "shares": shares},
    )


@dataclass(frozen=True, eq=False)
class CommonScene:
    """How each readable image shows the scene that most images have in common.

    Attributes:
        rows: Rows of the readable images.
        turn: `(n,)` int, the orientation of each, 0 to 7.
        sure: `(n,)` bool, whether that orientation is certain.
        usual: The most frequent orientation.
    """

    rows: np.ndarray
    turn: np.ndarray
    sure: np.ndarray
    usual: int


def common_scene(audited: Audited) -> CommonScene | None:
    """Find the common scene and its orientation in each image; None with too few images."""
    rows = np.flatnonzero(audited.scan.readable)
    if len(rows) < MIN_SCENES:
        return None
    turn, sure = _turns(audited.scan.equalized, rows)
    usual = int(np.bincount(turn[sure], minlength=8).argmax()) if sure.any() else 0
    return CommonScene(rows, turn, sure, usual)


def orientations(audited: Audited) -> Iterator[Finding]:
    """Images that show the common scene rotated or flipped."""
    scene = common_scene(audited)
    if scene is None:
        return
    rows, turn, sure, usual = scene.rows, scene.turn, scene.sure, scene.usual
    other = sure & (turn != usual)
    if not other.any():
        return
    names = Counter(TURNS[_relative(int(k), int(usual))] for k in turn[other])
    shares = _shares_by_class(audited, rows[other])
    yield Finding(
        "mixed-orientations",
        FIX if _follows_class(shares) else CHECK,
        f"{counted(int(other.sum()), verb='show')} the common scene rotated or flipped: "
        f"{few([f'{name} ({n:,})' for name, n in names.most_common()], 4)}{_by_class(shares)}.",
        "Rotate or flip them back: a network trained on one orientation fails on another, and an "
        "orientation that only one class has reveals the class.",
        audited.paths[rows[other]].tolist(),
        {"turns": dict(names), "shares": shares},
    )


DETECTOR_CHECKS = (defects, borders, orientations)


def _moving(audited: Audited, moving: dict[tuple[str, int, int], list[int]]) -> Finding:
    rows = np.array(sorted({row for found in moving.values() for row in found}))
    shares = _shares_by_class(audited, rows)
    worst = max(
        moving, key=lambda place: _spread(_shares_by_class(audited, np.array(moving[place])))
    )
    place_shares = _shares_by_class(audited, np.array(moving[worst]))
    values = {"places": [list(place) for place in moving], "shares": shares}
    if _follows_class(place_shares):
        return Finding(
            "defects-tell-class",
            FIX,
            f"{_named(worst).capitalize()} is bad far more often in some classes than in others"
            f"{_by_class(place_shares)}; in all, {_bad(moving)} in some images and good "
            "in others.",
            "Repair them before training, or record all classes on one detector in mixed order; "
            "otherwise a network learns the defect instead of the metal.",
            audited.paths[rows].tolist(),
            values,
        )
    return Finding(
        "defects-move",
        CHECK,
        f"{_bad(moving).capitalize()} in some images and good in others "
        f"({counted(len(rows))}; {few(map(_named, moving), 5)}){_by_class(shares)}.",
        "Check whether several detectors or settings were used; each must occur in all classes "
        "and splits, or the defects must be repaired before training.",
        audited.paths[rows].tolist(),
        values,
    )


def _bad(places: Collection[tuple[str, int, int]]) -> str:
    """The number of places of each kind, with the verb: `2 rows and 1 pixel are bad`."""
    counts = Counter(kind for kind, _, _ in places)
    kinds = " and ".join(counted(count, kind) for kind, count in counts.items())
    return f"{kinds} {'is' if len(places) == 1 else 'are'} bad"


def _named(place: tuple[str, int, int]) -> str:
    kind, row, column = place
    return {
        "pixel": f"the pixel in row {row}, column {column}",
        "row": f"row {row}",
        "column": f"column {column}",
    }[kind]


def _shares_by_class(audited: Audited, rows: np.ndarray) -> dict[str, float]:
    """Fraction of each class that the rows make up; empty without two classes."""
    labels = audited.labels
    if labels is None or len(set(labels)) < 2:
        return {}
    counts, found = Counter(labels), Counter(labels[rows])
    return {str(label): found[label] / counts[label] for label in sorted(counts)}


def _spread(shares: dict[str, float]) -> float:
    return max(shares.values()) - min(shares.values()) if shares else 0.0


def _follows_class(shares: dict[str, float]) -> bool:
    return _spread(shares) > CLASS_SPREAD


def _by_class(shares: dict[str, float]) -> str:
    if not shares:
        return ""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return " (" + few([f"{label}: {percent(share)}" for label, share in ordered], 6) + ")"


def _turns(thumbs: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orientation of each thumbnail, 0 to 7, and whether it is certain.

    Args:
        thumbs: `(n, side, side)`.
        rows: `(m,)` int, those to look at.
    """
    some = thumbs[sample_of(rows)].astype(np.float32)
    flat = normed(some)
    candidates = np.linspace(0, len(some) - 1, min(REFERENCES, len(some))).astype(int)
    best = [
        np.median(np.max([flat @ turned for turned in _eight(some[k])], axis=0)) for k in candidates
    ]
    scene = some[candidates[int(np.argmax(best))]]
    turn = _likeness(flat, scene).argmax(axis=1)
    upright = [_turned(thumb, _inverse(int(k))) for thumb, k in zip(some, turn, strict=True)]
    scene = np.median(upright, axis=0)  # of all, turned upright
    likeness = in_blocks(lambda block: _likeness(normed(block), scene), thumbs, rows)
    turn = likeness.argmax(axis=1)
    usual = np.bincount(turn, minlength=8).argmax()
    every = np.arange(len(turn))
    clear = likeness[every, turn] - likeness[:, usual] > MARGIN
    return turn, (likeness[every, turn] > SCENE) & (clear | (turn == usual))


def _likeness(flat: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """Correlation of each thumbnail with a scene in its eight orientations."""
    return np.stack([flat @ turned for turned in _eight(scene)], axis=1)


def _eight(thumb: np.ndarray) -> list[np.ndarray]:
    return [normed(_turned(thumb, k)[None])[0] for k in range(8)]


def _turned(thumb: np.ndarray, k: int) -> np.ndarray:
    """Flip left-right if k > 3, then rotate by k × 90° counter-clockwise."""
    return np.rot90(thumb[:, ::-1] if k > 3 else thumb, k % 4)


def _inverse(k: int) -> int:
    return k if k > 3 else -k % 4


def _relative(k: int, usual: int) -> int:
    """Orientation `k` relative to the usual one."""
    probe = np.arange(4).reshape(2, 2)
    target, base = _turned(probe, k), _turned(probe, usual)
    return next(j for j in range(8) if (_turned(base, j) == target).all())
