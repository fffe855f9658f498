"""Means of detector frames: of each exposure time, and the dark signal at any."""

import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from alloyk.errors import AlloykError
from alloyk.imaging import page_count, page_paths, read_image, split_page
from alloyk.imaging.gray import to_gray
from alloyk.imaging.header import header_settings, page_settings
from alloyk.messages import shown

logger = logging.getLogger(__name__)

# Exposure times that differ by less than this fraction are one.
_SAME_TIME = 1e-3


def mean_of(paths: Sequence[Path], key: str) -> np.ndarray:
    """Mean of frames, float32 `(h, w)`; every page of a file counts as one."""
    total, count = np.zeros(0), 0
    for path in paths:
        pages = page_count(path) if split_page(path)[1] is None else 1
        image = read_image(path, page="mean") if pages > 1 else read_image(path)
        frame = to_gray(image)[..., 0].astype(np.float64) * pages
        if total.size and frame.shape != total.shape:
            raise AlloykError(
                f"the frames of {key} must have one size, got {size_of(total)} in "
                f"{shown(paths[0])} and {size_of(frame)} in {shown(path)}"
            )
        total = total + frame if total.size else frame
        count += pages
    return (total / count).astype(np.float32)


def by_exposure(paths: Sequence[Path], key: str) -> dict[float | None, list[Path]]:
    """Group frames by the exposure time in their headers, in seconds; None where it is unknown.

    The pages of a file are frames of their own where their exposure times differ.

    Args:
        paths: The frames.
        key: Their name in errors.

    Raises:
        AlloykError: Some frames have an exposure time and others none.
    """
    groups: dict[float | None, list[Path]] = {}
    for frame, found in chain.from_iterable(_exposures_in(path) for path in paths):
        same = (time for time in groups if time and found and is_same_time(time, found))
        groups.setdefault(next(same, found), []).append(frame)
    if None in groups and len(groups) > 1:
        raise AlloykError(
            f"all frames of {key} or none must have an exposure time in their header, got "
            f"{len(groups[None])} without ({shown(groups[None][0])}); use frames of one kind"
        )
    return groups


def is_same_time(first_s: float, second_s: float) -> bool:
    """Whether two exposure times are equal but for rounding."""
    return abs(first_s - second_s) <= _SAME_TIME * second_s


def _exposures_in(path: Path) -> list[tuple[Path, float | None]]:
    """A file with its exposure time, or its pages with theirs where these differ."""
    if split_page(path)[1] is None and (pages := page_count(path)) > 1:
        times = [_exposure_s(settings) for settings in page_settings(path, range(pages))]
        if len(set(times)) > 1:
            names = page_paths(path, pages, "each")
            return list(zip(map(Path, names), times, strict=True))
    return [(path, _exposure_s(header_settings(path)))]


def _exposure_s(settings: Mapping[str, str]) -> float | None:
    text = settings.get("exposure_s", "")
    return float(text) if text and float(text) > 0 else None


class DarkSignal:
    """Mean dark frames, of one or of several exposure times."""

    def __init__(self, name: str, paths: Sequence[Path]) -> None:
        self.name = name
        groups = by_exposure(paths, "data.dark")
        self._means = {time: mean_of(paths, "data.dark") for time, paths in groups.items()}
        sizes = sorted({size_of(mean) for mean in self._means.values()})
        if len(sizes) > 1:
            raise AlloykError(
                f"the frames of data.dark must have one size, got {' and '.join(sizes)}"
            )

    def at(self, exposure_s: float | None) -> np.ndarray:
        """Dark signal at an exposure time, by a line fitted to those measured.

        Frames of one exposure time are taken as they are, with a warning if it is another one.
        """
        if len(self._means) == 1:
            ((time, mean),) = self._means.items()
            if time and exposure_s and not is_same_time(time, exposure_s):
                logger.warning(
                    "data.dark: the frames were exposed for %g s, but images or flat frames for "
                    "%g s, and dark current grows with time; use frames of %g s, or of several "
                    "exposure times", time, exposure_s, exposure_s,
                )  # fmt: skip
            return mean
        times = np.array([time for time in self._means if time is not None])
        if exposure_s is None:
            raise AlloykError(
                f"data.dark has frames of {len(times)} exposure times ({shown(self.name)}), so "
                "images and flat frames must have one exposure time in their headers, but they "
                "have none or several; choose the dark frames of one exposure time"
            )
        nearest = times[np.argmin(np.abs(times - exposure_s))]
        if is_same_time(nearest, exposure_s):
            return self._means[nearest]
        frames = np.stack([self._means[time] for time in times]).astype(np.float64)
        middle = times.mean()
        slope = np.tensordot(times - middle, frames, 1) / np.square(times - middle).sum()
        return (frames.mean(axis=0) + slope * (exposure_s - middle)).astype(np.float32)


def size_of(frame: np.ndarray) -> str:
    """Height and width of a frame, for errors."""
    return f"{frame.shape[0]}×{frame.shape[1]}"
