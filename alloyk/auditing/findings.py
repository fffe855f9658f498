"""Findings of an audit, and the data set that the checks examine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alloyk.auditing.scan import Scan
from alloyk.data import PLATE, SPLITS

if TYPE_CHECKING:
    import pandas as pd

FIX, CHECK, NOTE = "fix", "check", "note"
SEVERITIES = (FIX, CHECK, NOTE)


@dataclass(frozen=True)
class Finding:
    """One problem or note for the user.

    Attributes:
        name: Kind of the finding, for programs.
        severity: `fix`: training fails or gives wrong metrics; `check`: an expert on the data must
            decide; `note`: for information.
        what: The finding in one sentence, with numbers.
        advice: The recommended action.
        images: All affected images, or pairs of images.
        values: The numbers of the sentence, for programs.
    """

    name: str
    severity: str
    what: str
    advice: str
    images: Sequence = ()
    values: dict | None = None


@dataclass(frozen=True, eq=False)
class Audited:
    """A data set with its measures; all tables have the same rows.

    Attributes:
        root: The folder that paths are relative to.
        table: `path`; `label` and `split` if known; the manifest's other columns.
        scan: What was measured.
        series: `(n,)` text, the series of each image; `""` if unknown.
        series_name: The column or regular expression that defines the series.
        series_reliable: Whether the series are given by a column or by the user, or are distinct in
            the file names within classes.
        notes: Notes from reading the data set.
        simulated: Whether the images come from alloyk's simulator.
    """

    root: Path
    table: "pd.DataFrame"
    scan: Scan
    series: np.ndarray
    series_name: str
    series_reliable: bool
    notes: tuple[str, ...] = ()
    simulated: bool = False

    def __len__(self) -> int:
        return len(self.table)

    @property
    def paths(self) -> np.ndarray:
        """`(n,)` text."""
        return self.table["path"].to_numpy(dtype=object)

    @property
    def labels(self) -> np.ndarray | None:
        """`(n,)` text, or None for images without labels."""
        return self.table["label"].to_numpy(dtype=object) if "label" in self.table else None

    @property
    def splits(self) -> np.ndarray | None:
        """`(n,)` train, val or test; None if the data set is not split."""
        return self.table["split"].to_numpy(dtype=object) if "split" in self.table else None

    @property
    def split_names(self) -> list[str]:
        """The splits that have images, in order."""
        return [] if self.splits is None else [s for s in SPLITS if (self.splits == s).any()]

    @property
    def has_plates(self) -> bool:
        """Whether the manifest has the plate of each image."""
        return PLATE in self.table

    def measure(self, name: str) -> np.ndarray:
        """One column of the measures, as an array."""
        return self.scan.measures[name].to_numpy()


def percent(share: float) -> str:
    """A fraction in per cent; only 0 and 1 are shown as 0 % and 100 %.

    >>> percent(0.5), percent(0.9999), percent(0.0002), percent(1.0)
    ('50 %', '>99 %', '<1 %', '100 %')
    """
    if 0 < share < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= share < 1 else f"{100 * share:.0f} %"
