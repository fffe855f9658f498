"""The tables of a data set: `manifest.csv`, `plates.csv` and `frames.csv`."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.alloys import ELEMENTS
from alloyk.csv_lines import csv_line
from alloyk.simulator.dataset.sampling import PlannedImage
from alloyk.simulator.physics.plate import Plate
from alloyk.simulator.physics.scene import Circumstances

if TYPE_CHECKING:
    import pandas

DIGITS = 6
"""Decimal places of the numbers in the tables."""


def image_row(one: PlannedImage) -> dict[str, Any]:
    """Row of `manifest.csv`; the label is text.

    `thickness_mm` and `tube_voltage_kvp` are nominal values; the columns `true_…` and the other
    circumstances are actual values.
    """
    return {
        "path": one.path,
        "label": one.plate.alloy,
        "plate_id": one.plate.plate_id,
        **({"pose_id": one.pose_id} if one.pose_id else {}),
        "thickness_mm": round(one.plate.thickness_mm, DIGITS),
        "true_thickness_mm": round(one.plate.true_thickness_mm, DIGITS),
        "alloy": one.plate.alloy,
        **circumstance_columns(one.now),
        "seed": one.seed,
    }


def circumstance_columns(now: Circumstances) -> dict[str, float]:
    """Circumstances of an image, as columns of a table."""
    values = {name: round(value, DIGITS) for name, value in asdict(now).items()}
    true_voltage = values.pop("tube_voltage_kvp")
    return {
        "tube_voltage_kvp": values.pop("set_voltage_kvp"),
        "true_tube_voltage_kvp": true_voltage,
        **values,
    }


def plate_row(plate: Plate) -> dict[str, Any]:
    """Row of `plates.csv`: true thickness, density and composition."""
    return {
        "plate_id": plate.plate_id,
        "alloy": plate.alloy,
        "thickness_mm": round(plate.thickness_mm, DIGITS),
        "true_thickness_mm": round(plate.true_thickness_mm, DIGITS),
        "density_g_cm3": round(plate.density_g_cm3, DIGITS),
        **{
            f"{element.lower()}_wt_pct": round(100 * fraction, DIGITS)
            for element, fraction in zip(ELEMENTS, plate.mass_fractions.tolist(), strict=True)
        },
    }


def manifest_table(planned: Iterable[PlannedImage]) -> "pandas.DataFrame":
    """`manifest.csv` as a table."""
    import pandas

    return pandas.DataFrame([image_row(one) for one in planned])


class CsvTable:
    """A CSV file that is written row by row; the keys of the first row name the columns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._columns: list[str] | None = None

    def __enter__(self) -> "CsvTable":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, row: dict[str, Any]) -> None:
        """Write one row."""
        if self._columns is None:
            self._columns = list(row)
            self._file.write(csv_line(self._columns))
        self._file.write(csv_line(row[column] for column in self._columns))


def noted(planned: Iterable[PlannedImage], folder: Path) -> Iterator[PlannedImage]:
    """Yield the images, writing each to `manifest.csv` and each new plate to `plates.csv`."""
    with ExitStack() as stack:
        manifest = stack.enter_context(CsvTable(folder / "manifest.csv"))
        plates = stack.enter_context(CsvTable(folder / "plates.csv"))
        last = None
        for one in planned:
            manifest.add(image_row(one))
            if one.plate.index != last:
                plates.add(plate_row(one.plate))
                last = one.plate.index
            yield one
