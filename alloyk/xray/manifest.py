"""The tables beside the images."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from alloyk.alloys import ELEMENTS
from alloyk.xray.plan import PlannedImage
from alloyk.xray.scene import Circumstances

if TYPE_CHECKING:
    import pandas

DIGITS = 6
"""Decimals of the numbers in the tables."""


def manifest_table(planned: Sequence[PlannedImage]) -> "pandas.DataFrame":
    """`manifest.csv`: one row per image, labels as strings.

    `thickness_mm` and `tube_voltage_kvp` are as ordered and as set, the columns `true_…` and the
    rest of the circumstances as they really were.
    """
    import pandas

    return pandas.DataFrame(
        {
            "path": one.path,
            "label": one.plate.alloy,
            "plate_id": one.plate.plate_id,
            "thickness_mm": one.plate.thickness_mm,
            "true_thickness_mm": round(one.plate.true_thickness_mm, DIGITS),
            "alloy": one.plate.alloy,
            **circumstance_columns(one.now),
            "seed": one.seed,
        }
        for one in planned
    )


def circumstance_columns(now: Circumstances) -> dict[str, float]:
    """Circumstances of an image, as columns of a table."""
    values = {name: round(value, DIGITS) for name, value in asdict(now).items()}
    true_voltage = values.pop("tube_voltage_kvp")
    return {
        "tube_voltage_kvp": values.pop("set_voltage_kvp"),
        "true_tube_voltage_kvp": true_voltage,
        **values,
    }


def plates_table(planned: Sequence[PlannedImage]) -> "pandas.DataFrame":
    """`plates.csv`: one row per plate with its true thickness, density and composition."""
    import pandas

    plates = {one.plate.plate_id: one.plate for one in planned}
    return pandas.DataFrame(
        {
            "plate_id": plate_id,
            "alloy": plate.alloy,
            "thickness_mm": plate.thickness_mm,
            "true_thickness_mm": round(plate.true_thickness_mm, DIGITS),
            "density_g_cm3": round(plate.density_g_cm3, DIGITS),
            **{
                f"{element.lower()}_wt_pct": round(100 * fraction, DIGITS)
                for element, fraction in zip(ELEMENTS, plate.mass_fractions.tolist(), strict=True)
            },
        }
        for plate_id, plate in plates.items()
    )
