"""Whether images are like those that a model was trained on, above all their depth and range.

A model that scales by a fixed number (`preprocess.normalize=full_scale`) takes the same scene at
another depth for another metal, at full probability.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alloyk.errors import AlloykError
from alloyk.imaging import read_image
from alloyk.inference.novelty_fitting import evenly_spaced
from alloyk.inference.sources import Item
from alloyk.messages import counted

# Images of the training split that are measured, evenly spaced.
MEASURED = 32

# An image whose largest count is this many times beyond those of training is reported.
FACTOR = 2.0


def measured_counts(
    paths: Sequence[Path],
) -> tuple[tuple[str, ...], tuple[float, float] | None]:
    """Return the depths of training images, and the smallest and largest of their maxima.

    Args:
        paths: Images of the training split; `MEASURED` of them are read, unreadable ones ignored.
    """
    depths: set[str] = set()
    maxima: list[float] = []
    for place in evenly_spaced(len(paths), MEASURED):
        try:
            image = read_image(paths[place])
        except AlloykError:
            continue
        depths.add(image.dtype.name)
        maxima.append(float(image.max()))
    return tuple(sorted(depths)), (min(maxima), max(maxima)) if maxima else None


class UnlikeTraining:
    """Counts images whose depth or range is unlike that of training, or that a detector finds.

    Args:
        depths: Number types of the training images; empty if not known.
        brightest: Smallest and largest maximum of a training image; None if not known.
    """

    def __init__(self, depths: Sequence[str], brightest: Sequence[float] | None) -> None:
        self._depths, self._brightest = depths, brightest
        # How many, and the first: the names of all would grow with a long stream.
        self._other_depth: dict[str, tuple[int, str]] = {}
        self._other_range: tuple[int, str, float] = (0, "", 0.0)
        self._unlike: tuple[int, str] = (0, "")

    def see(self, item: Item, image: np.ndarray) -> None:
        """Compare one decoded image; an array's type does not give a file's depth."""
        if self._depths and isinstance(item.source, str) and image.dtype.name not in self._depths:
            count, first = self._other_depth.get(image.dtype.name, (0, str(item)))
            self._other_depth[image.dtype.name] = count + 1, first
            return
        if self._brightest is not None:
            highest = float(image.max())
            low, high = self._brightest
            if highest > FACTOR * high or highest < low / FACTOR:
                count, name, value = self._other_range
                self._other_range = (count + 1, name, value) if count else (1, str(item), highest)

    def see_unlike(self, items: Sequence[Item]) -> None:
        """Count images that the detector of the model finds unlike."""
        if items:
            count, first = self._unlike
            self._unlike = count + len(items), first or str(items[0])

    def state(self) -> dict[str, Any]:
        """What was counted, for JSON."""
        return {
            "depth": self._other_depth, "range": self._other_range, "unlike": self._unlike
        }  # fmt: skip

    def add(self, state: Mapping[str, Any]) -> None:
        """Add what was counted over later images."""
        for depth, (count, first) in state["depth"].items():
            before, name = self._other_depth.get(depth, (0, first))
            self._other_depth[depth] = before + count, name
        count, name, value = state["range"]
        before, first, highest = self._other_range
        self._other_range = (before + count, first, highest) if before else (count, name, value)
        count, first = state["unlike"]
        self._unlike = self._unlike[0] + count, self._unlike[1] or first

    def notes(self) -> Iterator[str]:
        """Yield a sentence for each kind of difference."""
        yield from self.count_notes()
        count, first = self._unlike
        if count:
            yield (
                f"{counted(count, verb='are')} unlike the training images (column unlike, 1 or "
                f"more; first: {first}); predictions of such images may be wrong"
            )

    def count_notes(self) -> Iterator[str]:
        """Yield a sentence on images of another depth, and on those of another range."""
        for depth, (count, first) in self._other_depth.items():
            yield (
                f"{counted(count, verb='are')} of depth {depth}, but the model was trained on "
                f"{' and '.join(self._depths)} ({first}); predictions may be wrong: give images "
                "of the training depth"
            )
        count, name, highest = self._other_range
        if count and self._brightest is not None:
            low, high = self._brightest
            yield (
                f"{counted(count, verb='are')} beyond the range of training: the largest count "
                f"of a training image was {low:g} to {high:g}, that of {name} is {highest:g}; "
                "predictions may be wrong: check exposure and depth"
            )
