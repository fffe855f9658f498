"""The settings of a run, read without the checks of `alloyk.config`.

A run whose configuration this version would refuse, because a key was removed or its range changed,
can still be evaluated, compared and reported: only the requested keys are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from alloyk.errors import ModelError
from alloyk.imaging import ChannelChoice, PageChoice, RawLayout
from alloyk.messages import shown
from alloyk.settings.data import RATIOS, DataSettings

_T = TypeVar("_T")


@dataclass(frozen=True)
class RunSettings:
    """The content of `config.yaml`.

    Attributes:
        values: Section → key → value, as the file has them.
        file: The file they come from, for errors.
    """

    values: Mapping[str, Any]
    file: Path

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section; empty where the file has none."""
        found = self.values.get(name)
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            raise ModelError(f"{shown(self.file)}: `{name}` must be a section, got {found!r}")
        return found

    @property
    def seed(self) -> int | None:
        """Seed of the training."""
        return self._typed(self.values, "seed", int, "a whole number")

    @property
    def monitor(self) -> str:
        """Metric that the best epoch was chosen by."""
        found = self._typed(self.section("train"), "monitor", str, "text")
        return "val_loss" if found is None else found

    @property
    def arch(self) -> str | None:
        """Name of the architecture."""
        return self._typed(self.section("model"), "arch", str, "text")

    @property
    def tasks(self) -> tuple[str, ...]:
        """What the network learns: `alloy`, and columns of the manifest."""
        found = self.section("model").get("tasks", ())
        return tuple(map(str, found)) if isinstance(found, list) else ()

    @property
    def fine_tuned_from(self) -> Path | None:
        """The run that quantisation-aware training started from; None for another run."""
        found = self.section("quantize").get("run")
        return None if found is None else Path(str(found))

    @property
    def image_size(self) -> tuple[int, int] | None:
        """`(height, width)` of the images that the network takes."""
        found = self.section("preprocess").get("image_size")
        if found is None:
            return None
        sides = found if isinstance(found, list) else [found, found]
        if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
            raise ModelError(
                f"{shown(self.file)}: `preprocess.image_size` must be two whole numbers, "
                f"got {found!r}"
            )
        return sides[0], sides[1]

    @property
    def data(self) -> DataSettings:
        """The images, and how they were split."""
        section = self.section("data")
        path = section.get("path")
        ratios, raw = section.get("ratios") or RATIOS, section.get("raw")
        channels = section.get("channels")
        if (
            not isinstance(ratios, list | tuple)
            or len(ratios) != 3
            or not all(isinstance(share, int | float) for share in ratios)
        ):
            raise ModelError(
                f"{shown(self.file)}: `data.ratios` must be three numbers, got {ratios!r}"
            )
        return DataSettings(
            # A folder may be called 2017.
            path=None if path is None else Path(str(path)).absolute(),
            simulate=self._typed(section, "simulate", dict, "a section") or {},
            ratios=(float(ratios[0]), float(ratios[1]), float(ratios[2])),
            group_by=self._typed(section, "group_by", str, "text"),
            split_seed=self._typed(section, "split_seed", int, "a whole number") or 0,
            fold=self._typed(section, "fold", str, "text"),
            leave_out=self._typed(section, "leave_out", str, "text"),
            skip_unreadable=section.get("on_bad_image") == "skip",
            page=self._page(section.get("page")),
            raw=None if raw is None else RawLayout.of(raw, f"{shown(self.file)}: `data.raw`"),
            hdf5_path=self._typed(section, "hdf5_path", str, "text"),
            channels=None
            if channels is None
            else ChannelChoice.of(channels, f"{shown(self.file)}: `data.channels`"),
        )

    def _page(self, found: Any) -> PageChoice | None:
        if found is None or found == "mean" or found == "each" or isinstance(found, int):
            page: PageChoice | None = found
            return page
        raise ModelError(
            f"{shown(self.file)}: `data.page` must be a page number, mean or each, got {found!r}"
        )

    def _typed(
        self, section: Mapping[str, Any], key: str, kind: type[_T], described: str
    ) -> _T | None:
        value = section.get(key)
        if value is None or isinstance(value, kind):
            return value
        raise ModelError(f"{shown(self.file)}: `{key}` must be {described}, got {value!r}")
