"""Findings about noise and sharpness: single bad images, and drift over a series."""

import datetime
import re
from collections.abc import Iterator

import numpy as np

from alloyk.auditing.findings import CHECK, Audited, Finding
from alloyk.imaging.times import are_comparable, parsed_time
from alloyk.messages import counted, few

# An image is an outlier below this fraction of its class's median: a quarter of the dose, or edges
# six times as wide, as sharpness falls with the root of their width. It is this low because an
# image with the plate out of view has fewer edges without being blurred.
MIN_OF_MEDIAN = {"snr": 0.5, "sharpness": 0.4}

# A drift is reported from a rise by this fraction between the first and the last quarter of a
# series, or a fall by 1 − 1 / 1.15 = 13 % …
DRIFT = 0.15
# … if the order explains it: if Spearman's rank correlation with the position in the series exceeds
# this many standard errors; without a trend one is 1 / √(n − 1).
STANDARD_ERRORS = 4
MIN_IN_SERIES = 16

QUANTITIES = {"snr": "signal-to-noise ratio", "sharpness": "sharpness", "mean": "mean brightness"}


def low_quality(audited: Audited) -> Iterator[Finding]:
    """Images much noisier or less sharp than those of their class."""
    for name, advice in (
        ("snr", "Look at them: short exposure, tube failure, wrong gain?"),
        ("sharpness", "Look at them: plate moved, focus shifted, geometry changed?"),
    ):
        values = audited.measure(name)
        typical = np.full(len(values), np.nan)
        for rows in _members(audited.labels, len(audited)):
            known = rows[np.isfinite(values[rows])]
            if len(known) >= MIN_IN_SERIES:
                typical[rows] = np.median(values[known])
        # A constant image has neither noise nor edges, and is a separate finding.
        low = (values < MIN_OF_MEDIAN[name] * typical) & (
            audited.measure("high") > audited.measure("low")
        )
        if low.any():
            yield Finding(
                f"low-{name}",
                CHECK,
                f"{QUANTITIES[name].capitalize()} below {100 * MIN_OF_MEDIAN[name]:g} % of the "
                f"median{'' if audited.labels is None else ' of the class'} in "
                f"{counted(int(low.sum()))}: {few(audited.paths[low])}.",
                advice,
                audited.paths[low].tolist(),
            )


def drift(audited: Audited) -> Iterator[Finding]:
    """Noise, sharpness and brightness that drift over a series."""
    series = series_in_order(audited, MIN_IN_SERIES)
    for name, noun in QUANTITIES.items():
        values = audited.measure(name)
        drifts = {}
        for key, rows in series.items():
            change = _drift(values[rows])
            if change is not None:
                drifts[key] = change
        if not drifts:
            continue
        worst = sorted(drifts, key=lambda key: -abs(np.log1p(drifts[key])))
        text = few([f"{key or 'all images'} {100 * drifts[key]:+.0f} %" for key in worst], 4)
        yield Finding(
            f"drift-{name}",
            CHECK,
            f"The {noun} drifts over {counted(len(drifts), 'series')}: {text} from "
            "the first quarter to the last.",
            "If classes were recorded one after the other, the drift reveals the class: mix their "
            "order, let tube and detector warm up, and take flat fields in between.",
            values={str(key): change for key, change in drifts.items()},
        )


def series_in_order(audited: Audited, fewest: int = 1) -> dict[str, np.ndarray]:
    """Rows of each series of each class, sorted by time if it is known, otherwise by file name.

    The time is the column `acquired`, where every image has one. Numbers in names are compared as
    numbers. Each class is ordered separately: a step between two classes is not a drift.

    Args:
        audited: The data set.
        fewest: Shorter series are left out.
    """
    import pandas as pd

    labels, keys = audited.labels, audited.series
    if labels is not None:
        pairs = zip(labels, audited.series, strict=True)
        keys = np.array(["/".join(filter(None, pair)) for pair in pairs], dtype=object)
    codes, names = pd.factorize(keys)
    rows = np.flatnonzero(np.bincount(codes)[codes] >= fewest)
    members: dict[str, list[int]] = {}
    for row in sorted_rows(audited, rows).tolist():
        members.setdefault(names[codes[row]], []).append(row)
    return {key: np.array(found) for key, found in sorted(members.items())}


def sorted_rows(audited: Audited, rows: np.ndarray) -> np.ndarray:
    """Rows sorted by time if it is known, otherwise by file name; see `series_in_order`."""
    times, paths = acquired_times(audited), audited.paths
    key = [(times[row], _natural(str(paths[row]))) for row in rows.tolist()]
    return rows[sorted(range(len(rows)), key=key.__getitem__)]


def acquired_times(audited: Audited) -> list[datetime.datetime]:
    """The times of the column `acquired`; all equal if they do not order all images.

    They do not where an image has none, or where only some have a time zone.
    """
    times = [parsed_time(str(cell)) for cell in audited.table.get("acquired", ())]
    dated = [time for time in times if time is not None]
    if len(dated) < len(audited) or not are_comparable(dated):
        return [datetime.datetime.min] * len(audited)
    return dated


QUALITY_CHECKS = (low_quality, drift)


def _natural(path: str) -> list:
    """A file name as alternating text and numbers.

    >>> _natural("a/plate_10.png") > _natural("b/plate_9.png")
    True
    """
    name = path.rpartition("/")[2]
    parts = re.split(r"(\d+)", name)
    return [int(part) if number % 2 else part for number, part in enumerate(parts)]


def _drift(values: np.ndarray) -> float | None:
    """Relative change from the first to the last quarter, if the order explains it."""
    values = values[np.isfinite(values)]
    n = len(values)
    if n < MIN_IN_SERIES or np.ptp(values) == 0:
        return None
    from scipy.stats import rankdata

    ranks = rankdata(values)
    correlation = np.corrcoef(ranks, np.arange(n))[0, 1]
    first, last = np.median(values[: n // 4]), np.median(values[-(n // 4) :])
    if first <= 0 or last <= 0:
        return None
    change = float(last / first - 1)
    significant = abs(correlation) * np.sqrt(n - 1) > STANDARD_ERRORS
    return change if significant and abs(np.log(last / first)) > np.log1p(DRIFT) else None


def _members(labels: np.ndarray | None, count: int) -> list[np.ndarray]:
    if labels is None:
        return [np.arange(count)]
    return [np.flatnonzero(labels == label) for label in sorted(set(labels))]
