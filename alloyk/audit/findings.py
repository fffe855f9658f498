"""What an audit finds, and the data set that its checks look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alloyk.audit.scan import Scan
from alloyk.data import PLATE, SPLITS

if TYPE_CHECKING:
    import pandas as pd

FIX, CHECK, NOTE = "fix", "check", "note"
SEVERITIES = (FIX, CHECK, NOTE)


@dataclass(frozen=True)
class Finding:
    """One thing that the user should know.

    Attributes:
        name: What kind it is, for programs.
        severity: `fix`: training on it gives wrong figures or fails; `check`: somebody who
            knows the data must decide; `note`: good to know.
        what: One sentence, with numbers.
        advice: What to do.
        images: The images concerned, or pairs of them; all, not a selection.
        figures: Numbers for programs, where a sentence has them too.
    """

    name: str
    severity: str
    what: str
    advice: str
    images: Sequence = ()
    figures: dict | None = None


@dataclass(frozen=True, eq=False)
class Audited:
    """A data set with its measures; rows of all tables belong together.

    Attributes:
        root: The folder that paths are relative to.
        table: `path`; `label` and `split` where known; the manifest's other columns.
        scan: What was measured.
        series: `(n,)` text, the series that each image belongs to; `""` where unknown.
        series_name: What the series are known by: a column, a regular expression.
        series_told: Whether the series are to be believed: named by a column or by the user, or
            told apart by file names within classes.
        notes: What was said when the data set was read.
        simulated: Whether the images come from alloyk's simulator.
    """

    root: Path
    table: "pd.DataFrame"
    scan: Scan
    series: np.ndarray
    series_name: str
    series_told: bool
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
        """`(n,)` train, val or test; None where nothing is split yet."""
        return self.table["split"].to_numpy(dtype=object) if "split" in self.table else None

    @property
    def split_names(self) -> list[str]:
        """The splits that have images, in their order."""
        return [] if self.splits is None else [s for s in SPLITS if (self.splits == s).any()]

    @property
    def has_plates(self) -> bool:
        """Whether the manifest says which plate each image shows."""
        return PLATE in self.table

    def measure(self, name: str) -> np.ndarray:
        """One column of the measures, as an array."""
        return self.scan.measures[name].to_numpy()


def counted(count: int, noun: str = "image") -> str:
    """A number with its noun.

    >>> counted(1), counted(2816), counted(3, "class")
    ('1 image', '2,816 images', '3 classes')
    """
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{count:,} {noun if count == 1 else plural}"


def percent(share: float) -> str:
    """A share in per cent, never rounded to all or nothing.

    >>> percent(0.5), percent(0.9999), percent(0.0002), percent(1.0)
    ('50 %', '>99 %', '<1 %', '100 %')
    """
    if 0 < share < 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= share < 1 else f"{100 * share:.0f} %"
