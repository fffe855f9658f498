"""The settings of a data set, for all who open one: a configuration, a run, the data set itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alloyk.imaging import ChannelChoice, FileSettings, PageChoice, RawLayout

RATIOS = (0.70, 0.15, 0.15)
"""Default shares of train, val and test."""


@dataclass(frozen=True)
class DataSettings:
    """Which images an experiment takes, how they are read, and how they are split.

    Attributes:
        path: The data set; None for the embedded one.
        simulate: Arguments of the embedded data set, see `alloyk.data.source.default_dataset`.
        ratios: Shares of train, val and test.
        group_by: Column or regular expression that the split was grouped by.
        split_seed: Seed of the split.
        fold: The fold held out, such as `2/5`.
        leave_out: The condition held out, such as `tube_voltage_kvp=45`.
        skip_unreadable: Whether unreadable images are left out instead of stopping.
        page: What is taken of a file with several pages.
        raw: Layout of raw files without a sidecar.
        hdf5_path: Path of the array of images inside HDF5 files.
        channels: Which images are the channels of one sample.
    """

    path: Path | None = None
    simulate: Mapping[str, Any] = field(default_factory=dict)
    ratios: tuple[float, float, float] = RATIOS
    group_by: str | None = None
    split_seed: int = 0
    fold: str | None = None
    leave_out: str | None = None
    skip_unreadable: bool = False
    page: PageChoice | None = None
    raw: RawLayout | None = None
    hdf5_path: str | None = None
    channels: ChannelChoice | None = None

    @property
    def files(self) -> FileSettings:
        """How to read files that leave it open."""
        return FileSettings(self.raw, self.hdf5_path)
